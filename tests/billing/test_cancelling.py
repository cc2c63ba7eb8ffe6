"""Leaving at the end of the period, and staying after all; the page says before what will happen."""

from __future__ import annotations

import pytest
from flask import Flask

from billing import access
from billing.models import Subscription
from extensions import db
from jobs import worker
from tests.billing.forms import open_form, send, submit
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe
from web import filters

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 1), ("as_is", 2), ("shuffled", 2)])


def subscriber(app: Flask, stripe: Stripe, price_key: str = "pro_monthly") -> Person:
    ann = sign_up(app)
    stripe.pay(ann.checkout(price_key))
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle()
    return ann


def subscription(ann: Person) -> Subscription:
    with ann.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        return found


def plan(ann: Person) -> str:
    with ann.app.app_context():
        return access.plan_of(db.session(), ann.account_id).key


def cancel(ann: Person, **fields: str):  # type: ignore[no-untyped-def]
    return submit(ann, "/billing/cancel", "/billing/cancel", **fields)


def resume(ann: Person):  # type: ignore[no-untyped-def]
    return submit(ann, "/billing", "/billing/resume")


def test_the_page_says_before_what_happens_to_plan_date_and_credits(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    page = ann.client.get("/billing/cancel").get_data(as_text=True)
    last_day = subscription(ann).period_ends_at
    assert last_day is not None
    assert f"Cancel on {filters.day(last_day)}" in page
    for words in ("$30.00 a month", "50 a month", "3 a month", "50 credits", "15 credits: nothing changes", "History"):
        assert words in page, words
    assert subscription(ann).cancels_at is None


def test_a_reason_that_is_none_of_the_offered_ones_is_asked_for_again(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    assert cancel(ann, reason=" ").status_code == 422
    assert subscription(ann).cancels_at is None


@ORDERS
def test_a_cancelled_plan_stays_until_its_last_day_and_then_the_free_plan_takes_over(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(app, stripe)
    answer = cancel(ann, reason="too_expensive", comment="Fewer credits would do")
    assert (answer.status_code, answer.location) == (303, "/billing")
    assert subscription(ann).cancels_at == subscription(ann).period_ends_at
    at_stripe = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id)
    assert at_stripe.cancellation_details.feedback == "too_expensive"
    assert at_stripe.cancellation_details.comment == "Fewer credits would do"
    stripe.settle(order=order, times=times)
    assert plan(ann) == "pro"
    assert ann.balance_of("plan") == 3 + 50

    clock.advance(days=32)
    stripe.settle(order=order, times=times)
    assert plan(ann) == "free"
    assert len(stripe.sandbox.events("invoice.paid")) == 1
    clock.advance(days=3)
    with app.app_context():
        worker.grant_due_allowances()
    assert ann.balance_of("plan") == 3
    assert ann.balance_of("purchase") == 12


@ORDERS
def test_resuming_lets_the_plan_renew(app: Flask, stripe: Stripe, clock: Clock, order: str, times: int) -> None:
    ann = subscriber(app, stripe)
    cancel(ann)
    assert resume(ann).status_code == 303
    assert subscription(ann).cancels_at is None
    stripe.settle(order=order, times=times)
    clock.advance(days=32)
    stripe.settle(order=order, times=times)
    assert plan(ann) == "pro"
    assert len(stripe.sandbox.events("invoice.paid")) == 2
    assert ann.balance_of("plan") == 3 + 50 + 50


@ORDERS
def test_what_the_portal_cancelled_is_shown_and_can_be_resumed(
    app: Flask, stripe: Stripe, order: str, times: int
) -> None:
    ann = subscriber(app, stripe)
    # Flexible billing: the portal sets cancel_at and leaves cancel_at_period_end false.
    stripe.api.v1.subscriptions.update(subscription(ann).stripe_id, {"cancel_at": "min_period_end"})
    ann.client.get("/billing/portal/return")
    assert subscription(ann).cancels_at == subscription(ann).period_ends_at
    stripe.settle(order=order, times=times)
    assert subscription(ann).cancels_at == subscription(ann).period_ends_at
    page = ann.client.get("/billing").get_data(as_text=True)
    assert "Resume Pro" in page
    assert "Cancel Pro" not in page
    resume(ann)
    stripe.settle(order=order, times=times)
    assert subscription(ann).cancels_at is None
    assert ann.balance_of("plan") == 3 + 50
    assert "Cancel Pro" in ann.client.get("/billing").get_data(as_text=True)


def test_the_same_form_sent_twice_cancels_once(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    fields = open_form(ann, "/billing/cancel", "/billing/cancel")
    answers = [send(ann, "/billing/cancel", fields) for _ in range(2)]
    assert [answer.location for answer in answers] == ["/billing", "/billing"]
    stripe.settle()
    changes = [e for e in stripe.sandbox.events("customer.subscription.updated") if e["data"]["object"]["cancel_at"]]
    assert len(changes) == 1


def test_without_the_one_time_number_nothing_is_cancelled(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    fields = open_form(ann, "/billing/cancel", "/billing/cancel")
    del fields["_idem"]
    assert send(ann, "/billing/cancel", fields).status_code == 400
    assert subscription(ann).cancels_at is None


def test_a_comment_that_is_too_long_is_said_so_and_changes_nothing(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    answer = cancel(ann, comment="x" * 501)
    assert answer.status_code == 422
    assert "Use at most 500 characters." in answer.get_data(as_text=True)
    assert subscription(ann).cancels_at is None


def test_a_trial_can_be_left_before_it_costs_anything(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle()
    assert subscription(ann).stripe_status == "trialing"
    assert "Projects" in ann.client.get("/billing/cancel").get_data(as_text=True)
    cancel(ann)
    shop.settle()
    clock.advance(days=15)
    shop.settle()
    assert plan(ann) == "free"
    assert sum(e["data"]["object"]["amount_paid"] for e in shop.sandbox.events("invoice.paid")) == 0


def test_who_has_no_subscription_is_led_back_to_billing(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    assert ann.client.get("/billing/cancel").location == "/billing"


def test_when_stripe_does_not_answer_nothing_is_cancelled_and_the_page_says_so(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(app, stripe)
    fields = open_form(ann, "/billing/cancel", "/billing/cancel")
    stripe.sandbox.break_api("500", times=9, path="/v1/subscriptions")
    answer = send(ann, "/billing/cancel", fields)
    stripe.sandbox.heal()
    assert answer.status_code == 503
    assert "Payments are not available right now" in answer.get_data(as_text=True)
    assert subscription(ann).cancels_at is None
