"""What Stripe says that a customer may use: read back, kept, and compared with the catalogue."""

from __future__ import annotations

import pytest
from flask import Flask

from billing import doctor, entitlements, stripe_catalog
from extensions import db
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

CHECK = "entitlements agree with Stripe's"


def subscriber(stripe: Stripe, price_key: str = "pro_monthly") -> Person:
    ann = sign_up(stripe.app)
    stripe.pay(ann.checkout(price_key))
    return ann


def customer_of(stripe: Stripe) -> str:
    return str(stripe.sandbox_object("customer")["id"])


def at_stripe(stripe: Stripe) -> frozenset[str] | None:
    with stripe.app.app_context():
        return entitlements.at_stripe(db.session(), customer_of(stripe))


def problems(app: Flask) -> list[str]:
    with app.app_context():
        found = {check.name: findings for check, findings in doctor.examine(db.session(), offline=True)}
    return [finding.problem for finding in found[CHECK]]


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_what_stripe_grants_is_read_back_in_any_order(stripe: Stripe, order: str) -> None:
    subscriber(stripe)
    stripe.settle(order=order, times=2)
    assert at_stripe(stripe) == {"cv_history", "cv_priority"}
    assert problems(stripe.app) == []


def test_before_stripe_has_spoken_there_is_nothing_to_compare(stripe: Stripe) -> None:
    subscriber(stripe)
    stripe.discard_deliveries()
    assert at_stripe(stripe) is None
    assert problems(stripe.app) == []


def test_a_feature_that_stripe_lost_is_a_finding_and_comes_back_with_a_push(stripe: Stripe) -> None:
    ann = subscriber(stripe)
    stripe.settle()
    link = next(
        one
        for one in stripe.api.v1.products.features.list("tollgate_cv_pro").data
        if one.entitlement_feature.lookup_key == "cv_history"
    )
    stripe.api.v1.products.features.delete("tollgate_cv_pro", link.id)
    stripe.settle()
    assert problems(stripe.app) == [f"at Stripe the customer {customer_of(stripe)} lacks cv_history"]
    assert ann.client.get("/cv/history").status_code == 200  # the catalogue decides
    stripe.inside(stripe_catalog.push)
    stripe.settle()
    assert problems(stripe.app) == []


def test_an_end_takes_the_entitlements_with_it(stripe: Stripe, clock: Clock) -> None:
    subscriber(stripe)
    stripe.settle()
    stripe_id = stripe.sandbox_object("subscription")["id"]
    stripe.api.v1.subscriptions.cancel(stripe_id)
    stripe.settle(order="reversed")
    assert at_stripe(stripe) == frozenset()
    assert problems(stripe.app) == []
