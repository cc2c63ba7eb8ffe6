"""Failed payments: retries, recovery, and the ways in which a subscription ends when nothing helps."""

from __future__ import annotations

import pytest
import stripe

from stripe_sandbox.engine import account_settings
from tests.sandbox import shop

HOUR, DAY = 3600, 86400
FAILS_LATER = "pm_card_chargeCustomerFail"


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


def change_card(client, goods, subscription, card):
    method = client.v1.payment_methods.attach(card, {"customer": goods.customer})
    return client.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})


@pytest.fixture
def failing(sandbox, client, goods):
    """A subscription whose card pays the first month and no other."""
    subscription = shop.subscribe(client, goods)
    change_card(client, goods, subscription, FAILS_LATER)
    return subscription


def to_renewal(sandbox, subscription):
    sandbox.advance(subscription.items.data[0].current_period_end - sandbox.clock.now() + HOUR)


def test_a_failed_renewal_is_tried_again_after_3_5_and_7_days_then_cancelled(sandbox, client, goods, failing):
    to_renewal(sandbox, failing)
    renewed_at = int(sandbox.clock.now())
    invoice = invoices_of(client, failing)[-1]
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert invoice.next_payment_attempt == renewed_at + 3 * DAY
    assert client.v1.subscriptions.retrieve(failing.id).status == "past_due"
    assert client.v1.customers.retrieve(goods.customer).delinquent is True

    sandbox.advance(days=16)

    failures = sandbox.events("invoice.payment_failed")
    told = [
        (
            event["created"] - renewed_at,
            event["data"]["object"]["attempt_count"],
            event["data"]["object"]["next_payment_attempt"]
            and event["data"]["object"]["next_payment_attempt"] - renewed_at,
        )
        for event in failures
    ]
    assert told == [(0, 1, 3 * DAY), (3 * DAY, 2, 8 * DAY), (8 * DAY, 3, 15 * DAY), (15 * DAY, 4, None)]
    ended = client.v1.subscriptions.retrieve(failing.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")
    assert ended.ended_at == renewed_at + 15 * DAY
    left = client.v1.invoices.retrieve(invoice.id)
    assert (left.status, left.next_payment_attempt, left.auto_advance) == ("open", None, False)


def test_a_new_card_pays_at_the_next_attempt(sandbox, client, goods, failing):
    to_renewal(sandbox, failing)
    change_card(client, goods, failing, "pm_card_mastercard")
    sandbox.advance(days=3)
    invoice = invoices_of(client, failing)[-1]
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("paid", 2, None)
    assert client.v1.subscriptions.retrieve(failing.id).status == "active"
    assert client.v1.customers.retrieve(goods.customer).delinquent is False
    sandbox.advance(days=31)
    assert [one.amount_paid for one in invoices_of(client, failing)] == [1500, 1500, 1500]


def test_paying_the_open_invoice_makes_the_subscription_active_at_once(sandbox, client, goods, failing):
    to_renewal(sandbox, failing)
    invoice = invoices_of(client, failing)[-1]
    with pytest.raises(stripe.CardError) as refused:
        client.v1.invoices.pay(invoice.id)
    assert refused.value.code == "card_declined"
    again = client.v1.invoices.retrieve(invoice.id)
    assert (again.attempt_count, again.next_payment_attempt) == (1, invoice.next_payment_attempt)

    client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})

    assert client.v1.subscriptions.retrieve(failing.id).status == "active"
    kinds = [event["type"] for event in sandbox.events()]
    assert "invoice.paid" in kinds[kinds.index("invoice.payment_failed") :]


@pytest.mark.parametrize("outcome", ["unpaid", "past_due"])
def test_the_last_failure_may_leave_the_subscription_owing(sandbox, client, goods, failing, outcome):
    account_settings.change(sandbox.store, after_retries=outcome)
    to_renewal(sandbox, failing)
    sandbox.advance(days=45)
    assert client.v1.subscriptions.retrieve(failing.id).status == outcome
    renewals = invoices_of(client, failing)[1:]
    if outcome == "unpaid":
        assert [(one.status, one.auto_advance) for one in renewals] == [("open", False), ("draft", False)]
        client.v1.invoices.pay(renewals[0].id, {"payment_method": "pm_card_visa"})
    else:
        assert [one.status for one in renewals] == ["open", "open"]
        client.v1.invoices.pay(renewals[1].id, {"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(failing.id).status == "active"


def test_retries_follow_the_account_s_own_days(sandbox, client, goods, failing):
    account_settings.change(sandbox.store, retry_days=[1])
    to_renewal(sandbox, failing)
    sandbox.advance(days=1)
    assert client.v1.subscriptions.retrieve(failing.id).status == "canceled"
    with pytest.raises(ValueError, match="unknown billing settings: retries"):
        account_settings.change(sandbox.store, retries=[1])
    for wrong, words in (
        ({"after_retries": "shrug"}, "after_retries must be one of"),
        ({"retry_days": [0]}, "retry_days must be a list"),
        ({"upcoming_days": -1}, "upcoming_days must be a number"),
    ):
        with pytest.raises(ValueError, match=words):
            account_settings.change(sandbox.store, **wrong)


def test_the_retries_of_a_server_are_set_over_its_own_address(sandbox, client, goods):
    asked = sandbox.browser().post(
        "/sandbox/billing", json={"retry_days": [2]}, headers={"Authorization": "Bearer sk_test_sandbox"}
    )
    assert (asked.status_code, asked.json["retry_days"]) == (200, [2])
    refused = sandbox.browser().post(
        "/sandbox/billing", json={"retry_days": "often"}, headers={"Authorization": "Bearer sk_test_sandbox"}
    )
    assert refused.status_code == 400


def test_a_card_that_wants_its_holder_asks_for_action_at_renewal(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    change_card(client, goods, subscription, "pm_card_authenticationRequired")
    to_renewal(sandbox, subscription)
    invoice = invoices_of(client, subscription)[-1]
    asked = sandbox.events("invoice.payment_action_required")
    assert [event["data"]["object"]["id"] for event in asked] == [invoice.id]
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    paid_before = len(sandbox.events("invoice.paid"))
    client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert len(sandbox.events("invoice.paid")) == paid_before + 1


def test_a_card_set_up_with_its_holder_renews_without_them(sandbox, client, goods):
    setup = client.v1.setup_intents.create(
        {
            "customer": goods.customer,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
    assert setup.status == "requires_action"
    with sandbox.world() as world:
        from stripe_sandbox.engine import methods

        methods.answer_setup_challenge(world, world.get("setup_intent", setup.id), passed=True)
    subscription = client.v1.subscriptions.create(
        {
            "customer": goods.customer,
            "items": [{"price": goods.plan}],
            "off_session": True,
            "default_payment_method": setup.payment_method,
        }
    )
    assert subscription.status == "active"
    to_renewal(sandbox, subscription)
    assert invoices_of(client, subscription)[-1].status == "paid"


def test_an_unpaid_first_invoice_expires_the_subscription_after_23_hours(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, card=FAILS_LATER, payment_behavior="allow_incomplete")
    assert subscription.status == "incomplete"
    invoice = invoices_of(client, subscription)[0]
    assert (invoice.status, invoice.next_payment_attempt) == ("open", None)
    sandbox.advance(23 * HOUR - 1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "incomplete"
    sandbox.advance(1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "incomplete_expired"
    assert client.v1.invoices.retrieve(invoice.id).status == "void"
    assert client.v1.subscriptions.list({"customer": goods.customer, "status": "ended"}).data[0].id == subscription.id
    sandbox.advance(days=60)
    assert len(invoices_of(client, subscription)) == 1


def test_an_incomplete_subscription_becomes_active_when_its_invoice_is_paid(sandbox, client, goods):
    subscription = shop.subscribe(
        client,
        goods,
        payment_behavior="default_incomplete",
        expand=["latest_invoice.confirmation_secret", "latest_invoice.payments"],
    )
    assert subscription.status == "incomplete"
    intent = subscription.latest_invoice.payments.data[0].payment.payment_intent
    assert subscription.latest_invoice.confirmation_secret.client_secret.startswith(intent)
    client.v1.payment_intents.confirm(intent, {"payment_method": subscription.default_payment_method})
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    sandbox.advance(days=2)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_refused_card_with_error_if_incomplete_leaves_nothing(sandbox, client, goods):
    with pytest.raises(stripe.CardError):
        shop.subscribe(client, goods, card=FAILS_LATER, payment_behavior="error_if_incomplete")
    assert client.v1.subscriptions.list({"customer": goods.customer, "status": "all"}).data == []
    assert client.v1.invoices.list({"customer": goods.customer}).data == []
    sandbox.violations.clear()


def test_voiding_the_owed_invoice_ends_the_dunning(sandbox, client, goods, failing):
    to_renewal(sandbox, failing)
    client.v1.invoices.void_invoice(invoices_of(client, failing)[-1].id)
    assert client.v1.subscriptions.retrieve(failing.id).status == "active"
    failed = len(sandbox.events("invoice.payment_failed"))
    sandbox.advance(days=14)
    assert len(sandbox.events("invoice.payment_failed")) == failed
