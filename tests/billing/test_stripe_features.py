"""Features at Stripe: made once, included in the plans that have them, and nothing of others touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask

from billing import catalog, stripe_catalog
from billing.catalog import Catalog, Feature
from billing.stripe_changes import Change, Kind
from tests.persons import sign_up
from tests.worlds import Stripe

Sell = Callable[[Catalog], list[Change]]


@pytest.fixture
def sell(app: Flask) -> Iterator[Sell]:
    """Lets the app sell another catalogue for the length of a test, and pushes it."""
    before = app.extensions["catalog"]

    def sell(other: Catalog) -> list[Change]:
        app.extensions["catalog"] = other
        with app.app_context():
            done = stripe_catalog.push()
            assert stripe_catalog.plan_changes() == []
        return [change for change in done if change.kind in {Kind.FEATURE, Kind.INCLUDE}]

    yield sell
    app.extensions["catalog"] = before


def included(stripe: Stripe) -> dict[str, list[str]]:
    """Return the lookup keys of what each product includes, without products that include nothing."""
    found = {}
    for product in stripe.api.v1.products.list({"limit": 100}):
        links = stripe.api.v1.products.features.list(product.id)
        found[product.id] = sorted(link.entitlement_feature.lookup_key for link in links)
    return {product_id: keys for product_id, keys in found.items() if keys}


def with_features_of_pro(sold: Catalog, *features: str) -> Catalog:
    plans = tuple(replace(plan, features=features) if plan.key == "pro" else plan for plan in sold.plans)
    return replace(sold, plans=plans)


def test_a_push_makes_each_feature_once_and_includes_it_in_its_plans(stripe: Stripe) -> None:
    features = stripe.api.v1.entitlements.features.list()
    assert {f.lookup_key: f.name for f in features} == {
        "cv_history": "History",
        "cv_priority": "Priority support",
        "cv_members": "Members",
        "cv_api": "API",
    }
    assert included(stripe) == {
        "tollgate_cv_basic": ["cv_history"],
        "tollgate_cv_pro": ["cv_history", "cv_priority"],
        "tollgate_cv_team": ["cv_api", "cv_history", "cv_members", "cv_priority"],
    }


def test_a_subscriber_is_seen_at_stripe_with_what_their_plan_opens(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    customer = stripe.api.v1.customers.list().data[0].id
    active = stripe.api.v1.entitlements.active_entitlements.list({"customer": customer})
    assert sorted(entitlement.lookup_key for entitlement in active) == ["cv_history", "cv_priority"]


def test_a_feature_that_moves_between_plans_is_included_and_taken_out(stripe: Stripe, sell: Sell) -> None:
    done = sell(with_features_of_pro(catalog.load("cv"), "history", "members"))
    assert sorted((change.action.value, change.name) for change in done) == [
        ("archive", "tollgate_cv_pro"),
        ("create", "tollgate_cv_pro"),
    ]
    assert included(stripe)["tollgate_cv_pro"] == ["cv_history", "cv_members"]


def test_a_feature_taken_out_and_put_back_within_a_day_is_there_again(stripe: Stripe, sell: Sell) -> None:
    sold = catalog.load("cv")
    for _ in range(2):  # the second time Stripe would replay its first answer to the same idempotency key
        sell(with_features_of_pro(sold, "history"))
        sell(sold)
    assert included(stripe)["tollgate_cv_pro"] == ["cv_history", "cv_priority"]


def test_a_new_feature_is_made_and_included_by_one_push(stripe: Stripe, sell: Sell) -> None:
    sold = catalog.load("cv")
    more = replace(sold, features=(*sold.features, Feature("letters", "Letters")))
    sell(with_features_of_pro(more, "history", "priority", "letters"))
    assert included(stripe)["tollgate_cv_pro"] == ["cv_history", "cv_letters", "cv_priority"]


def test_a_feature_that_no_plan_has_any_more_is_archived_and_comes_back_as_itself(stripe: Stripe, sell: Sell) -> None:
    sold = catalog.load("cv")
    before = {f.lookup_key: f.id for f in stripe.api.v1.entitlements.features.list()}
    plans = tuple(replace(p, features=tuple(f for f in p.features if f != "members")) for p in sold.plans)
    sell(replace(sold, plans=plans, features=tuple(f for f in sold.features if f.key != "members")))
    assert stripe.api.v1.entitlements.features.retrieve(before["cv_members"]).active is False
    sell(sold)
    assert {f.lookup_key: f.id for f in stripe.api.v1.entitlements.features.list()} == before


def test_a_renamed_feature_keeps_its_id(stripe: Stripe, sell: Sell) -> None:
    sold = catalog.load("cv")
    before = {f.lookup_key: f.id for f in stripe.api.v1.entitlements.features.list()}
    renamed = tuple(replace(f, name="Archive") if f.key == "history" else f for f in sold.features)
    (change,) = sell(replace(sold, features=renamed))
    assert change.detail == "History becomes Archive"
    assert stripe.api.v1.entitlements.features.retrieve(before["cv_history"]).name == "Archive"


def test_features_of_others_are_left_alone(stripe: Stripe, sell: Sell) -> None:
    other = stripe.api.v1.entitlements.features.create({"lookup_key": "other", "name": "Somebody else's"})
    stripe.api.v1.products.features.create("tollgate_cv_pro", {"entitlement_feature": other.id})
    assert sell(catalog.load("cv")) == []
    assert "other" in included(stripe)["tollgate_cv_pro"]
    assert stripe.api.v1.entitlements.features.retrieve(other.id).active is True
