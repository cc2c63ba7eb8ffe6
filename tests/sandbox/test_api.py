"""The API's manners: keys, errors, idempotency, pages, expansion."""

import threading

import pytest
import stripe

from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop


def test_a_key_is_needed_and_only_test_keys_open(sandbox: Sandbox):
    http = sandbox.http_client()
    for key in ("sk_live_abcdefghijkl", "pk_test_abcdefghijkl", "nonsense"):
        with pytest.raises(stripe.AuthenticationError):
            stripe.StripeClient(key, http_client=http).v1.customers.list()
    assert stripe.StripeClient("rk_test_abcdefghijkl", http_client=http).v1.customers.list().data == []
    answer = sandbox.browser().get("/v1/customers")
    assert answer.status_code == 401
    assert answer.get_json()["error"]["message"].startswith("You did not provide an API key.")
    assert sandbox.browser().get("/v1/customers", auth=("sk_test_sandbox", "")).status_code == 200


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize(
    ("params", "code", "param", "words"),
    [
        ({"emial": "a@b.c"}, "parameter_unknown", "emial", "Received unknown parameter: emial. Did you mean email?"),
        ({"address": {"street": "x"}}, "parameter_unknown", "address[street]", "unknown parameter: address[street]"),
        ({"balance": "many"}, "parameter_invalid_integer", "balance", "Invalid integer: many"),
        ({"email": ""}, "parameter_invalid_empty", "email", "You passed an empty string for 'email'."),
        ({"tax_exempt": "maybe"}, None, "tax_exempt", "Invalid tax_exempt: must be one of exempt, none, or reverse"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata", "up to 40 characters"),
        ({"email": "nobody"}, "email_invalid", "email", "Invalid email address: nobody"),
        ({"payment_method": "pm_no"}, "resource_missing", "payment_method", "No such PaymentMethod: 'pm_no'"),
    ],
)
def test_a_bad_parameter_is_refused_in_stripes_words(client, params, code, param, words):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.create(params)
    error = refused.value
    assert (error.http_status, error.code, error.param) == (400, code, param)
    assert words in str(error)
    assert error.request_id
    assert client.v1.customers.list().data == []


@pytest.mark.usefixtures("refusing")
def test_a_missing_parameter_is_named(client, goods):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.prices.create({"product": goods.product, "unit_amount": 100})
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "currency")
    assert str(refused.value.user_message) == "Missing required param: currency."


def test_an_unknown_id_is_404_in_the_address_and_400_in_a_parameter(client):
    with pytest.raises(stripe.InvalidRequestError) as in_address:
        client.v1.customers.retrieve("cus_nobody")
    assert (in_address.value.http_status, in_address.value.code) == (404, "resource_missing")
    assert in_address.value.user_message == "No such customer: 'cus_nobody'"
    with pytest.raises(stripe.InvalidRequestError) as in_parameter:
        client.v1.payment_intents.create({"amount": 100, "currency": "usd", "customer": "cus_nobody"})
    assert (in_parameter.value.http_status, in_parameter.value.param) == (400, "customer")


def test_a_route_that_is_not_there_says_so(client, sandbox):
    with pytest.raises(stripe.InvalidRequestError, match="the sandbox does not implement it") as missing:
        client.v1.issuing.cards.list()
    assert missing.value.http_status == 404
    answer = sandbox.browser().get("/v1/nothing", auth=("sk_test_sandbox", ""))
    assert "Unrecognized request URL (GET: /v1/nothing)" in answer.get_json()["error"]["message"]


def test_another_api_version_is_refused(sandbox):
    old = stripe.StripeClient("sk_test_sandbox", http_client=sandbox.http_client(), stripe_version="2024-06-20")
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        old.v1.customers.list()


def test_a_repeated_key_replays_the_first_answer(client, goods):
    params = {"email": "once@example.com"}
    first = client.v1.customers.create(params, {"idempotency_key": "k1"})
    again = client.v1.customers.create(params, {"idempotency_key": "k1"})
    assert first.id == again.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(client.v1.customers.list({"email": "once@example.com"}).data) == 1


def test_a_key_with_another_body_or_address_is_refused(client, goods):
    client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k2"})
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refused:
        client.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k2"})
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.products.create({"name": "x"}, {"idempotency_key": "k2"})


@pytest.mark.usefixtures("refusing")
def test_a_refused_request_does_not_use_its_key_up(client):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"emial": "x"}, {"idempotency_key": "k3"})
    assert client.v1.customers.create({"email": "x@example.com"}, {"idempotency_key": "k3"}).id


def test_a_declined_card_is_replayed_as_declined(client, goods):
    params = {"amount": 700, "currency": "usd", "payment_method": "pm_card_chargeDeclined", "confirm": True}
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            client.v1.payment_intents.create(params, {"idempotency_key": "k4"})
        assert declined.value.error.decline_code == "generic_decline"
        assert declined.value.error.payment_intent.status == "requires_payment_method"
    assert len(client.v1.charges.list().data) == 1


def test_a_key_is_forgotten_after_a_day(client, sandbox):
    first = client.v1.customers.create({}, {"idempotency_key": "k5"})
    sandbox.advance(hours=25)
    assert client.v1.customers.create({}, {"idempotency_key": "k5"}).id != first.id


def test_a_request_that_overtakes_its_twin_is_told_to_wait(client, sandbox):
    sandbox.keys_in_use.add("busy")
    with pytest.raises(stripe.APIError) as conflict:
        client.v1.customers.create({}, {"idempotency_key": "busy", "max_network_retries": 0})
    assert (conflict.value.http_status, conflict.value.error.code) == (409, "idempotency_key_in_use")


def test_twins_at_once_make_one_object(sandbox):
    made: list[str] = []

    def create() -> None:
        client = sandbox.client(max_network_retries=20)
        made.append(client.v1.customers.create({"name": "Twin"}, {"idempotency_key": "twin"}).id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_lists_are_newest_first_and_can_be_walked_both_ways(client):
    made = [client.v1.customers.create({"name": f"n{number}"}).id for number in range(25)]
    assert [one.id for one in client.v1.customers.list({"limit": 10}).auto_paging_iter()] == made[::-1]
    last_page = client.v1.customers.list({"limit": 10, "ending_before": made[0]})
    assert [one.id for one in last_page.data] == made[10:0:-1]
    assert last_page.has_more is True
    assert [one.id for one in last_page.auto_paging_iter()] == made[1:]


def test_a_page_has_sane_limits(client):
    for limit, words in ((0, "greater than or equal to 1"), (101, "less than or equal to 100")):
        with pytest.raises(stripe.InvalidRequestError, match=words):
            client.v1.customers.list({"limit": limit})
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.list({"starting_after": "cus_nobody"})


def test_lists_filter_by_creation_time(client, sandbox):
    first = client.v1.customers.create({})
    sandbox.advance(days=1)
    second = client.v1.customers.create({})
    assert [one.id for one in client.v1.customers.list({"created": {"gt": first.created}}).data] == [second.id]
    assert [one.id for one in client.v1.customers.list({"created": {"lte": first.created}}).data] == [first.id]


def test_expand_reaches_four_levels_and_no_further(client, goods, sandbox):
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    page = client.v1.subscriptions.list({"customer": goods.customer, "expand": ["data.latest_invoice.payments.data"]})
    assert page.data[0].latest_invoice.payments.data[0].object == "invoice_payment"
    with pytest.raises(stripe.InvalidRequestError, match="cannot expand more than 4 levels"):
        client.v1.subscriptions.list({"expand": ["data.latest_invoice.payments.data.payment.payment_intent"]})
    with pytest.raises(stripe.InvalidRequestError, match="This property cannot be expanded"):
        client.v1.customers.retrieve(goods.customer, {"expand": ["nonsense"]})


def test_only_what_the_contract_calls_expandable_expands(client, goods):
    intent = client.v1.payment_intents.create({"amount": 100, "currency": "usd", "description": goods.customer})
    for path in ("description", "amount", "metadata", "status", "id"):
        with pytest.raises(stripe.InvalidRequestError, match="This property cannot be expanded"):
            client.v1.payment_intents.retrieve(intent.id, {"expand": [path]})
    shown = client.v1.payment_intents.retrieve(intent.id, {"expand": ["customer", "latest_charge", "review"]})
    assert (shown.customer, shown.latest_charge) == (None, None)


def test_lookup_keys_move_only_when_asked_to(client, goods):
    wanted = {"product": goods.product, "currency": "usd", "unit_amount": 900, "lookup_key": "pro"}
    first = client.v1.prices.create(wanted)
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        client.v1.prices.create(wanted)
    second = client.v1.prices.create({**wanted, "transfer_lookup_key": True})
    assert [one.id for one in client.v1.prices.list({"lookup_keys": ["pro"]}).data] == [second.id]
    assert client.v1.prices.retrieve(first.id).lookup_key is None


def test_metadata_is_merged_key_by_key(client):
    customer = client.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = client.v1.customers.update(customer.id, {"metadata": {"b": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"a": "1", "c": "3"}
    assert client.v1.customers.update(customer.id, {"metadata": ""}).metadata.to_dict() == {}


def test_a_deleted_customer_is_remembered_as_deleted(client, goods):
    assert client.v1.customers.delete(goods.customer).deleted is True
    assert client.v1.customers.retrieve(goods.customer).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.update(goods.customer, {"name": "x"})


def test_refunds_add_up(client, goods):
    intent = client.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": "https://x.y",
        }
    )
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    charge = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["refunds", "balance_transaction"]})
    assert (charge.amount_refunded, charge.refunded, len(charge.refunds.data)) == (300, False, 1)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        client.v1.refunds.create({"charge": charge.id, "amount": 701})
    client.v1.refunds.create({"charge": charge.id})
    assert client.v1.charges.retrieve(charge.id).refunded is True
    with pytest.raises(stripe.InvalidRequestError, match="already been refunded") as refused:
        client.v1.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"


def test_a_refund_can_fail_later(client, sandbox, goods):
    intent = client.v1.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": "pm_card_refundFail",
            "confirm": True,
            "return_url": "https://shop.example/",
        }
    )
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    sandbox.advance(hours=1)
    assert client.v1.refunds.retrieve(refund.id).status == "failed"
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == 0
    assert [event["data"]["object"]["id"] for event in sandbox.events("refund.failed")] == [refund.id]


def test_a_world_can_be_kept_and_begun_from_again(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    kept = client.v1.customers.create({"email": "ann@example.com"})
    shop = sandbox.store.snapshot()
    for _ in range(2):
        client.v1.customers.delete(kept.id)
        sandbox.advance(days=31)
        sandbox.break_api("500")
        before = sandbox.clock.now()
        sandbox.restore(shop)
        assert client.v1.customers.retrieve(kept.id).email == "ann@example.com"
        assert len(client.v1.events.list().data) == 1
        assert before - sandbox.clock.now() > 30 * 86400
