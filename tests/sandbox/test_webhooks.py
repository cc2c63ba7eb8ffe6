"""Events and their deliveries: signed, retried, filtered, and troubled on purpose."""

import json

import pytest
import stripe

from stripe_sandbox import trigger
from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop

URL = "https://app.example/webhooks/stripe"


class Endpoint:
    """An application's endpoint that verifies as the SDK does; `statuses` are answered in turn, then 200."""

    def __init__(self, secret: str, *statuses: int) -> None:
        self.secret, self.statuses, self.received = secret, list(statuses), []

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> int:
        event = stripe.StripeClient("sk_test_x").construct_event(body, headers["Stripe-Signature"], self.secret)
        self.received.append(event.id)
        return self.statuses.pop(0) if self.statuses else 200


@pytest.fixture
def endpoint(client: stripe.StripeClient) -> Endpoint:
    made = client.v1.webhook_endpoints.create(
        {"url": URL, "enabled_events": ["customer.created"], "api_version": stripe.api_version}
    )
    return Endpoint(made.secret)


def test_an_event_is_delivered_signed_and_only_to_those_who_asked(sandbox: Sandbox, client, endpoint):
    client.v1.products.create({"name": "Nobody asked"})
    customer = client.v1.customers.create({"email": "a@b.c"})
    sent = sandbox.deliver(endpoint)
    assert [status for _, status in sent] == [200]
    event = client.v1.events.retrieve(sent[0][0])
    assert (event.type, event.data.object.id, event.pending_webhooks) == ("customer.created", customer.id, 0)
    assert event.api_version == stripe.api_version
    assert event.request.idempotency_key
    assert sandbox.deliver(endpoint) == []


def test_a_secret_is_shown_once(client, endpoint):
    listed = client.v1.webhook_endpoints.list().data[0]
    assert "secret" not in listed


def test_a_failed_delivery_is_tried_again_later_and_later(sandbox, client, endpoint):
    endpoint.statuses = [500, 302, 503]
    client.v1.customers.create({})
    assert len(sandbox.deliver(endpoint)) == 1
    assert sandbox.deliver(endpoint) == []
    assert client.v1.events.list({"delivery_success": False}).data[0].pending_webhooks == 1
    for wait in (1, 5, 20):
        sandbox.advance(wait - 0.5)
        assert sandbox.deliver(endpoint) == []
        sandbox.advance(0.5)
        assert len(sandbox.deliver(endpoint)) == 1
    assert len(set(endpoint.received)) == 1
    assert client.v1.events.list({"delivery_success": False}).data == []


def test_an_unreachable_endpoint_is_tried_again(sandbox, client, endpoint):
    def nobody(url, headers, body):
        raise ConnectionRefusedError("nobody listens")

    client.v1.customers.create({})
    assert [status for _, status in sandbox.deliver(nobody)] == [None]
    sandbox.advance(2)
    assert [status for _, status in sandbox.deliver(endpoint)] == [200]


def test_deliveries_can_be_reversed_shuffled_and_doubled(sandbox, client, endpoint):
    for number in range(6):
        client.v1.customers.create({"name": str(number)})
    events = [event["id"] for event in sandbox.events("customer.created")]
    sandbox.deliver(lambda *_: 500, order="reversed")
    sandbox.advance(10)
    sandbox.deliver(endpoint, order="shuffled", seed=3, times=2)
    assert endpoint.received != sorted(endpoint.received, key=events.index)
    assert sorted(endpoint.received) == sorted(events * 2)


def test_a_rolled_secret_signs_beside_the_old_one(sandbox, client, endpoint):
    made = client.v1.webhook_endpoints.list().data[0].id
    rolled = sandbox.browser().post(
        "/sandbox/roll_secret",
        json={"endpoint": made, "keep_seconds": 3600},
        headers={"Authorization": "Bearer sk_test_sandbox"},
    )
    new = rolled.get_json()["secret"]
    client.v1.customers.create({})
    headers = {}
    sandbox.deliver(lambda url, sent, body: headers.update(sent) or endpoint(url, sent, body))
    assert headers["Stripe-Signature"].count("v1=") == 2
    sandbox.advance(hours=2)
    client.v1.customers.create({})
    with pytest.raises(stripe.SignatureVerificationError):
        sandbox.deliver(endpoint)
    sandbox.advance(hours=1)
    assert {status for _, status in sandbox.deliver(Endpoint(new))} == {200}


def test_an_update_tells_what_it_was_before(sandbox, client, goods):
    client.v1.customers.update(goods.customer, {"name": "Jenny Smith", "metadata": {"vip": "yes"}})
    event = sandbox.events("customer.updated")[-1]
    assert event["data"]["previous_attributes"] == {"name": "Jenny Rosen", "metadata": {"vip": None}}
    before = len(sandbox.events("customer.updated"))
    client.v1.customers.update(goods.customer, {"name": "Jenny Smith"})
    assert len(sandbox.events("customer.updated")) == before


def test_a_renewal_tells_the_former_period(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=32)
    event = sandbox.events("customer.subscription.updated")[-1]
    was = event["data"]["previous_attributes"]["items"]["data"][0]
    assert was["current_period_end"] == subscription.items.data[0].current_period_end
    assert event["data"]["object"]["items"]["data"][0]["current_period_start"] == was["current_period_end"]
    assert event["request"] == {"id": None, "idempotency_key": None}


def test_events_are_listed_by_type_and_by_pattern(sandbox, client, goods):
    sandbox.pay(shop.checkout(client, goods).url)
    one = client.v1.events.list({"type": "checkout.session.completed"})
    assert [event.type for event in one.data] == ["checkout.session.completed"]
    some = client.v1.events.list({"types": ["payment_intent.succeeded", "charge.succeeded"]})
    assert {event.type for event in some.data} == {"payment_intent.succeeded", "charge.succeeded"}
    assert all(event.type.startswith("price.") for event in client.v1.events.list({"type": "price.*"}).data)


@pytest.mark.parametrize(("mode", "times"), [("drop", 0), ("duplicate", 2)])
def test_webhooks_can_be_lost_or_doubled_on_purpose(sandbox, client, endpoint, mode, times):
    sandbox.break_deliveries(mode, times=1)
    client.v1.customers.create({})
    sandbox.deliver(endpoint)
    assert len(endpoint.received) == times
    client.v1.customers.create({})
    sandbox.deliver(endpoint)
    assert len(endpoint.received) == times + 1


def test_webhooks_can_be_late_and_out_of_order_on_purpose(sandbox, client, endpoint):
    sandbox.break_deliveries("delay", seconds=60, times=1)
    client.v1.customers.create({})
    assert sandbox.deliver(endpoint) == []
    sandbox.advance(60)
    assert len(sandbox.deliver(endpoint)) == 1
    sandbox.heal()
    endpoint.received.clear()
    sandbox.faults.chance.seed(1)
    sandbox.break_deliveries("reorder", seconds=60)
    made = [client.v1.customers.create({}).id for _ in range(5)]
    sandbox.advance(60)
    sandbox.deliver(endpoint)
    arrived = [client.v1.events.retrieve(event).data.object.id for event in endpoint.received]
    assert sorted(arrived) == sorted(made)
    assert arrived != made


@pytest.mark.parametrize(
    ("mode", "error", "happened"),
    [
        ("429", stripe.RateLimitError, 0),
        ("500", stripe.APIError, 0),
        ("500_after", stripe.APIError, 1),
        ("unreachable", stripe.APIConnectionError, 0),
        ("unreachable_after", stripe.APIConnectionError, 1),
    ],
)
def test_the_api_can_fail_on_purpose(sandbox, client, mode, error, happened):
    sandbox.break_api(mode, times=1, path="/v1/customers")
    with pytest.raises(error):
        client.v1.customers.create({"name": "Ann"}, {"idempotency_key": "ann"})
    assert len(client.v1.customers.list().data) == happened


def test_an_answer_that_was_lost_is_given_again_under_its_key(sandbox, client):
    sandbox.break_api("unreachable_after", times=1)
    retrying = sandbox.client(max_network_retries=1)
    customer = retrying.v1.customers.create({"name": "Ann"})
    assert [one.id for one in client.v1.customers.list().data] == [customer.id]


def test_a_500_is_replayed_under_its_key(sandbox, client):
    sandbox.break_api("500_after", times=1)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.customers.create({"name": "Ann"}, {"idempotency_key": "ann"})
    assert len(client.v1.customers.list().data) == 1


def test_the_rate_limit_can_be_switched_on(sandbox, client):
    sandbox.limit_requests(3)
    with pytest.raises(stripe.RateLimitError) as limited:
        for _ in range(10):
            client.v1.customers.list()
    assert limited.value.error.code == "rate_limit"
    sandbox.limit_requests(0)
    assert client.v1.customers.list().data == []


@pytest.mark.parametrize("event", sorted(trigger.SCENARIOS))
def test_every_event_that_can_be_triggered_comes_about(sandbox, client, event):
    browser = sandbox.browser()

    def submit(path: str, form: dict[str, str]) -> None:
        assert browser.post(path, data=form).status_code == 303

    trigger.SCENARIOS[event](trigger.Actor(client, submit, sandbox.advance))
    assert sandbox.events(event)


def test_a_page_cannot_be_steered_without_a_key(sandbox):
    browser = sandbox.browser()
    assert browser.post("/sandbox/reset").status_code == 401
    key = {"Authorization": "Bearer sk_test_sandbox"}
    moved = browser.post("/sandbox/advance", json={"seconds": 3600}, headers=key)
    assert moved.get_json()["offset"] == pytest.approx(3600, abs=5)
    assert browser.post("/sandbox/advance", json={"seconds": "soon"}, headers=key).status_code == 400
    state = json.loads(browser.get("/sandbox/state", headers=key).data)
    assert state["pending_deliveries"] == 0


def test_forms_and_names_of_other_sites_are_refused(sandbox, client, goods):
    path = "/checkout/c/pay/" + shop.checkout(client, goods).id
    browser = sandbox.browser()
    assert browser.post(path, data={"action": "pay"}, headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.post(path, data={"action": "pay"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.get(path, headers={"Host": "evil.example"}).status_code == 400
    assert browser.get(path).status_code == 200
