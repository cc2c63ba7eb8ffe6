"""Each preset starts, pushes, and sells everything that it lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from billing import access, catalog, entitlements, metered_items
from billing.catalog import Plan, Price
from billing.usage_models import MeteredItem
from extensions import db
from stripe_sandbox.testing import Sandbox
from tests.billing.conftest import selling
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


@pytest.fixture(params=sorted(catalog.PRESETS))
def shop(app: Flask, sandbox: Sandbox, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Stripe]:
    """An app that sells one preset, and the Stripe that it sells at."""
    yield from selling(request.param, app, sandbox, clock)


def test_every_plan_and_pack_can_be_bought(shop: Stripe) -> None:
    with shop.app.app_context():
        sold = catalog.current()
    for plan in sold.plans:
        for price in plan.prices:
            buyer = sign_up(shop.app, f"{price.key}@example.com")
            shop.pay(buyer.checkout(price.key))
            shop.settle()
            shop.inside(metered_items.add_missing)
            shop.settle()
            assert what_it_gives(shop, buyer) == what_it_says(plan, price)
            granted = buyer.balance_of("trial" if plan.trial_days else "plan")
            assert granted == plan.credits + (0 if plan.trial_days else sold.free_plan.credits)
    for pack in sold.packs:
        buyer = sign_up(shop.app, f"{pack.key}@example.com")
        shop.pay(buyer.checkout(pack.price.key))
        shop.settle()
        assert buyer.balance_of("purchase") == pack.credits


def what_it_says(plan: Plan, price: Price) -> dict[str, object]:
    return {
        "plan": plan,
        "amount": (price.amount_cents, price.currency, price.interval),
        "trial": plan.trial_days,
        "by use": {(o.key, o.included_units, o.cents_per_unit) for o in plan.overages},
        "at Stripe": {f"{price.lookup_key.removesuffix(price.key)}{key}" for key in plan.features},
    }


def what_it_gives(shop: Stripe, buyer: Person) -> dict[str, object]:
    """Return what a new subscriber has, by our tables and by Stripe's."""
    with shop.app.app_context():
        session = db.session()
        mine = access.subscription_of(session, buyer.account_id)
        assert mine is not None
        there = shop.api.v1.subscriptions.retrieve(mine.stripe_id)
        sold = next(i.price for i in there.items.data if i.price.recurring.usage_type == "licensed")
        plan = access.plan_of(session, buyer.account_id)
        items = session.scalars(select(MeteredItem).where(MeteredItem.account_id == buyer.account_id)).all()
        assert {item.stripe_item_id for item in items} <= {item.id for item in there.items.data}
        return {
            "plan": plan,
            "amount": (sold.unit_amount, sold.currency, sold.recurring.interval),
            "trial": round(((there.trial_end or 0) - (there.trial_start or 0)) / 86400),
            "by use": {(i.price_key, i.included_units, i.cents_per_unit) for i in items},
            "at Stripe": set(entitlements.at_stripe(session, there.customer) or ()),
        }


def test_pricing_dashboard_and_order_pages_show_it(shop: Stripe) -> None:
    buyer = sign_up(shop.app)
    with shop.app.app_context():
        sold = catalog.current()
    for interval in ("monthly", "yearly"):
        page = buyer.client.get(f"/pricing?interval={interval}").get_data(as_text=True)
        assert all(plan.name in page for plan in sold.plans)
        assert all(pack.name in page for pack in sold.packs)
    for path in ("/", "/dashboard", "/billing", f"/pricing/checkout/{sold.packs[0].price.key}"):
        assert buyer.client.get(path).status_code == 200, path


def test_the_page_of_a_plan_with_a_trial_says_what_follows(shop: Stripe) -> None:
    with shop.app.app_context():
        trials = [plan for plan in catalog.current().plans if plan.trial_days]
    buyer = sign_up(shop.app)
    for plan in trials:
        page = buyer.client.get(f"/pricing/checkout/{plan.prices[0].key}").get_data(as_text=True)
        assert f"{plan.trial_days} days" in page
        assert "$0.00" in page
