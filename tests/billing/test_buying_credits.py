"""Buying a pack: pay on the hosted page, get the credits by webhook, once."""

from __future__ import annotations

import dataclasses

import pytest
from flask import Flask

from billing import stripe_catalog
from stripe_sandbox.faults import ApiFault
from stripe_sandbox.testing import CheckoutRefused
from tests import worlds
from tests.persons import post, sign_up
from tests.worlds import Clock, Stripe


def test_a_pack_is_paid_and_its_credits_arrive_by_webhook(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    free = ann.balance()
    url = ann.checkout("credits_30")
    assert url.startswith("http://stripe.test/checkout/c/pay/")
    assert "/billing/success?session_id=cs_" in stripe.pay(url)
    assert ann.balance() == free
    stripe.settle()
    assert ann.balance() == free + 30
    assert ann.balance_of("purchase") == 30


def test_a_declined_card_can_be_tried_again_and_costs_nothing(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    free = ann.balance()
    url = ann.checkout("credits_5")
    with pytest.raises(CheckoutRefused, match="Your card was declined"):
        stripe.pay(url, "4000000000000002")
    stripe.settle()
    assert ann.balance() == free
    stripe.pay(url)
    stripe.settle()
    assert ann.balance() == free + 5


@pytest.mark.parametrize("path", ["/v1/checkout/sessions", "/v1/customers"])
def test_an_error_that_stripe_remembers_for_a_day_keeps_nobody_from_buying(
    app: Flask, stripe: Stripe, clock: Clock, path: str
) -> None:
    ann = sign_up(app)
    stripe.sandbox.faults.api.append(ApiFault("500_after", remaining=1, path=path))
    assert post(ann.client, "/pricing/checkout/credits_5").status_code == 503
    clock.advance(minutes=10)
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    assert ann.balance_of("purchase") == 5


def test_what_was_promised_is_granted_although_the_catalogue_changed_meanwhile(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = sign_up(app)
    back = stripe.pay(ann.checkout("credits_30")).removeprefix("http://127.0.0.1:5000")
    sold = app.extensions["catalog"]
    without = dataclasses.replace(sold, packs=tuple(p for p in sold.packs if p.key != "credits_30"))
    monkeypatch.setitem(app.extensions, "catalog", without)
    stripe.settle()
    assert ann.balance_of("purchase") == 30
    page = ann.client.get(back)
    assert page.status_code == 200
    assert "30 credits bought" in page.get_data(as_text=True)


def test_nobody_pays_another_amount_than_the_one_that_was_shown(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = sign_up(app)
    sold = app.extensions["catalog"]
    cheaper = [dataclasses.replace(p, price=dataclasses.replace(p.price, amount_cents=1900)) for p in sold.packs]
    monkeypatch.setitem(app.extensions, "catalog", dataclasses.replace(sold, packs=tuple(cheaper)))
    answer = post(ann.client, "/pricing/checkout/credits_30")
    assert answer.status_code == 503
    assert "Nothing was charged" in answer.get_data(as_text=True)


def test_after_the_local_stripe_was_reset_people_buy_again(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    ann.checkout("credits_12")
    worlds.empty(stripe.sandbox)
    stripe.expect_violation("No such")
    with app.app_context():
        stripe_catalog.push()
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle()
    assert ann.balance_of("purchase") == 17
