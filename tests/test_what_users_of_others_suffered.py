"""Defects found in other starters, each as what its users suffered; more of them are held beside the parts.

A success address that fulfils or logs in: tests/billing/test_the_return_page.py. A price chosen by the client:
tests/pricing/. A plan that stays open for ever, or closes at once, when a card fails, and an old subscription's end
that takes the new one: tests/billing/test_subscribing.py. Refunds that leave the credits:
tests/billing/test_refunds_and_disputes.py. Credits that are checked after the work: tests/reports/. Lost or lied-about
webhooks: tests/billing/test_webhook_endpoint.py. Links made from the Host header: tests/auth/.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import database
from billing import access, catalog, fulfilment, sync
from extensions import Base, db
from tests.persons import Person, post, sign_up
from tests.worlds import Clock, Stripe

# These two look at Stripe again on purpose, and by the same sync as the worker; see docs/billing.md.
MAY_SYNC = {"billing.success", "billing.portal_return"}


def plan(ann: Person) -> str:
    with ann.app.app_context():
        return access.plan_of(db.session(), ann.account_id).key


def test_a_customer_who_paid_is_upgraded_although_the_first_try_failed(
    app: Flask, stripe: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.deliver()

    def fail(*_: object) -> None:
        raise TimeoutError("the process was in trouble here")

    with monkeypatch.context() as patched:
        patched.setattr("billing.fulfilment.granting.grant", fail)
        patched.setattr("billing.subscriptions._choose_primary", fail)
        with app.app_context():
            sync.drain()
    assert plan(ann) == "free"
    assert ann.balance_of("plan") == 3
    clock.advance(minutes=5)
    stripe.settle(times=1)
    assert plan(ann) == "pro"
    assert ann.balance_of("plan") == 53


def test_nobody_opens_the_portal_of_somebody_else(app: Flask, stripe: Stripe) -> None:
    ann, eve = sign_up(app), sign_up(app, "eve@example.com")
    for person in (ann, eve):
        stripe.pay(person.checkout("credits_5"))
    stripe.settle()
    customers = {c.email: c.id for c in stripe.api.v1.customers.list().data}
    answer = post(eve.client, "/billing/portal", customer=customers["ann@example.com"], customer_id="cus_1")
    assert answer.status_code == 303
    session = stripe.sandbox_object("billing_portal.session")
    assert session["customer"] == customers["eve@example.com"]


def test_a_customer_with_the_same_address_is_not_adopted(app: Flask, stripe: Stripe) -> None:
    stranger = stripe.api.v1.customers.create({"email": "ann@example.com"})
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    ours = [c for c in stripe.api.v1.customers.list().data if c.id != stranger.id]
    assert len(ours) == 1
    assert ours[0].email == "ann@example.com"


def test_buying_again_and_again_makes_one_customer(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    for price_key in ("credits_5", "credits_12", "pro_monthly", "credits_5"):
        stripe.pay(ann.checkout(price_key))
        stripe.settle()
    assert len(stripe.api.v1.customers.list().data) == 1


def test_looking_at_pages_changes_nothing(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    ann.client.get("/dashboard")
    before = everything(app)
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or set()) or rule.endpoint in MAY_SYNC | {"static"}:
            continue
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(f"<{argument}>", "made-up").replace(f"<path:{argument}>", "made-up")
        ann.client.get(path)
        ann.client.get(path.replace("made-up", "credits_5"))
    assert everything(app) == before


def everything(app: Flask) -> dict[str, list[tuple[object, ...]]]:
    """Return the content of every table; when somebody was last seen does not count."""
    with app.app_context(), db.engine.connect() as connection:
        tables = [t for t in Base.metadata.sorted_tables if t.name != "user_sessions"]
        return {t.name: [tuple(row) for row in connection.execute(sa.select(t))] for t in tables}


LINE = {
    "object": "line_item",
    "amount": 3000,
    "quantity": 1,
    "description": "1 x Pro",
    "period": {"start": 1_800_000_000, "end": 1_802_592_000},
    "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": False}},
    "pricing": {"price_details": {"price": {"id": "price_1", "metadata": {"price_key": "pro_monthly"}}}},
}
FOREIGN = {**LINE, "pricing": {"price_details": {"price": {"id": "price_2", "metadata": {}}}}}
EXTRA = {**LINE, "parent": {"type": "invoice_item_details"}, "pricing": None, "description": "Set-up"}
CREDIT = {**LINE, "amount": -1500}


@pytest.mark.parametrize(
    ("lines", "subscription", "granted"),
    [
        ([LINE], "sub_1", 50),
        ([EXTRA, LINE], "sub_1", 50),
        ([CREDIT, LINE], "sub_1", 50),
        ([FOREIGN, LINE, EXTRA], "sub_1", 50),
        ([FOREIGN], "sub_1", 0),
        ([], "sub_1", 0),
        ([LINE], None, 0),
    ],
    ids=["one line", "an extra first", "a credit first", "others around", "not ours", "no line", "no subscription"],
)
def test_an_invoice_of_any_shape_grants_what_it_pays_for(
    app: Flask, lines: list[dict[str, object]], subscription: str | None, granted: int
) -> None:
    ann = sign_up(app)
    parent = {"type": "subscription_details", "subscription_details": {"subscription": subscription}}
    invoice = {
        "id": "in_1",
        "status": "paid",
        "parent": parent if subscription else None,
        "lines": {"data": lines},
        "payments": {"data": []},
    }

    def fulfil(session: Session) -> None:
        fulfilment.fulfil_invoice(session, ann.account_id, invoice)

    with app.app_context():
        database.write(fulfil)
        database.write(fulfil)
    assert ann.balance_of("plan") == 3 + granted


@pytest.mark.parametrize("preset", sorted(catalog.PRESETS))
def test_what_is_advertised_is_there_or_says_that_it_is_planned(preset: str) -> None:
    code = "".join(path.read_text() for path in [*Path("blueprints").rglob("*.py"), *Path("templates").rglob("*.html")])
    for feature in catalog.load(preset).features:
        is_asked_for = f'feature="{feature.key}"' in code or f'may("{feature.key}")' in code
        assert feature.is_planned or is_asked_for, f"{preset} sells {feature.key}, which opens nothing"
