"""Pushing the catalogue: nothing twice, nothing half, nothing of others, and nobody's price changed under them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import stripe as sdk
from flask import Flask
from sqlalchemy import select

from billing import access, catalog, errors, gateway, stripe_catalog
from billing.catalog import Catalog, Pack, Plan, Price
from billing.models import Payment, Subscription
from billing.stripe_changes import Action, Change
from extensions import db
from stripe_sandbox.testing import HTTPClient, Sandbox
from tests import worlds
from tests.persons import sign_up
from tests.worlds import Clock, Stripe

Sell = Callable[[Catalog], None]


@pytest.fixture
def sell(app: Flask) -> Iterator[Sell]:
    """Lets the app sell another catalogue for the length of a test."""
    before = app.extensions["catalog"]

    def sell(other: Catalog) -> None:
        app.extensions["catalog"] = other

    yield sell
    app.extensions["catalog"] = before


def with_amount(sold: Catalog, price_key: str, amount_cents: int) -> Catalog:
    """Return the catalogue with another amount for a plan's or pack's price."""

    def changed(price: Price) -> Price:
        return replace(price, amount_cents=amount_cents) if price.key == price_key else price

    def plan(one: Plan) -> Plan:
        return replace(one, prices=tuple(map(changed, one.prices)))

    def pack(one: Pack) -> Pack:
        return replace(one, price=changed(one.price))

    return replace(sold, plans=tuple(map(plan, sold.plans)), packs=tuple(map(pack, sold.packs)))


def push(app: Flask) -> list[Change]:
    with app.app_context():
        return stripe_catalog.push()


def active_prices(stripe: Stripe) -> list[Any]:
    return list(stripe.api.v1.prices.list({"active": True, "limit": 100}).auto_paging_iter())


def by_lookup_key(stripe: Stripe) -> dict[str, Any]:
    return {price.lookup_key: price for price in active_prices(stripe)}


def said(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.action, change.kind, change.name) for change in changes]


# What a push makes ---------------------------------------------------------------------------------------------------


def test_a_push_makes_every_price_of_the_catalogue(app: Flask, stripe: Stripe) -> None:
    wanted = catalog.load("cv")
    made = by_lookup_key(stripe)
    assert {key: (p.unit_amount, p.currency) for key, p in made.items()} == {
        price.lookup_key: (price.amount_cents, "usd") for price in wanted.prices
    }
    assert made["cv_pro_monthly"].recurring.interval == "month"
    assert made["cv_credits_30"].recurring is None
    assert made["cv_pro_monthly"].metadata.price_key == "pro_monthly"
    assert stripe.api.v1.products.retrieve("tollgate_cv_pro").name == "Pro"


def test_a_second_push_does_nothing(app: Flask, stripe: Stripe) -> None:
    before = len(stripe.sandbox.events())
    assert push(app) == []
    assert len(stripe.sandbox.events()) == before


def test_a_push_tells_each_change_when_it_is_made(app: Flask, stripe: Stripe, sell: Sell) -> None:
    sell(with_amount(catalog.load("cv"), "pro_monthly", 3500))
    told: list[Change] = []
    with app.app_context():
        assert stripe_catalog.push(on_change=told.append) == told
    assert said(told) == [("replace", "price", "cv_pro_monthly")]
    assert told[0].detail == "$30.00 a month becomes $35.00 a month; subscribers keep the old price"


def test_a_look_changes_nothing(app: Flask, stripe: Stripe, sell: Sell) -> None:
    sell(with_amount(catalog.load("cv"), "pro_monthly", 3500))
    before = len(stripe.sandbox.events())
    with app.app_context():
        assert said(stripe_catalog.plan_changes()) == [("replace", "price", "cv_pro_monthly")]
    assert len(stripe.sandbox.events()) == before


# Amounts that change -------------------------------------------------------------------------------------------------


def test_a_changed_amount_is_a_new_price_and_the_old_one_goes_on_charging_its_subscribers(
    app: Flask, stripe: Stripe, clock: Clock, sell: Sell
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    old = by_lookup_key(stripe)["cv_pro_monthly"].id

    sell(with_amount(catalog.load("cv"), "pro_monthly", 3500))
    assert "1 subscriber stays on it" in app.test_cli_runner().invoke(args=["catalog", "diff"]).output
    push(app)
    new = by_lookup_key(stripe)["cv_pro_monthly"]
    assert (new.id != old, new.unit_amount) == (True, 3500)
    assert stripe.api.v1.prices.retrieve(old).active is False

    told = app.test_cli_runner().invoke(args=["catalog", "diff"]).output
    assert "1 subscriber pays $30.00 for pro_monthly, which costs $35.00 today." in told

    bob = sign_up(app, "bob@example.com")
    stripe.pay(bob.checkout("pro_monthly"))
    stripe.settle()
    for path in ("/billing", "/dashboard"):
        assert "$30.00" in ann.client.get(path).get_data(as_text=True)
        assert "$35.00" in bob.client.get(path).get_data(as_text=True)
        assert "$35.00" not in ann.client.get(path).get_data(as_text=True)
    clock.advance(days=32)
    stripe.settle()
    assert paid(app, ann.account_id) == [3000, 3000]
    assert paid(app, bob.account_id) == [3500, 3500]
    # The old price has lost its lookup key, and is known by its metadata.
    assert plan_keys(app) == {ann.account_id: ("pro", "pro_monthly"), bob.account_id: ("pro", "pro_monthly")}


def paid(app: Flask, account_id: int) -> list[int]:
    with app.app_context():
        query = select(Payment.amount_cents).where(Payment.account_id == account_id).order_by(Payment.paid_at)
        return list(db.session.scalars(query))


def plan_keys(app: Flask) -> dict[int, tuple[str | None, str | None]]:
    with app.app_context():
        return {s.account_id: (s.plan_key, s.price_key) for s in db.session.scalars(select(Subscription))}


def test_an_amount_that_goes_up_and_down_again_sells_the_last_one(app: Flask, stripe: Stripe, sell: Sell) -> None:
    for amount in (3500, 3000, 3500):
        sell(with_amount(catalog.load("cv"), "pro_monthly", amount))
        push(app)
        assert by_lookup_key(stripe)["cv_pro_monthly"].unit_amount == amount
    assert len(active_prices(stripe)) == len(catalog.load("cv").prices)


def test_a_default_price_chosen_in_the_dashboard_does_not_stop_a_new_amount(
    app: Flask, stripe: Stripe, sell: Sell
) -> None:
    old = by_lookup_key(stripe)["cv_pro_monthly"].id
    stripe.api.v1.products.update("tollgate_cv_pro", {"default_price": old})
    sell(with_amount(catalog.load("cv"), "pro_monthly", 3500))
    push(app)
    assert (
        stripe.api.v1.products.retrieve("tollgate_cv_pro").default_price == by_lookup_key(stripe)["cv_pro_monthly"].id
    )
    assert stripe.api.v1.prices.retrieve(old).active is False


# What is repaired, and what is left alone ----------------------------------------------------------------------------


def test_what_somebody_archived_or_renamed_is_put_right(app: Flask, stripe: Stripe) -> None:
    price = by_lookup_key(stripe)["cv_credits_5"]
    stripe.api.v1.prices.update(price.id, {"active": False, "metadata": {"price_key": ""}})
    stripe.api.v1.products.update("tollgate_cv_pro", {"name": "Prof", "active": False})
    changes = push(app)
    assert said(changes) == [("update", "product", "tollgate_cv_pro"), ("update", "price", "cv_credits_5")]
    assert changes[0].detail == "Prof becomes Pro, on sale again"
    assert by_lookup_key(stripe)["cv_credits_5"].id == price.id
    assert by_lookup_key(stripe)["cv_credits_5"].metadata.price_key == "credits_5"
    assert push(app) == []


def test_what_is_no_longer_in_the_catalogue_is_archived(app: Flask, stripe: Stripe, sell: Sell) -> None:
    sold = catalog.load("cv")
    sell(replace(sold, plans=sold.plans[:-1], packs=sold.packs[1:]))
    assert sorted(said(push(app))) == [
        ("archive", "price", "cv_credits_5"),
        ("archive", "price", "cv_team_monthly"),
        ("archive", "product", "tollgate_cv_credits_5"),
        ("archive", "product", "tollgate_cv_team"),
    ]
    assert stripe.api.v1.products.retrieve("tollgate_cv_team").active is False
    sell(sold)
    push(app)
    assert set(by_lookup_key(stripe)) == {price.lookup_key for price in sold.prices}


def test_a_retired_plan_leaves_stripe_and_stays_with_its_subscribers(app: Flask, stripe: Stripe, sell: Sell) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("team_monthly"))
    stripe.settle()
    sold = catalog.load("cv")
    sell(replace(sold, plans=(*sold.plans[:-1], replace(sold.plans[-1], is_retired=True))))
    assert said(push(app)) == [
        ("archive", "price", "cv_team_monthly"),
        ("archive", "product", "tollgate_cv_team"),
    ]
    subscription = stripe.api.v1.subscriptions.list().data[0]
    stripe.api.v1.subscriptions.update(subscription.id, {"metadata": {"note": "an event about it"}})
    stripe.settle()
    assert plan_keys(app) == {ann.account_id: ("team", "team_monthly")}
    with app.app_context():
        assert access.plan_of(db.session(), ann.account_id).features == sold.plan("team").features


def test_what_others_made_at_the_same_stripe_is_left_alone(app: Flask, stripe: Stripe, sell: Sell) -> None:
    theirs = stripe.api.v1.products.create({"name": "A T-shirt"})
    price = stripe.api.v1.prices.create({"product": theirs.id, "currency": "usd", "unit_amount": 2500})
    special = stripe.api.v1.prices.create({"product": "tollgate_cv_pro", "currency": "usd", "unit_amount": 100})
    named = {"product": theirs.id, "currency": "usd", "unit_amount": 9, "transfer_lookup_key": True}
    taken = stripe.api.v1.prices.create({"lookup_key": "cv_team_monthly", **named})
    sold = with_amount(catalog.load("cv"), "pro_monthly", 3500)
    sell(replace(sold, plans=(*sold.plans[:-1], replace(sold.plans[-1], is_retired=True))))
    push(app)
    assert stripe.api.v1.prices.retrieve(taken.id).active is True
    assert stripe.api.v1.products.retrieve(theirs.id).active is True
    assert stripe.api.v1.prices.retrieve(price.id).active is True
    assert stripe.api.v1.prices.retrieve(special.id).active is True


def test_two_catalogues_can_live_at_one_stripe(app: Flask, stripe: Stripe, sell: Sell) -> None:
    sell(catalog.load("ai"))
    assert {change.action for change in push(app)} == {Action.CREATE}
    sell(catalog.load("cv"))
    assert push(app) == []


def test_a_price_that_is_configured_by_hand_is_neither_made_nor_archived(
    app: Flask, stripe: Stripe, sell: Sell
) -> None:
    own = stripe.api.v1.prices.create({"product": "tollgate_cv_pro", "currency": "usd", "unit_amount": 2900})
    sell(catalog.load("cv", overrides={"credits_5": own.id}))
    assert sorted(said(push(app))) == [
        ("archive", "price", "cv_credits_5"),
        ("archive", "product", "tollgate_cv_credits_5"),
    ]
    assert stripe.api.v1.prices.retrieve(own.id).active is True
    assert push(app) == []


def test_a_price_of_an_earlier_push_can_be_configured_by_hand(app: Flask, stripe: Stripe, sell: Sell) -> None:
    old = by_lookup_key(stripe)["cv_credits_5"]
    sell(catalog.load("cv", overrides={"credits_5": old.id}))
    assert push(app) == []
    assert stripe.api.v1.prices.retrieve(old.id).active is True


# Trouble on the way --------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here; nothing may catch it."""


class Mortal(HTTPClient):
    """Hands requests to the sandbox until its last write, before or after which the process dies."""

    def __init__(self, sandbox: Sandbox, *, writes: int, is_sent: bool) -> None:
        super().__init__(sandbox)
        self.writes, self.is_sent = writes, is_sent

    def request(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "post":
            return super().request(method, *args, **kwargs)
        self.writes -= 1
        if self.writes > 0:
            return super().request(method, *args, **kwargs)
        if self.is_sent:
            super().request(method, *args, **kwargs)
        raise Killed


@pytest.mark.parametrize("is_sent", [False, True], ids=["before the write", "after the write"])
def test_a_push_that_is_killed_anywhere_is_finished_by_the_next(
    app: Flask, stripe: Stripe, sell: Sell, is_sent: bool
) -> None:
    """A fresh Stripe, then new amounts for two prices and the end of a third: killed at each of the writes."""
    sold = catalog.load("cv")
    changed = with_amount(with_amount(sold, "pro_monthly", 3500), "credits_5", 600)
    changed = replace(changed, plans=changed.plans[:-1])
    alive = app.extensions["stripe"]
    kills = 0
    try:
        for writes in range(1, 100):
            worlds.empty(stripe.sandbox)
            was_killed = [_dies(app, stripe, sell, one, writes, is_sent) for one in (sold, changed)]
            app.extensions["stripe"] = alive
            assert push(app) == []
            assert {key: p.unit_amount for key, p in by_lookup_key(stripe).items()} == {
                price.lookup_key: price.amount_cents for price in changed.prices
            }
            kills += sum(was_killed)
            if not any(was_killed):
                break
    finally:
        app.extensions["stripe"] = alive
    assert kills > 20


def _dies(app: Flask, stripe: Stripe, sell: Sell, wanted: Catalog, writes: int, is_sent: bool) -> bool:
    alive = sdk.StripeClient("sk_test_sandbox", http_client=stripe.sandbox.http_client())
    dying = Mortal(stripe.sandbox, writes=writes, is_sent=is_sent)
    sell(wanted)
    app.extensions["stripe"] = sdk.StripeClient("sk_test_sandbox", http_client=dying)
    try:
        push(app)
    except Killed:
        app.extensions["stripe"] = alive
        push(app)
        return True
    return False


def test_two_pushes_at_once_make_everything_once(app: Flask, stripe: Stripe, sell: Sell) -> None:
    worlds.empty(stripe.sandbox)
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def run() -> None:
        start.wait()
        try:
            push(app)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert push(app) == []
    assert len(active_prices(stripe)) == len(catalog.load("cv").prices)
    assert len(stripe.sandbox.events("price.created")) == len(catalog.load("cv").prices)
    assert len(stripe.sandbox.events("billing_portal.configuration.created")) == 1
    stripe.expect_violation("resource_already_exists")


def test_a_stripe_that_refuses_says_why(app: Flask, stripe: Stripe, sell: Sell) -> None:
    sell(with_amount(catalog.load("cv"), "pro_monthly", 100_000_000))
    stripe.expect_violation("POST /v1/prices")
    with app.app_context(), pytest.raises(errors.StripeRefused, match="no more than"):
        stripe_catalog.push()


# The Customer Portal -------------------------------------------------------------------------------------------------


def test_the_portal_lets_people_cancel_at_the_end_of_what_they_paid(app: Flask, stripe: Stripe) -> None:
    with app.app_context():
        configuration = gateway.call(
            lambda c: c.v1.billing_portal.configurations.retrieve(str(stripe_catalog.portal_configuration_id()))
        )
    features = configuration["features"]
    assert features["subscription_cancel"]["mode"] == "at_period_end"
    assert features["invoice_history"]["enabled"] is True
    assert features["payment_method_update"]["enabled"] is True
    assert features["subscription_update"]["enabled"] is False


def test_a_portal_that_was_changed_by_hand_is_put_right_and_not_made_twice(app: Flask, stripe: Stripe) -> None:
    found = next(stripe.api.v1.billing_portal.configurations.list().auto_paging_iter())
    stripe.api.v1.billing_portal.configurations.update(
        found.id, {"features": {"subscription_cancel": {"enabled": True, "mode": "immediately"}}}
    )
    assert said(push(app)) == [("update", "portal", "cv")]
    after = list(stripe.api.v1.billing_portal.configurations.list().auto_paging_iter())
    assert [one.features.subscription_cancel.mode for one in after] == ["at_period_end"]
