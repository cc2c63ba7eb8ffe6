"""Somebody adds a second plan to a subscription in Stripe's Dashboard: what is paid for comes, and staff is told.

The larger plan opens, each renewal brings the credits of both, and the site leaves the change of such plans to staff.
"""

from __future__ import annotations

import pytest
from sqlalchemy import select

from billing import catalog, doctor_books
from billing.models import PlanGrant
from extensions import db
from ledger import invariants
from tests.billing.forms import submit
from tests.billing.subscribers import A_MONTH, billing_page, pass_time, plan, subscriber, subscription
from tests.persons import Person
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])


def add(stripe: Stripe, lookup_key: str, proration_behavior: str = "always_invoice") -> str:
    """Add a plan's price to the newest subscription, as the Dashboard does; return the item's id."""
    subscription_id = stripe.sandbox_object("subscription")["id"]
    price = stripe.api.v1.prices.list({"lookup_keys": [lookup_key]}).data[0].id
    item = {"subscription": subscription_id, "price": price, "proration_behavior": proration_behavior}
    return str(stripe.api.v1.subscription_items.create(item).id)  # type: ignore[arg-type]


def told(ann: Person) -> list[str]:
    """Return what the doctor says of subscriptions and periods."""
    with ann.app.app_context():
        assert list(doctor_books._periods(db.session())) == []
        assert invariants.violations(db.session()) == []
        return [words for words, _ in doctor_books._several_plans(db.session())]


@ORDERS
@pytest.mark.parametrize(
    ("first", "second"), [("basic_monthly", "cv_pro_monthly"), ("pro_monthly", "cv_basic_monthly")]
)
def test_a_plan_that_is_added_and_paid_brings_its_credits_and_so_does_each_renewal(
    stripe: Stripe, clock: Clock, order: str, first: str, second: str
) -> None:
    ann = subscriber(stripe, first)
    assert told(ann) == []
    clock.advance(days=10)
    add(stripe, second)
    stripe.settle(order=order)
    assert ann.balance_of("plan") == 3 + 20 + 50
    assert plan(ann) == "pro", "the one that opens more, whatever Stripe lists first"
    (words,) = told(ann)
    assert "Basic and Pro" in words or "Pro and Basic" in words
    pass_time(stripe, clock, ann, order=order, **A_MONTH)
    with ann.app.app_context():
        renewed = db.session.scalars(select(PlanGrant.credits).order_by(PlanGrant.ends_at.desc()).limit(1)).one()
    assert renewed == 20 + 50
    paid = [invoice.total for invoice in stripe.api.v1.invoices.list({}).data]
    assert paid[0] == 1500 + 3000


def test_the_site_names_no_amount_that_is_not_whole_and_leaves_the_change_to_staff(
    stripe: Stripe, clock: Clock
) -> None:
    ann = subscriber(stripe, "basic_monthly")
    clock.advance(days=1)
    add(stripe, "cv_pro_monthly")
    stripe.settle()
    assert subscription(ann).amount_cents is None
    billing_page(ann)
    answer = ann.client.get("/billing/change?to=team_monthly")
    assert answer.status_code == 303
    assert "Two plans are billed to you together" in billing_page(ann)
    assert submit(ann, "/billing/cancel", "/billing/cancel").status_code == 303


@ORDERS
def test_an_upgrade_of_one_of_the_two_brings_its_own_difference(stripe: Stripe, clock: Clock, order: str) -> None:
    ann = subscriber(stripe, "basic_monthly")
    clock.advance(days=5)
    item = add(stripe, "cv_pro_monthly")
    clock.advance(days=5)
    (team,) = stripe.api.v1.prices.list({"lookup_keys": ["cv_team_monthly"]}).data
    change = {"price": team.id, "proration_behavior": "always_invoice"}
    stripe.api.v1.subscription_items.update(item, change)  # type: ignore[arg-type]
    stripe.settle(order=order)
    credits = {each.key: each.credits for each in stripe.inside(lambda: catalog.current().plans)}
    assert ann.balance_of("plan") == 3 + credits["basic"] + credits["team"]
    assert plan(ann) == "team"
