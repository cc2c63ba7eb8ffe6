"""Promotion codes: listed in the catalogue, made at Stripe by a push, typed at the checkout."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest
from flask import Flask

from billing import catalog, stripe_catalog
from billing.catalog import CatalogError
from billing.promotions import Promotion
from stripe_sandbox.testing import CheckoutRefused
from tests.persons import sign_up
from tests.worlds import Stripe

WELCOME = Promotion("welcome", "WELCOME10", "Welcome", percent_off=10, max_uses=1)


@pytest.fixture
def offer(app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch) -> object:
    """Put promotions into the catalogue and push it; return what the push did."""

    def put(*promotions: Promotion, **policies: str) -> list[str]:
        sold = app.extensions["catalog"]
        policy = dataclasses.replace(sold.policies, **policies)
        changed = dataclasses.replace(sold, promotions=promotions, policies=policy)
        monkeypatch.setitem(app.extensions, "catalog", changed)
        with app.app_context():
            return [f"{c.action} {c.kind} {c.name}: {c.detail}" for c in stripe_catalog.push()]

    return put


def test_a_push_makes_the_code_once_and_the_checkout_takes_it(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    assert offer(WELCOME) == ["create promotion WELCOME10: 10% off the first payment"]
    assert offer(WELCOME) == []
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"), promotion_code="WELCOME10")
    stripe.settle(order="reversed")  # clicked in order in tests/journey
    assert ann.balance_of("purchase") == 30
    assert [charge.amount for charge in stripe.api.v1.charges.list({}).data] == [1800]


def test_a_code_that_is_used_up_is_not_opened_again(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    offer(WELCOME)
    stripe.pay(sign_up(app).checkout("credits_5"), promotion_code="WELCOME10")
    assert offer(WELCOME) == []
    with pytest.raises(CheckoutRefused, match=r"invalid|redeemed|expired"):
        stripe.pay(sign_up(app, "ben@example.com").checkout("credits_5"), promotion_code="WELCOME10")


def test_a_gift_of_everything_brings_its_credits_without_a_charge(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    offer(Promotion("free", "ALLFREE", "All free", percent_off=100))
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"), promotion_code="ALLFREE")
    stripe.settle(order="reversed")
    stripe.settle()
    assert ann.balance_of("purchase") == 12
    assert stripe.api.v1.charges.list({}).data == []


def test_other_terms_move_the_code_to_another_coupon(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    offer(WELCOME)
    more = dataclasses.replace(WELCOME, percent_off=None, amount_off_cents=500, months=3, expires_on=date(2099, 1, 31))
    assert offer(more) == ["replace promotion WELCOME10: $5.00 off the first 3 months"]
    assert offer(more) == []
    (active,) = stripe.api.v1.promotion_codes.list({"active": True}).data
    coupon = stripe.api.v1.coupons.retrieve(str(active.promotion.coupon))
    assert (coupon.amount_off, coupon.duration, coupon.duration_in_months) == (500, "repeating", 3)
    assert offer(WELCOME) == ["replace promotion WELCOME10: 10% off the first payment"]


def test_a_code_out_of_the_file_is_closed_and_back_in_it_is_open_again(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    offer(WELCOME)
    assert offer() == ["archive promotion WELCOME10: no longer offered"]
    assert offer() == []
    assert stripe.api.v1.promotion_codes.list({"active": True}).data == []
    assert offer(WELCOME) == ["update promotion WELCOME10: open again"]
    assert len(stripe.api.v1.promotion_codes.list({"active": True}).data) == 1


def test_the_field_for_codes_can_be_hidden(app: Flask, stripe: Stripe, offer) -> None:  # type: ignore[no-untyped-def]
    offer(WELCOME, promotion_codes="hide")
    sign_up(app).checkout("credits_5")
    assert stripe.sandbox_object("checkout.session")["allow_promotion_codes"] is False


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("percent_off = 10\namount_off_cents = 5", "exactly one of the two"),
        ("", "promotions.welcome.percent_off: is missing"),
        ("percent_off = 101", "from 1 to 100"),
        ('percent_off = 10\ncode = "a b"', "3 to 40 capitals and digits"),
        ('percent_off = 10\nexpires_on = "soon"', "a date without quotes"),
        ("percent_off = 10\nmaximum = 5", "is not a key of the catalogue"),
    ],
)
def test_a_promotion_that_cannot_be_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(f'[plans.free]\nname = "Free"\n[promotions.welcome]\nname = "Welcome"\n{lines}\n')
    with pytest.raises(CatalogError, match=problem):
        catalog.load(str(path))


def test_two_promotions_cannot_share_a_code(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    one = 'name = "One"\ncode = "SAME"\npercent_off = 5\n'
    path.write_text(f'[plans.free]\nname = "Free"\n[promotions.a]\n{one}[promotions.b]\n{one}')
    with pytest.raises(CatalogError, match="two promotions have the code 'SAME'"):
        catalog.load(str(path))
