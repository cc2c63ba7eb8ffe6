"""Whole months of a subscription, in plain words."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy import select

import clock as app_clock
from billing import access, allowances, sync
from billing.models import CheckoutIntent, Subscription, SyncTask
from extensions import db
from jobs import worker
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


def plan(ann: Person) -> str:
    with ann.app.app_context():
        return access.plan_of(db.session(), ann.account_id).key


def subscription(ann: Person) -> Subscription:
    with ann.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        return found


def test_a_subscription_opens_its_plan_and_grants_its_credits_beside_bought_ones(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    assert plan(ann) == "basic"
    assert ann.balance_of("purchase") == 12
    assert ann.balance_of("plan") == 3 + 20


def test_a_subscription_heard_of_alone_closes_its_checkout_and_has_its_invoice_asked_for(
    app: Flask, stripe: Stripe
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.discard_deliveries()
    with app.app_context():
        sync.run_now("subscription", stripe.sandbox_object("subscription")["id"])
        assert db.session.scalars(select(CheckoutIntent.status)).one() == "complete"
        sync.drain()
    assert (plan(ann), ann.balance_of("plan")) == ("basic", 3 + 20)


def hear_of_the_checkout_alone(stripe: Stripe, ann: Person, price_key: str) -> tuple[str, set[str]]:
    """Pay, and hear of the checkout; return what its intent says then, and the kinds of objects to ask for."""
    stripe.pay(ann.checkout(price_key))
    stripe.discard_deliveries()
    sync.run_now("checkout_session", stripe.sandbox_object("checkout.session")["id"])
    waiting = select(SyncTask.kind).where(SyncTask.clean < SyncTask.dirty)
    return db.session.scalars(select(CheckoutIntent.status)).one(), set(db.session.scalars(waiting))


def test_a_checkout_of_a_plan_heard_of_alone_has_what_it_made_asked_for(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    with app.app_context():
        assert hear_of_the_checkout_alone(stripe, ann, "basic_monthly") == ("open", {"subscription", "invoice"})
        sync.drain()
        assert db.session.scalars(select(CheckoutIntent.status)).one() == "complete"
    assert (plan(ann), ann.balance_of("plan")) == ("basic", 3 + 20)


def test_a_checkout_of_a_pack_heard_of_alone_is_closed(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    with app.app_context():
        assert hear_of_the_checkout_alone(stripe, ann, "credits_5") == ("complete", {"charge"})
    assert ann.balance_of("purchase") == 5


def test_a_renewal_grants_once_and_the_old_months_credits_expire_after_their_grace(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    clock.advance(days=32)
    stripe.settle()
    assert plan(ann) == "basic"
    assert subscription(ann).period_ends_at > app_clock.now()
    assert ann.balance_of("plan") == 20 + 20 + 3
    clock.advance(days=3)
    assert ann.balance_of("plan") == 20


def test_twelve_months_grant_twelve_times(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    for _ in range(12):
        clock.advance(days=31)
        stripe.settle()
        assert 50 <= ann.balance_of("plan") <= 100 + 3
    assert plan(ann) == "pro"


def test_cancelling_at_the_end_of_the_period_keeps_the_plan_until_then(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    stripe.api.v1.subscriptions.update(subscription(ann).stripe_id, {"cancel_at_period_end": True})
    stripe.settle()
    assert plan(ann) == "basic"
    assert subscription(ann).cancels_at == subscription(ann).period_ends_at
    clock.advance(days=40)
    stripe.settle()
    with app.app_context():
        worker.grant_due_allowances()
    assert plan(ann) == "free"
    assert ann.balance_of("purchase") == 5
    assert ann.balance_of("plan") == 3


def test_a_second_subscription_is_not_sold_beside_a_live_one(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    assert ann.checkout("pro_monthly").endswith("/billing")


def test_a_plan_paid_in_another_tab_a_moment_ago_is_not_sold_twice(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    assert "/billing/success?session_id=" in ann.checkout("basic_monthly")
    assert "/billing" in ann.checkout("pro_monthly")
    stripe.settle()
    assert plan(ann) == "basic"


def test_choosing_another_plan_closes_the_first_checkout(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    first, second = ann.checkout("basic_monthly"), ann.checkout("pro_monthly")
    assert first != second
    status = stripe.api.v1.checkout.sessions.retrieve(first.rsplit("/", 1)[-1]).status
    assert status == "expired"
    stripe.pay(second)
    stripe.settle()
    assert plan(ann) == "pro"


def test_a_double_click_opens_one_checkout_and_one_customer(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    assert len({ann.checkout("credits_5") for _ in range(3)}) == 1
    assert len(stripe.api.v1.customers.list().data) == 1


def test_the_end_of_an_old_subscription_does_not_take_the_new_one_away(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    stripe.api.v1.subscriptions.cancel(subscription(ann).stripe_id)
    stripe.settle()
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle(order="reversed")
    with app.app_context():
        old = db.session.scalars(select(Subscription).where(Subscription.plan_key == "basic")).one()
        from billing import sync

        sync.run_now("subscription", old.stripe_id)
    assert plan(ann) == "pro"


def test_the_free_allowance_comes_back_each_month_and_only_once(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    assert ann.balance() == 3
    for _ in range(3):
        with app.app_context():
            worker.grant_due_allowances()
    assert ann.balance() == 3
    clock.advance(days=40)
    with app.app_context():
        assert worker.grant_due_allowances() == 1
        assert worker.grant_due_allowances() == 0
        assert allowances.due_accounts(db.session()) == []
    assert ann.balance() == 3


def test_accounts_that_wait_for_an_invoice_hold_up_nobodys_allowance(app: Flask, stripe: Stripe, clock: Clock) -> None:
    waiting = sign_up(app, "ann@example.com")
    stripe.pay(waiting.checkout("basic_monthly"))
    stripe.settle()
    clock.advance(days=2)
    free = sign_up(app, "bob@example.com")
    app_clock.travel(timedelta(days=45))  # the app's alone: Stripe is late with the renewal
    with app.app_context():
        assert worker.grant_due_allowances(page=1) == 1
        assert allowances.due_accounts(db.session()) == [waiting.account_id]
    assert free.balance() == 3


def test_past_due_keeps_the_plan_for_seven_days_and_not_for_ever() -> None:
    now = app_clock.now()
    for days, is_open in ((0, True), (6, True), (7, False), (30, False)):
        assert is_open is access.grants_access(
            "past_due",
            past_due_since=now - timedelta(days=days),
            now=now,
            past_due_grace=timedelta(days=7),
        )


def test_a_state_that_nobody_has_heard_of_opens_nothing() -> None:
    now = app_clock.now()
    for status in ("unpaid", "paused", "canceled", "incomplete", "incomplete_expired", "invented_tomorrow"):
        assert not access.grants_access(status, past_due_since=None, now=now, past_due_grace=timedelta(days=7))
