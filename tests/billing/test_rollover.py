"""What is left of a plan's credits lasts for as many months longer as the plan says, and no trial's does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

import database
from billing import allowances, endings, subscriptions
from extensions import db
from tests.billing.subscribers import A_MONTH, pass_time, subscriber
from tests.persons import sign_up
from tests.worlds import Clock, Stripe

LetRollOver = Callable[[Flask, int], None]


@pytest.fixture
def let_roll_over(monkeypatch: pytest.MonkeyPatch) -> LetRollOver:
    def change(app: Flask, months: int) -> None:
        sold = app.extensions["catalog"]
        plans = tuple(plan if plan.is_free else replace(plan, rollover_months=months) for plan in sold.plans)
        monkeypatch.setitem(app.extensions, "catalog", replace(sold, plans=plans))

    return change


@pytest.mark.parametrize(("months", "seen"), [(0, [53, 50, 50]), (1, [53, 100, 100]), (2, [53, 100, 150])])
def test_credits_left_over_last_as_long_as_the_plan_says(
    stripe: Stripe, clock: Clock, let_roll_over: LetRollOver, months: int, seen: list[int]
) -> None:
    let_roll_over(stripe.app, months)
    ann = subscriber(stripe)
    found = [ann.balance_of("plan")]  # with the 3 of the free plan, which do not roll over
    for _ in range(2):
        pass_time(stripe, clock, ann, **A_MONTH)
        pass_time(stripe, clock, ann, days=4)  # beyond the grace
        found.append(ann.balance_of("plan"))
    assert found == seen


def test_cancelling_says_until_when_they_last(stripe: Stripe, let_roll_over: LetRollOver) -> None:
    let_roll_over(stripe.app, 2)
    ann = subscriber(stripe)
    with ann.app.app_context():
        subscription = subscriptions.latest(db.session(), ann.account_id)
        assert subscription is not None and subscription.period_ends_at is not None
        said = endings.outlook(db.session(), subscription).spendable_until
        assert (said - subscription.period_ends_at).days in range(59 + 3, 62 + 4)


def test_a_trials_credits_do_not_roll_over(shop: Stripe, clock: Clock, let_roll_over: LetRollOver) -> None:
    let_roll_over(shop.app, 3)
    ann = subscriber(shop, "starter_monthly")
    granted = ann.balance_of("trial")
    assert granted > 0
    pass_time(shop, clock, ann, days=14 + 4)
    assert ann.balance_of("trial") == 0


def test_the_pricing_page_says_it(app: Flask, let_roll_over: LetRollOver) -> None:
    assert "What is left over" not in app.test_client().get("/pricing").get_data(as_text=True)
    let_roll_over(app, 1)
    assert "What is left over lasts 1 month longer" in app.test_client().get("/pricing").get_data(as_text=True)


def test_a_free_plan_without_credits_grants_no_months(
    stripe: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold = stripe.app.extensions["catalog"]
    plans = tuple(replace(plan, credits=0) if plan.is_free else plan for plan in sold.plans)
    monkeypatch.setitem(stripe.app.extensions, "catalog", replace(sold, plans=plans))
    ann = sign_up(stripe.app)
    clock.advance(days=40)
    with stripe.app.app_context():
        assert not database.write(allowances.grant_due, ann.account_id)
    assert ann.balance() == 0
