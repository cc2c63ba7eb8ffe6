"""How subscriptions stop: cancelling now, later and back again, pausing, and the schedules that plan it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe

from tests.sandbox import shop

HOUR, DAY = 3600, 86400
MARCH = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp())


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


def price(client, goods, cents, interval="month"):
    return client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": interval}}
    ).id


@pytest.fixture
def basic(sandbox, client, goods):
    """A subscription over $15.00 a month, ten days old in a month of 31 days."""
    sandbox.clock.freeze(MARCH)
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=10)
    return subscription


def test_cancelling_at_the_period_s_end_can_be_taken_back_until_then(sandbox, client, goods, basic):
    ending = client.v1.subscriptions.update(
        basic.id, {"cancel_at_period_end": True, "cancellation_details": {"feedback": "too_expensive", "comment": "Ow"}}
    )
    assert (ending.status, ending.cancel_at, ending.canceled_at) == ("active", MARCH + 31 * DAY, MARCH + 10 * DAY)
    assert ending.cancellation_details.to_dict() == {
        "comment": "Ow",
        "feedback": "too_expensive",
        "feedback_option": None,
        "reason": "cancellation_requested",
    }
    again = client.v1.subscriptions.update(basic.id, {"cancel_at_period_end": False})
    assert (again.cancel_at, again.canceled_at, again.cancel_at_period_end) == (None, None, False)
    client.v1.subscriptions.update(basic.id, {"cancel_at_period_end": True})
    sandbox.advance(days=60)
    ended = client.v1.subscriptions.retrieve(basic.id)
    assert (ended.status, ended.ended_at, ended.canceled_at) == ("canceled", MARCH + 31 * DAY, MARCH + 10 * DAY)
    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500]


@pytest.mark.parametrize("word", ["min_period_end", "max_period_end"])
def test_cancel_at_resolves_its_words_at_once(sandbox, client, goods, basic, word):
    ending = client.v1.subscriptions.update(basic.id, {"cancel_at": word})
    assert (ending.cancel_at, ending.cancel_at_period_end) == (MARCH + 31 * DAY, False)
    back = client.v1.subscriptions.update(basic.id, {"cancel_at": ""})
    assert back.cancel_at is None


def test_a_last_period_that_is_cut_short_is_charged_for_its_days(sandbox, client, goods, basic):
    client.v1.subscriptions.update(basic.id, {"cancel_at": MARCH + 41 * DAY})
    sandbox.advance(days=60)
    # April has 30 days, of which ten are used.
    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500, 500]
    assert client.v1.subscriptions.retrieve(basic.id).ended_at == MARCH + 41 * DAY


def test_cancelling_now_gives_nothing_back_by_default(sandbox, client, goods, basic):
    ended = client.v1.subscriptions.cancel(basic.id, {"cancellation_details": {"comment": "Bye"}})
    assert (ended.status, ended.ended_at, ended.canceled_at) == ("canceled", MARCH + 10 * DAY, MARCH + 10 * DAY)
    assert ended.cancellation_details.comment == "Bye"
    assert len(invoices_of(client, basic)) == 1
    assert client.v1.customers.retrieve(goods.customer).balance == 0
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        client.v1.subscriptions.cancel(basic.id)
    sandbox.violations.clear()


def test_cancelling_now_with_proration_leaves_credit_with_the_customer(sandbox, client, goods, basic):
    client.v1.subscriptions.cancel(basic.id, {"prorate": True, "invoice_now": True})
    last = invoices_of(client, basic)[-1]
    assert ([line.amount for line in last.lines.data], last.status, last.amount_due) == ([-1016], "paid", 0)
    assert client.v1.customers.retrieve(goods.customer).balance == -1016


def test_proration_without_an_invoice_leaves_a_pending_item(sandbox, client, goods, basic):
    client.v1.subscriptions.cancel(basic.id, {"prorate": True})
    assert len(invoices_of(client, basic)) == 1
    waiting = client.v1.invoice_items.list({"customer": goods.customer, "pending": True}).data
    assert [item.amount for item in waiting] == [-1016]


def test_an_ended_subscription_can_change_nothing_but_its_words(sandbox, client, goods, basic, refusing):
    client.v1.subscriptions.cancel(basic.id)
    noted = client.v1.subscriptions.update(basic.id, {"metadata": {"why": "moved"}})
    assert noted.metadata["why"] == "moved"
    with pytest.raises(stripe.InvalidRequestError, match="A canceled subscription can only update"):
        client.v1.subscriptions.update(basic.id, {"cancel_at_period_end": True})


@pytest.mark.parametrize(
    "behavior, status", [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_paused_collection_makes_invoices_that_nobody_pays(sandbox, client, goods, basic, behavior, status):
    resumes_at = MARCH + 70 * DAY
    paused = client.v1.subscriptions.update(
        basic.id, {"pause_collection": {"behavior": behavior, "resumes_at": resumes_at}}
    )
    assert (paused.status, paused.pause_collection.behavior) == ("active", behavior)
    sandbox.advance(days=55)
    assert [invoice.status for invoice in invoices_of(client, basic)] == ["paid", status, status]
    assert sandbox.events("customer.subscription.paused") == []
    sandbox.advance(days=40)
    assert client.v1.subscriptions.retrieve(basic.id).pause_collection is None
    assert [invoice.status for invoice in invoices_of(client, basic)][3:] == ["paid"]
    assert client.v1.subscriptions.retrieve(basic.id).status == "active"


def test_collection_is_resumed_by_clearing_the_pause(sandbox, client, goods, basic):
    client.v1.subscriptions.update(basic.id, {"pause_collection": {"behavior": "void"}})
    client.v1.subscriptions.update(basic.id, {"pause_collection": ""})
    sandbox.advance(days=22)
    assert invoices_of(client, basic)[-1].status == "paid"


def test_a_paused_subscription_makes_no_invoices_and_keeps_credit(sandbox, client, goods, basic):
    paused = client.v1.subscriptions.pause(basic.id)
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"
    sandbox.advance(days=100)
    assert len(invoices_of(client, basic)) == 1
    waiting = client.v1.invoice_items.list({"customer": goods.customer, "pending": True}).data
    assert [item.amount for item in waiting] == [-1016]

    resumed = client.v1.subscriptions.resume(basic.id, {"payment_behavior": "resume_on_payment_success"})

    assert (resumed.status, resumed.billing_cycle_anchor) == ("active", MARCH + 110 * DAY)
    last = invoices_of(client, basic)[-1]
    assert ([line.amount for line in last.lines.data], last.amount_paid) == ([-1016, 1500], 484)
    assert [len(sandbox.events(f"customer.subscription.{what}")) for what in ("paused", "resumed")] == [1, 1]
    sandbox.advance(days=32)
    assert invoices_of(client, basic)[-1].amount_paid == 1500


def test_a_pause_with_nothing_to_bill_leaves_the_latest_invoice_as_it_was(sandbox, client, goods, basic):
    bill_for = {"unused_time_from": {"type": "none"}}
    paused = client.v1.subscriptions.pause(basic.id, {"bill_for": bill_for, "invoicing_behavior": "invoice"})
    assert client.v1.invoices.retrieve(paused.latest_invoice).status == "paid"
    assert len(invoices_of(client, basic)) == 1


def test_resuming_unchanged_charges_the_rest_of_the_running_period(sandbox, client, goods, basic):
    client.v1.subscriptions.pause(basic.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    sandbox.advance(days=31)
    resumed = client.v1.subscriptions.resume(
        basic.id,
        {
            "billing_cycle_anchor": {"type": "unchanged"},
            "proration_behavior": "always_invoice",
            "payment_behavior": "resume_on_payment_success",
        },
    )
    # On 11 April, 20 of April's 30 days are left.
    assert (resumed.status, resumed.billing_cycle_anchor) == ("active", MARCH)
    assert invoices_of(client, basic)[-1].amount_paid == 1000
    sandbox.advance(days=21)
    assert invoices_of(client, basic)[-1].amount_paid == 1500


def test_a_subscription_stays_paused_until_its_resumption_is_paid(sandbox, client, goods, basic):
    client.v1.subscriptions.pause(basic.id)
    method = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": goods.customer})
    client.v1.subscriptions.update(basic.id, {"default_payment_method": method.id})
    tried = client.v1.subscriptions.resume(basic.id, {"payment_behavior": "resume_on_payment_success"})
    assert tried.status == "paused"
    invoice = client.v1.invoices.retrieve(tried.latest_invoice)
    assert invoice.status == "open"
    client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert client.v1.subscriptions.retrieve(basic.id).status == "active"


def test_a_resumption_nobody_pays_is_voided_after_23_hours(sandbox, client, goods, basic):
    client.v1.subscriptions.pause(basic.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    waiting = client.v1.subscriptions.resume(basic.id)
    assert waiting.status == "paused"
    assert client.v1.invoices.retrieve(waiting.latest_invoice).status == "open"
    sandbox.advance(days=1)
    assert client.v1.invoices.retrieve(waiting.latest_invoice).status == "void"
    assert client.v1.subscriptions.retrieve(basic.id).status == "paused"


def test_what_cannot_be_paused_says_why(sandbox, client, goods, basic, refusing):
    classic = shop.subscribe(client, goods, billing_mode={"type": "classic"})
    with pytest.raises(stripe.InvalidRequestError, match="flexible"):
        client.v1.subscriptions.pause(classic.id)
    with pytest.raises(stripe.InvalidRequestError, match="cannot resume"):
        client.v1.subscriptions.resume(basic.id)
    client.v1.subscription_schedules.create({"from_subscription": basic.id})
    with pytest.raises(stripe.InvalidRequestError, match="managed by a subscription schedule"):
        client.v1.subscriptions.pause(basic.id)


def downgrade(client, basic, to, **more):
    """Plan a cheaper price for the next period, as Stripe's documentation does it."""
    schedule = client.v1.subscription_schedules.create({"from_subscription": basic.id})
    phase = schedule.phases[0]
    return client.v1.subscription_schedules.update(
        schedule.id,
        {
            "end_behavior": "release",
            "phases": [
                {
                    "items": [{"price": item.price, "quantity": item.quantity} for item in phase["items"]],
                    "start_date": phase.start_date,
                    "end_date": phase.end_date,
                },
                {
                    "items": [{"price": to, "quantity": 1}],
                    "duration": {"interval": "month", "interval_count": 1},
                    "proration_behavior": "none",
                    **more,
                },
            ],
        },
    )


def test_a_downgrade_waits_for_the_period_s_end(sandbox, client, goods, basic):
    small = price(client, goods, 500)
    schedule = downgrade(client, basic, small)
    assert schedule.current_phase.end_date == MARCH + 31 * DAY
    managed = client.v1.subscriptions.retrieve(basic.id)
    assert (managed.schedule, managed.items.data[0].price.id) == (schedule.id, goods.plan)
    assert client.v1.invoices.create_preview({"subscription": basic.id}).total == 500

    sandbox.advance(days=22)

    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500, 500]
    assert invoices_of(client, basic)[-1].billing_reason == "subscription_cycle"
    assert client.v1.subscriptions.retrieve(basic.id).items.data[0].price.id == small
    sandbox.advance(days=31)
    done = client.v1.subscription_schedules.retrieve(schedule.id)
    assert (done.status, done.completed_at) == ("completed", MARCH + 61 * DAY)
    released = client.v1.subscriptions.retrieve(basic.id)
    assert (released.schedule, released.status) == (None, "active")
    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500, 500, 500]
    kinds = [event["type"] for event in sandbox.events() if event["type"].startswith("subscription_schedule")]
    assert kinds == [f"subscription_schedule.{what}" for what in ("created", "updated", "updated", "completed")]


def test_a_planned_downgrade_can_be_released_before_it_happens(sandbox, client, goods, basic):
    schedule = downgrade(client, basic, price(client, goods, 500))
    released = client.v1.subscription_schedules.release(schedule.id)
    assert (released.status, released.released_subscription, released.subscription) == ("released", basic.id, None)
    sandbox.advance(days=22)
    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500, 1500]
    with pytest.raises(stripe.InvalidRequestError, match="only releasable"):
        client.v1.subscription_schedules.release(schedule.id)
    sandbox.violations.clear()


def test_a_schedule_may_change_to_a_year_at_the_period_s_end(sandbox, client, goods, basic):
    yearly = price(client, goods, 12000, "year")
    downgrade(client, basic, yearly, duration={"interval": "year", "interval_count": 1})
    sandbox.advance(days=22)
    renewed = client.v1.subscriptions.retrieve(basic.id)
    assert invoices_of(client, basic)[-1].amount_paid == 12000
    assert renewed.billing_cycle_anchor == MARCH + 31 * DAY
    assert renewed.items.data[0].current_period_end == int(datetime(2028, 4, 1, tzinfo=UTC).timestamp())


def test_a_phase_in_the_middle_of_a_period_prorates(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    schedule = client.v1.subscription_schedules.create({"from_subscription": basic.id})
    client.v1.subscription_schedules.update(
        schedule.id,
        {
            "end_behavior": "cancel",
            "phases": [
                {"items": [{"price": goods.plan}], "start_date": MARCH, "end_date": MARCH + 20 * DAY},
                {
                    "items": [{"price": pro}],
                    "end_date": MARCH + 31 * DAY,
                    "proration_behavior": "always_invoice",
                },
            ],
        },
    )
    sandbox.advance(days=11)
    # 11 of 31 days: 532.26 back, 1064.52 for the new price.
    assert [line.amount for line in invoices_of(client, basic)[-1].lines.data] == [-532, 1065]
    sandbox.advance(days=12)
    assert client.v1.subscriptions.retrieve(basic.id).status == "canceled"
    assert client.v1.subscriptions.retrieve(basic.id).ended_at == MARCH + 31 * DAY
    assert len(invoices_of(client, basic)) == 2


def test_a_schedule_starts_its_subscription_on_its_day(sandbox, client, goods):
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    starts = int(sandbox.clock.now()) + 5 * DAY
    schedule = client.v1.subscription_schedules.create(
        {
            "customer": goods.customer,
            "start_date": starts,
            "end_behavior": "cancel",
            "default_settings": {"default_payment_method": method.id},
            "phases": [
                {
                    "items": [{"price": goods.plan, "quantity": 2}],
                    "duration": {"interval": "month", "interval_count": 2},
                }
            ],
        }
    )
    assert (schedule.status, schedule.subscription) == ("not_started", None)
    sandbox.advance(days=6)
    running = client.v1.subscription_schedules.retrieve(schedule.id, {"expand": ["subscription"]})
    assert (running.status, running.subscription.status, running.subscription.start_date) == (
        "active",
        "active",
        starts,
    )
    sandbox.advance(days=70)
    ended = client.v1.subscriptions.retrieve(running.subscription.id)
    assert ended.status == "canceled"
    assert [invoice.amount_paid for invoice in invoices_of(client, ended)] == [3000, 3000]


def test_cancelling_a_schedule_cancels_its_subscription(sandbox, client, goods, basic):
    schedule = client.v1.subscription_schedules.create({"from_subscription": basic.id})
    with pytest.raises(stripe.InvalidRequestError, match="Please update the schedule instead"):
        client.v1.subscriptions.update(basic.id, {"cancel_at_period_end": True})
    sandbox.violations.clear()
    cancelled = client.v1.subscription_schedules.cancel(schedule.id, {"invoice_now": False, "prorate": False})
    assert cancelled.status == "canceled"
    assert client.v1.subscriptions.retrieve(basic.id).status == "canceled"


def test_a_planned_end_comes_before_a_planned_phase(sandbox, client, goods, basic):
    client.v1.subscriptions.update(basic.id, {"cancel_at_period_end": True})
    schedule = downgrade(client, basic, price(client, goods, 500))
    sandbox.advance(days=22)
    ended = client.v1.subscriptions.retrieve(basic.id)
    assert (ended.status, ended.items.data[0].price.id) == ("canceled", goods.plan)
    assert client.v1.subscription_schedules.retrieve(schedule.id).status == "canceled"
    assert len(invoices_of(client, basic)) == 1


def test_a_phase_leaves_items_of_longer_periods_what_they_paid_for(sandbox, client, goods):
    sandbox.clock.freeze(MARCH)
    yearly = price(client, goods, 36500, "year")
    subscription = shop.subscribe(client, goods, items=[{"price": goods.plan}, {"price": yearly}])
    small = price(client, goods, 500)
    schedule = client.v1.subscription_schedules.create({"from_subscription": subscription.id})
    client.v1.subscription_schedules.update(
        schedule.id,
        {
            "phases": [
                {
                    "items": [{"price": goods.plan}, {"price": yearly}],
                    "start_date": MARCH,
                    "end_date": MARCH + 31 * DAY,
                },
                {
                    "items": [{"price": small}, {"price": yearly}],
                    "duration": {"interval": "month", "interval_count": 1},
                },
            ]
        },
    )
    sandbox.advance(days=33)
    assert [line.amount for line in invoices_of(client, subscription)[-1].lines.data] == [500]
    long = client.v1.subscriptions.retrieve(subscription.id).items.data[1]
    assert long.current_period_end == int(datetime(2028, 3, 1, tzinfo=UTC).timestamp())
