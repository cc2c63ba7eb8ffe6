"""Nobody but the catalogue says what something costs, whatever a browser sends."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from billing.models import CheckoutIntent
from extensions import db
from tests.persons import Person, post, sign_up
from tests.worlds import Stripe

CHECKOUT = "/pricing/checkout/"
FORGED = [
    "pro",
    "free",
    "free_monthly",
    "pro_yearly",
    "PRO_MONTHLY",
    "cv_pro_monthly",
    "price_1234567890",
    "prod_1234567890",
    "credits_1000000",
    "-1",
    "0",
    "pro_monthly ",
    "pro_monthly,credits_5",
    "pro_monthly\x00",
    "prö_monthly",
    "' OR 1=1 --",
    "../../billing",
    "x" * 3000,
]


def intents(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(CheckoutIntent)) or 0


def nothing_happened(app: Flask, stripe: Stripe) -> bool:
    sessions, customers = stripe.api.v1.checkout.sessions.list(), stripe.api.v1.customers.list()
    return intents(app) == 0 and len(sessions.data) == 0 and len(customers.data) == 0


@pytest.fixture
def ann(app: Flask) -> Person:
    return sign_up(app)


@pytest.mark.parametrize("key", FORGED, ids=[f"{ascii(key)[:24]}" for key in FORGED])
def test_a_forged_key_is_not_found_and_nothing_happens(app: Flask, stripe: Stripe, ann: Person, key: str) -> None:
    assert post(ann.client, CHECKOUT + quote(key)).status_code == 404
    assert ann.client.get(CHECKOUT + quote(key)).status_code == 404
    assert nothing_happened(app, stripe)


def test_a_forged_key_does_not_lead_a_stranger_to_the_sign_up(app: Flask, client: FlaskClient, stripe: Stripe) -> None:
    assert post(client, CHECKOUT + "credits_1000000").status_code == 404
    assert nothing_happened(app, stripe)


@pytest.mark.parametrize("key", ["team_monthly", "credits_100"])
def test_what_is_retired_cannot_be_bought_with_its_old_key(app: Flask, stripe: Stripe, ann: Person, key: str) -> None:
    before = sold = app.extensions["catalog"]
    plans = tuple(replace(plan, is_retired=plan.key == "team") for plan in sold.plans)
    packs = tuple(replace(pack, is_retired=pack.key == "credits_100") for pack in sold.packs)
    app.extensions["catalog"] = replace(sold, plans=plans, packs=packs)
    try:
        assert f"{CHECKOUT}{key}" not in ann.client.get("/pricing").get_data(as_text=True)
        assert post(ann.client, CHECKOUT + key).status_code == 404
        assert nothing_happened(app, stripe)
    finally:
        app.extensions["catalog"] = before


def test_a_price_that_is_only_charged_by_use_cannot_be_bought(
    app: Flask, stripe: Stripe, ann: Person, sell_preset: object
) -> None:
    sell_preset("projects", push=True)  # type: ignore[operator]
    assert post(ann.client, CHECKOUT + "pro_events").status_code == 404
    assert nothing_happened(app, stripe)


def test_an_amount_sent_with_the_form_is_not_even_read(stripe: Stripe, ann: Person) -> None:
    wishes = {
        "amount": "1",
        "amount_cents": "1",
        "unit_amount": "1",
        "price": "price_1234567890",
        "price_id": "price_1234567890",
        "credits": "1000000",
        "quantity": "100",
        "currency": "jpy",
        "mode": "setup",
        "trial_days": "730",
        "customer": "cus_somebody",
        "success_url": "https://evil.example",
    }
    assert post(ann.client, CHECKOUT + "credits_5?amount=1&price=price_1&quantity=100", **wishes).status_code == 303
    session = stripe.api.v1.checkout.sessions.list({"expand": ["data.line_items"]}).data[0]
    line = session.line_items.data[0]
    assert (session.mode, session.amount_total, session.currency) == ("payment", 500, "usd")
    assert (line.quantity, line.price.lookup_key) == (1, "cv_credits_5")
    assert session.success_url.startswith("http://127.0.0.1:5000/")
    stripe.pay(session.url)
    stripe.settle()
    assert ann.balance_of("purchase") == 5
