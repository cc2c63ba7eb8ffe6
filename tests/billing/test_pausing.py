"""A pause: no invoice, what was paid for stays open, and going on costs what the page said, whenever it is."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from tests.billing import subscribers
from tests.billing.forms import open_form, send, submit
from tests.billing.subscribers import DECLINES, billing_page, plan, state, subscriber, subscription
from tests.billing.test_refunds_and_disputes import spend
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe
from web import filters

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])


def pause(ann: Person):  # type: ignore[no-untyped-def]
    return submit(ann, "/billing/pause", "/billing/pause")


def go_on(ann: Person):  # type: ignore[no-untyped-def]
    log_in_again(ann)
    return submit(ann, "/billing/unpause", "/billing/unpause")


def paid(stripe: Stripe) -> list[int]:
    return [event["data"]["object"]["amount_paid"] for event in stripe.sandbox.events("invoice.paid")]


def test_the_page_says_before_what_stays_open_and_what_going_on_costs(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    last_day = subscription(ann).period_ends_at
    assert last_day is not None
    page = billing_page(ann, "/billing/pause")
    for words in (
        f"You have paid until {filters.weekday(last_day)}",
        f"From {filters.day(last_day)}",
        "for $30.00, and brings 50 credits",
        "What is left can be spent until",
    ):
        assert words in page, words
    assert state(ann) == "active"


@ORDERS
def test_a_long_pause_costs_nothing_and_going_on_begins_a_period_of_its_own(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe)
    assert pause(ann).status_code == 303
    stripe.settle(order=order, times=times)
    assert (state(ann), plan(ann), ann.balance_of("plan")) == ("paused", "pro", 3 + 50)
    assert "Pro is paused" in billing_page(ann, "/dashboard")
    assert billing_page(ann).count("Go on with Pro") == 1, "the page that solves it has one button for it"

    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=40)
    assert (state(ann), plan(ann), ann.balance_of("plan"), paid(stripe)) == ("paused", "free", 3, [3000])

    page = billing_page(ann, "/billing/unpause")
    assert "Pay $30.00 and go on" in page
    assert go_on(ann).location == "/billing"
    stripe.settle(order=order, times=times)
    assert (state(ann), plan(ann), ann.balance_of("plan"), paid(stripe)) == ("active", "pro", 3 + 50, [3000, 3000])
    assert "is paused" not in billing_page(ann)
    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=31, hours=2)
    assert (state(ann), paid(stripe)) == ("active", [3000, 3000, 3000])


@ORDERS
def test_going_on_within_the_paid_period_costs_and_grants_nothing(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe)
    ends_at = subscription(ann).period_ends_at
    for _ in range(3):
        pause(ann)
        subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=3)
        assert "renews that day" in billing_page(ann, "/billing/unpause")
        go_on(ann)
        stripe.settle(order=order, times=times)
    assert (state(ann), ann.balance_of("plan"), paid(stripe)) == ("active", 3 + 50, [3000])
    assert subscription(ann).period_ends_at == ends_at
    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=23)
    assert (state(ann), ann.balance_of("plan"), paid(stripe)) == ("active", 3 + 50 + 50, [3000, 3000])


def test_a_declined_card_leaves_it_paused_and_the_page_says_how_to_pay(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    pause(ann)
    subscribers.pass_time(stripe, clock, ann, days=40)
    answer = go_on(ann)
    page = ann.client.get(answer.location).get_data(as_text=True)
    assert "stays paused, and nothing was charged" in page
    assert "It goes on as soon as $30.00 is paid." in page
    assert (state(ann), plan(ann)) == ("paused", "free")
    invoice = stripe.sandbox_object("invoice")
    stripe.api.v1.invoices.pay(invoice["id"], {"payment_method": "pm_card_visa"})
    stripe.settle()
    assert (state(ann), plan(ann), ann.balance_of("plan")) == ("active", "pro", 3 + 50)


def test_the_same_form_sent_twice_pauses_and_goes_on_once(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe)
    fields = open_form(ann, "/billing/pause", "/billing/pause")
    assert [send(ann, "/billing/pause", fields).status_code for _ in range(2)] == [303, 303]
    subscribers.pass_time(stripe, clock, ann, days=40)
    fields = open_form(ann, "/billing/unpause", "/billing/unpause")
    assert [send(ann, "/billing/unpause", fields).status_code for _ in range(2)] == [303, 303]
    stripe.settle()
    assert (len(stripe.sandbox.events("customer.subscription.paused")), paid(stripe)) == (1, [3000, 3000])


def test_a_pause_made_in_stripes_dashboard_closes_the_plan_at_once(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    stripe.api.v1.subscriptions.pause(subscription(ann).stripe_id)
    stripe.settle()
    assert (state(ann), plan(ann)) == ("paused", "free")
    assert "Nothing is charged, and you are on Free until you go on." in billing_page(ann, "/dashboard")


PENDING, AT_ONCE = "pending_invoice_item", "invoice"
# Spent of the 50 before a pause after half the month, days until it goes on, how the pause was billed, and what going
# on brings.
HALF_BACK = [
    (50, 5, PENDING, 25),  # the period is still running
    (0, 16, PENDING, 25),  # over, and what is left can be spent for another two days
    (50, 40, PENDING, 25),  # all of it was used up, and half of its money came back
    (50, 40, AT_ONCE, 25),
    (30, 40, AT_ONCE, 45),  # 20 expired unspent: of the 25 whose money came back, 5 were used
    (0, 40, PENDING, 50),  # everything expired unspent: nothing is taken a second time
]


@pytest.mark.parametrize(("spent", "days", "how", "brings"), HALF_BACK)
def test_a_pause_that_gives_money_back_takes_along_the_credits_that_were_not_lost(
    app: Flask, stripe: Stripe, clock: Clock, spent: int, days: int, how: str, brings: int
) -> None:
    order = "reversed" if how == AT_ONCE else "as_is"
    ann = sign_up(app)
    spend(ann, 3)  # the free plan's, which would end with the plan's
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    if spent:
        spend(ann, spent)
    clock.advance(days=15)
    stripe.api.v1.subscriptions.pause(subscription(ann).stripe_id, {"invoicing_behavior": how})  # type: ignore[typeddict-item]
    stripe.settle(order=order)
    assert (state(ann), plan(ann)) == ("paused", "free")
    subscribers.pass_time(stripe, clock, ann, order=order, days=days)
    before = ann.balance()
    page = billing_page(ann, "/billing/unpause")
    assert re.search(rf"Credits you get now</dt>\s*<dd[^>]*>{brings}<", page), page
    assert "Pay $15.00 and go on" in page
    fields = open_form(ann, "/billing/unpause", "/billing/unpause")
    assert send(ann, "/billing/unpause", fields).status_code == 303
    stripe.settle(order=order)
    assert (state(ann), plan(ann), ann.balance() - before) == ("active", "pro", brings)
    assert [cents for cents in paid(stripe) if cents] == [3000, 1500]


def test_a_planned_change_is_given_up_and_the_page_says_so(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    submit(ann, "/billing/change?to=basic_monthly", "/billing/change")
    stripe.settle()
    assert "The planned change to Basic is given up" in billing_page(ann, "/billing/pause")
    pause(ann)
    stripe.settle()
    assert state(ann) == "paused"
    assert "Basic begins on" not in billing_page(ann)


def test_only_a_plan_that_is_paid_and_goes_on_can_be_paused(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, card=DECLINES)
    submit(ann, "/billing/cancel", "/billing/cancel")
    assert ann.client.get("/billing/pause").location == "/billing"
    submit(ann, "/billing", "/billing/resume")
    subscribers.pass_time(stripe, clock, ann, days=31, hours=2)
    assert state(ann) == "past_due"
    assert ann.client.get("/billing/pause").location == "/billing"
