"""The first payment of a subscription: banks that ask, cards that are kept, setups that wait."""

from __future__ import annotations

from contextlib import suppress

import pytest
import stripe

from stripe_sandbox import errors
from stripe_sandbox.engine import methods, payments
from tests.sandbox import shop

HOUR, DAY = 3600, 86400


def intent_of(client, invoice_id):
    paid_by = client.v1.invoice_payments.list({"invoice": invoice_id}).data[0].payment.payment_intent
    return client.v1.payment_intents.retrieve(paid_by)


def answer(sandbox, intent, *, passed):
    """Answer the bank's question, as its page does."""
    with sandbox.world() as world, suppress(errors.StripeError):
        payments.answer_challenge(world, world.get("payment_intent", intent), passed=passed)


def test_a_bank_that_asks_leaves_the_subscription_incomplete_until_answered(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, card="pm_card_threeDSecure2Required")
    assert subscription.status == "incomplete"
    intent = intent_of(client, subscription.latest_invoice)
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    assert len(sandbox.events("invoice.payment_action_required")) == 1

    answer(sandbox, intent.id, passed=True)

    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert client.v1.invoices.retrieve(subscription.latest_invoice).status == "paid"


def test_failing_the_bank_s_question_leaves_it_incomplete(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, card="pm_card_threeDSecure2Required")
    answer(sandbox, intent_of(client, subscription.latest_invoice).id, passed=False)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "incomplete"
    assert intent_of(client, subscription.latest_invoice).status == "requires_payment_method"
    sandbox.advance(days=1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "incomplete_expired"


def test_the_card_that_pays_first_is_kept_for_renewals(sandbox, client, goods):
    subscription = client.v1.subscriptions.create(
        {
            "customer": goods.customer,
            "items": [{"price": goods.plan}],
            "payment_behavior": "default_incomplete",
            "payment_settings": {"save_default_payment_method": "on_subscription"},
        }
    )
    intent = intent_of(client, subscription.latest_invoice)
    client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    active = client.v1.subscriptions.retrieve(subscription.id, {"expand": ["default_payment_method"]})
    assert (active.status, active.default_payment_method.customer) == ("active", goods.customer)
    sandbox.advance(days=32)
    assert [invoice.status for invoice in client.v1.invoices.list({"subscription": subscription.id})] == ["paid"] * 2


def test_a_trial_without_a_card_offers_a_setup(sandbox, client, goods):
    subscription = client.v1.subscriptions.create(
        {
            "customer": goods.customer,
            "items": [{"price": goods.plan}],
            "trial_period_days": 7,
            "payment_settings": {"save_default_payment_method": "on_subscription"},
        }
    )
    setup = subscription.pending_setup_intent
    assert client.v1.setup_intents.retrieve(setup).status == "requires_payment_method"
    client.v1.setup_intents.confirm(setup, {"payment_method": "pm_card_visa"})
    ready = client.v1.subscriptions.retrieve(subscription.id)
    assert (ready.pending_setup_intent, bool(ready.default_payment_method)) == (None, True)
    sandbox.advance(days=8)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_trial_that_needs_a_bank_s_answer_waits_for_it(sandbox, client, goods):
    subscription = client.v1.subscriptions.create(
        {"customer": goods.customer, "items": [{"price": goods.plan}], "trial_period_days": 7}
    )
    setup = subscription.pending_setup_intent
    client.v1.setup_intents.confirm(setup, {"payment_method": "pm_card_authenticationRequiredOnSetup"})
    assert client.v1.subscriptions.retrieve(subscription.id).pending_setup_intent == setup
    with sandbox.world() as world:
        methods.answer_setup_challenge(world, world.get("setup_intent", setup), passed=True)
    assert client.v1.subscriptions.retrieve(subscription.id).pending_setup_intent is None


def test_a_price_may_bring_its_own_trial(sandbox, client, goods):
    price = client.v1.prices.create(
        {
            "product": goods.product,
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month", "trial_period_days": 10},
        }
    )
    plain = shop.subscribe(client, goods, items=[{"price": price.id}])
    trying = shop.subscribe(client, goods, items=[{"price": price.id}], trial_from_plan=True)
    assert (plain.status, trying.status) == ("active", "trialing")
    assert trying.trial_end == trying.created + 10 * DAY


def test_one_time_items_are_billed_with_the_first_invoice(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, add_invoice_items=[{"price": goods.pack, "quantity": 2}])
    first = client.v1.invoices.retrieve(subscription.latest_invoice)
    assert ([line.amount for line in first.lines.data], first.amount_paid) == ([1500, 1000], 2500)
    sandbox.advance(days=32)
    assert client.v1.invoices.list({"subscription": subscription.id}).data[0].amount_paid == 1500


def test_what_is_not_simulated_is_refused_rather_than_ignored(sandbox, client, goods, refusing):
    for more, name in (
        ({"billing_thresholds": {"amount_gte": 5000}}, "billing_thresholds"),
        ({"items": [{"price": goods.plan, "discounts": [{"coupon": "x"}]}]}, r"items\[0\]\[discounts\]"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=f"does not simulate `{name}`"):
            shop.subscribe(client, goods, **more)


def test_nothing_is_collected_after_a_subscription_has_been_cancelled(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    sandbox.advance(subscription.items.data[0].current_period_end - sandbox.clock.now() + 60)
    draft = client.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert draft.status == "draft"
    client.v1.subscriptions.cancel(subscription.id)
    sandbox.advance(days=10)
    left = client.v1.invoices.retrieve(draft.id)
    assert (left.status, left.auto_advance, left.automatically_finalizes_at) == ("draft", False, None)


def test_a_draft_that_may_advance_again_is_collected(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    client.v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": "keep_as_draft"}})
    sandbox.advance(days=32)
    draft = client.v1.invoices.list({"subscription": subscription.id}).data[0]
    assert (draft.status, draft.auto_advance) == ("draft", False)
    client.v1.invoices.update(draft.id, {"auto_advance": True})
    sandbox.advance(HOUR)
    assert client.v1.invoices.retrieve(draft.id).status == "paid"


def test_a_card_that_was_detached_is_not_charged_again(sandbox, client):
    customer = client.v1.customers.create({"email": "ann@example.com"})
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    client.v1.payment_methods.detach(method.id)
    with pytest.raises(stripe.InvalidRequestError, match="detached from a Customer"):
        client.v1.payment_intents.create(
            {"amount": 500, "currency": "usd", "customer": customer.id, "payment_method": method.id, "confirm": True}
        )
    sandbox.violations.clear()
