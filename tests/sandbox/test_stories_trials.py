"""Trials: their notice, their end with and without a card, and the months that follow."""

from __future__ import annotations

import pytest

from tests.sandbox import shop

HOUR, DAY = 3600, 86400


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


def test_fourteen_days_free_then_twelve_paid_months(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, trial_period_days=14)
    begun = subscription.created
    assert (subscription.status, subscription.trial_start, subscription.trial_end) == (
        "trialing",
        begun,
        begun + 14 * DAY,
    )
    assert subscription.billing_cycle_anchor == subscription.items.data[0].current_period_end == begun + 14 * DAY
    sandbox.advance(11 * DAY - 1)
    assert sandbox.events("customer.subscription.trial_will_end") == []
    sandbox.advance(1)
    notice = sandbox.events("customer.subscription.trial_will_end")
    assert [event["created"] for event in notice] == [begun + 11 * DAY]

    sandbox.advance(3 * DAY)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    sandbox.advance(days=350)

    invoices = invoices_of(client, subscription)
    assert [(invoice.billing_reason, invoice.amount_paid) for invoice in invoices] == [
        ("subscription_create", 0),
        *[("subscription_cycle", 1500)] * 12,
    ]
    assert invoices[0].lines.data[0].description == "Trial period for Basic"
    assert invoices[1].lines.data[0].period.start == begun + 14 * DAY
    assert len(sandbox.events("customer.subscription.trial_will_end")) == 1


def test_a_trial_shorter_than_its_notice_is_announced_at_once(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, trial_end=int(sandbox.clock.now()) + 2 * DAY)
    sandbox.run_due()
    notice = sandbox.events("customer.subscription.trial_will_end")
    assert [event["created"] for event in notice] == [subscription.created]


def without_card(client, goods, behaviour):
    return client.v1.subscriptions.create(
        {
            "customer": goods.customer,
            "items": [{"price": goods.plan}],
            "trial_period_days": 7,
            "trial_settings": {"end_behavior": {"missing_payment_method": behaviour}},
        }
    )


def test_a_trial_without_a_card_is_cancelled_when_asked_so(sandbox, client, goods):
    subscription = without_card(client, goods, "cancel")
    sandbox.advance(days=8)
    ended = client.v1.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", subscription.trial_end)
    assert len(invoices_of(client, subscription)) == 1
    assert len(sandbox.events("customer.subscription.deleted")) == 1


def test_a_trial_without_a_card_pauses_and_resumes_when_a_card_is_there(sandbox, client, goods):
    subscription = without_card(client, goods, "pause")
    sandbox.advance(days=30)
    paused = client.v1.subscriptions.retrieve(subscription.id)
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "trial_end_without_payment_method"
    assert len(sandbox.events("customer.subscription.paused")) == 1
    assert len(invoices_of(client, subscription)) == 1

    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    client.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})
    resumed = client.v1.subscriptions.resume(
        subscription.id,
        {"billing_cycle_anchor": {"type": "now"}, "payment_behavior": "resume_on_payment_success"},
    )

    assert resumed.status == "active"
    assert not hasattr(resumed, "status_details")
    assert resumed.billing_cycle_anchor == resumed.items.data[0].current_period_start == int(sandbox.clock.now())
    assert invoices_of(client, subscription)[-1].amount_paid == 1500
    assert len(sandbox.events("customer.subscription.resumed")) == 1


def test_a_trial_without_a_card_ends_in_an_invoice_by_default(sandbox, client, goods):
    subscription = without_card(client, goods, "create_invoice")
    sandbox.advance(7 * DAY + HOUR)
    invoice = invoices_of(client, subscription)[-1]
    assert (invoice.status, invoice.amount_due, invoice.attempt_count) == ("open", 1500, 1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_trial_that_is_ended_early_is_charged_at_once(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, trial_period_days=14)
    sandbox.advance(days=5)
    ended = client.v1.subscriptions.update(subscription.id, {"trial_end": "now"})
    assert (ended.status, ended.trial_end) == ("active", int(sandbox.clock.now()))
    assert ended.billing_cycle_anchor == ended.trial_end
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 1500]
    sandbox.advance(days=32)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 1500, 1500]


def test_a_trial_can_be_made_longer(sandbox, client, goods):
    subscription = shop.subscribe(client, goods, trial_period_days=14)
    later = subscription.trial_end + 10 * DAY
    longer = client.v1.subscriptions.update(subscription.id, {"trial_end": later})
    assert (longer.trial_end, longer.items.data[0].current_period_end) == (later, later)
    sandbox.advance(later - sandbox.clock.now() + HOUR)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 1500]


def test_changing_plans_during_a_trial_costs_nothing_until_it_ends(sandbox, client, goods):
    pro = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 3000, "recurring": {"interval": "month"}}
    )
    subscription = shop.subscribe(client, goods, trial_period_days=14)
    sandbox.advance(days=5)
    item = subscription.items.data[0].id
    changed = client.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item, "price": pro.id}], "proration_behavior": "always_invoice"}
    )
    assert (changed.status, changed.trial_end) == ("trialing", subscription.trial_end)
    sandbox.advance(days=10)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 3000]


def test_a_trial_in_the_middle_of_a_period_credits_what_was_paid(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    whole = subscription.items.data[0].current_period_end - subscription.created
    trial_end = subscription.created + 20 * DAY
    sandbox.advance(days=10)
    trying = client.v1.subscriptions.update(subscription.id, {"trial_end": trial_end})
    assert (trying.status, trying.billing_cycle_anchor) == ("trialing", trial_end)
    sandbox.advance(10 * DAY + HOUR)
    credit = round(1500 * (whole - 10 * DAY) / whole)
    last = invoices_of(client, subscription)[-1]
    assert ([line.amount for line in last.lines.data], last.amount_paid) == ([-credit, 1500], 1500 - credit)


@pytest.mark.parametrize("days", [-1, 0])
def test_a_trial_cannot_end_in_the_past(sandbox, client, goods, refusing, days):
    with pytest.raises(Exception, match="in the future"):
        shop.subscribe(client, goods, trial_end=int(sandbox.clock.now()) + days * DAY)
