"""Renewals: months, ends of months, years, quantities and several items, with Stripe's timing and reasons."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.sandbox import shop

HOUR, DAY = 3600, 86400


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())


def day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}"


def newest_invoice(client, subscription, **more):
    return client.v1.invoices.list({"subscription": subscription.id, "limit": 1, **more}).data[0]


def test_a_renewal_is_drafted_at_once_and_charged_an_hour_later(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 3, 10, 12, 0, 5))
    subscription = shop.subscribe(client, goods)
    seen = len(sandbox.events())

    sandbox.advance(at(2027, 4, 10, 12, 0, 5) - sandbox.clock.now())

    draft = newest_invoice(client, subscription)
    assert (draft.status, draft.billing_reason, draft.amount_due) == ("draft", "subscription_cycle", 1500)
    assert day(draft.created) == "2027-04-10 12:00:05"
    assert draft.automatically_finalizes_at == draft.created + HOUR
    assert (day(draft.period_start), day(draft.period_end)) == ("2027-03-10 12:00:05", "2027-04-10 12:00:05")
    line = draft.lines.data[0]
    assert (day(line.period.start), day(line.period.end)) == ("2027-04-10 12:00:05", "2027-05-10 12:00:05")
    assert line.description == "1 × Basic (at $15.00 / month)"

    sandbox.advance(HOUR)

    paid = newest_invoice(client, subscription)
    assert (paid.id, paid.status, paid.attempt_count) == (draft.id, "paid", 1)
    assert paid.status_transitions.finalized_at == paid.status_transitions.paid_at == draft.created + HOUR
    told = [event["type"] for event in sandbox.events()[seen:]]
    assert told == [
        "invoice.upcoming",
        "invoice.created",
        "customer.subscription.updated",
        "payment_intent.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_a_renewal_tells_what_the_period_was(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 3, 10))
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=32)
    update = sandbox.events("customer.subscription.updated")[-1]
    before, now = update["data"]["previous_attributes"], update["data"]["object"]
    was, item = before["items"]["data"][0], now["items"]["data"][0]
    assert (day(was["current_period_start"]), day(was["current_period_end"])) == (
        "2027-03-10 00:00:00",
        "2027-04-10 00:00:00",
    )
    assert (day(item["current_period_start"]), day(item["current_period_end"])) == (
        "2027-04-10 00:00:00",
        "2027-05-10 00:00:00",
    )
    assert before["latest_invoice"] != now["latest_invoice"] == newest_invoice(client, subscription).id


def test_the_31st_of_january_renews_on_the_last_day_of_short_months(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 1, 31, 9, 30, 0))
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=400)
    starts = [
        day(invoice.lines.data[0].period.start)
        for invoice in client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter()
    ]
    assert starts[::-1] == [
        "2027-01-31 09:30:00",
        "2027-02-28 09:30:00",
        "2027-03-31 09:30:00",
        "2027-04-30 09:30:00",
        "2027-05-31 09:30:00",
        "2027-06-30 09:30:00",
        "2027-07-31 09:30:00",
        "2027-08-31 09:30:00",
        "2027-09-30 09:30:00",
        "2027-10-31 09:30:00",
        "2027-11-30 09:30:00",
        "2027-12-31 09:30:00",
        "2028-01-31 09:30:00",
        "2028-02-29 09:30:00",
    ]


def test_a_yearly_plan_from_a_leap_day_renews_each_february(sandbox, client, goods):
    sandbox.clock.freeze(at(2028, 2, 29, 0, 0, 0))
    yearly = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 15000, "recurring": {"interval": "year"}}
    )
    subscription = shop.subscribe(client, goods, items=[{"price": yearly.id}])
    sandbox.advance(days=366 + 365 + 365 + 365 + 1)
    invoices = client.v1.invoices.list({"subscription": subscription.id}).data[::-1]
    assert [day(invoice.lines.data[0].period.start) for invoice in invoices] == [
        "2028-02-29 00:00:00",
        "2029-02-28 00:00:00",
        "2030-02-28 00:00:00",
        "2031-02-28 00:00:00",
        "2032-02-29 00:00:00",
    ]
    assert {invoice.amount_paid for invoice in invoices} == {15000}


def test_quantities_and_several_items_are_billed_on_one_invoice(sandbox, client, goods):
    seats = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 700, "recurring": {"interval": "month"}}
    )
    subscription = shop.subscribe(client, goods, items=[{"price": goods.plan}, {"price": seats.id, "quantity": 3}])
    sandbox.advance(days=32)
    renewal = newest_invoice(client, subscription)
    assert [line.amount for line in renewal.lines.data] == [1500, 2100]
    assert (renewal.billing_reason, renewal.amount_paid) == ("subscription_cycle", 3600)


def test_items_of_different_intervals_renew_each_in_its_own_time(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 3, 10))
    yearly = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 9900, "recurring": {"interval": "year"}}
    )
    subscription = shop.subscribe(client, goods, items=[{"price": goods.plan}, {"price": yearly.id}])
    sandbox.advance(days=367)
    invoices = list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())
    assert [invoice.amount_paid for invoice in invoices[::-1]] == [11400, *[1500] * 11, 11400]


def test_a_first_period_up_to_an_anchor_is_charged_by_the_second(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 3, 10, 6, 0, 0))
    subscription = shop.subscribe(client, goods, billing_cycle_anchor=at(2027, 4, 1))
    first = newest_invoice(client, subscription)
    seconds = at(2027, 4, 1) - at(2027, 3, 10, 6, 0, 0)
    assert first.amount_paid == round(1500 * seconds / (31 * DAY)) == 1052
    assert first.lines.data[0].parent.subscription_item_details.proration is True
    sandbox.advance(days=32)
    second = newest_invoice(client, subscription)
    assert (day(second.created), second.amount_paid) == ("2027-04-01 00:00:00", 1500)


def test_a_first_period_up_to_an_anchor_may_be_free(sandbox, client, goods):
    sandbox.clock.freeze(at(2027, 3, 10))
    subscription = shop.subscribe(client, goods, billing_cycle_anchor=at(2027, 4, 1), proration_behavior="none")
    assert subscription.status == "active"
    assert client.v1.invoices.list({"subscription": subscription.id}).data == []
    sandbox.advance(days=23)
    assert newest_invoice(client, subscription).amount_paid == 1500


def test_amounts_too_small_to_charge_wait_for_the_next_invoice(sandbox, client, goods):
    tiny = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 30, "recurring": {"interval": "month"}}
    )
    subscription = shop.subscribe(client, goods, items=[{"price": tiny.id}])
    first = newest_invoice(client, subscription)
    assert (first.status, first.total, first.amount_due, first.ending_balance) == ("paid", 30, 0, 30)
    sandbox.advance(days=32)
    second = newest_invoice(client, subscription)
    assert (second.starting_balance, second.total, second.amount_paid, second.ending_balance) == (30, 30, 60, 0)
    assert client.v1.customers.retrieve(goods.customer).balance == 0


def test_a_subscription_billed_by_invoice_waits_for_the_customer(sandbox, client, goods):
    subscription = client.v1.subscriptions.create(
        {
            "customer": goods.customer,
            "items": [{"price": goods.plan}],
            "collection_method": "send_invoice",
            "days_until_due": 7,
        }
    )
    first = newest_invoice(client, subscription)
    assert (subscription.status, first.status, first.due_date) == ("active", "open", first.created + 7 * DAY)
    sandbox.advance(days=8)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    assert [event["data"]["object"]["id"] for event in sandbox.events("invoice.overdue")] == [first.id]
    client.v1.invoices.pay(first.id, {"paid_out_of_band": True})
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


@pytest.mark.parametrize("interval, count, seconds", [("day", 3, 3 * DAY), ("week", 2, 14 * DAY)])
def test_days_and_weeks_are_counted_in_seconds(sandbox, client, goods, interval, count, seconds):
    price = client.v1.prices.create(
        {
            "product": goods.product,
            "currency": "usd",
            "unit_amount": 400,
            "recurring": {"interval": interval, "interval_count": count},
        }
    )
    subscription = shop.subscribe(client, goods, items=[{"price": price.id}])
    sandbox.advance(seconds * 3 + HOUR)
    invoices = client.v1.invoices.list({"subscription": subscription.id}).data
    assert [invoice.amount_paid for invoice in invoices] == [400] * 4
    assert invoices[0].lines.data[0].period.start == subscription.start_date + 3 * seconds


def test_credit_that_leaves_too_little_to_charge_makes_checkout_owe_it(sandbox, client, goods):
    client.v1.customers.balance_transactions.create(goods.customer, {"amount": -1478, "currency": "usd"})
    session = shop.checkout(client, goods, "subscription")
    sandbox.pay(session.url)
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice", "subscription"]})
    assert (done.subscription.status, done.invoice.amount_due, done.invoice.ending_balance) == ("active", 0, 22)
    assert client.v1.charges.list({"customer": goods.customer}).data == []
    sandbox.advance(days=32)
    assert newest_invoice(client, done.subscription).amount_paid == 1522
