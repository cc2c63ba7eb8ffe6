"""A trial comes once: per account, per address however it is tagged."""

from __future__ import annotations

from billing import access
from extensions import db
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


def status(person: Person) -> str | None:
    with person.app.app_context():
        found = access.subscription_of(db.session(), person.account_id)
        return found.stripe_status if found else None


def test_a_trial_opens_the_plan_costs_nothing_and_becomes_a_paid_month(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle()
    assert status(ann) == "trialing"
    assert ann.balance_of("trial") == 100
    assert shop.sandbox.events("charge.succeeded") == []
    clock.advance(days=15)
    shop.settle()
    assert status(ann) == "active"
    assert ann.balance_of("plan") == 100 + 3
    assert len(shop.sandbox.events("charge.succeeded")) == 1


def test_the_second_subscription_of_an_account_has_no_trial(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("starter_monthly"))
    shop.settle()
    with shop.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        shop.api.v1.subscriptions.cancel(found.stripe_id)
    shop.settle()
    shop.pay(ann.checkout("starter_monthly"))
    shop.settle()
    assert status(ann) == "active"


def test_another_spelling_of_the_same_address_has_no_second_trial(shop: Stripe) -> None:
    shop.pay(sign_up(shop.app, "ann@example.com").checkout("starter_monthly"))
    shop.settle()
    again = sign_up(shop.app, "Ann+again@example.com")
    shop.pay(again.checkout("starter_monthly"))
    shop.settle()
    assert status(again) == "active"
