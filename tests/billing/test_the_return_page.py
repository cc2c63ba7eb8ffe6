"""The page that people come back to from Stripe: it tells the truth to its owner and grants nothing by itself."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from billing import sync
from tests.persons import sign_up
from tests.worlds import Clock, Stripe


def path(url: str) -> str:
    return url.removeprefix("http://127.0.0.1:5000")


def facts(page: str) -> dict[str, str]:
    """Return what the page's list of facts says, by their names."""
    return {name: " ".join(value.split()) for name, value in re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", page, re.S)}


def test_it_shows_the_credits_before_any_webhook_arrived(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    back = path(stripe.pay(ann.checkout("credits_30")))
    page = ann.client.get(back).get_data(as_text=True)
    assert "Thank you" in page
    assert "33 credits" in page
    assert ann.balance_of("purchase") == 30


@pytest.mark.parametrize(
    ("balance_cents", "words"),
    [(0, "$30.00"), (1000, "$20.00, and $10.00 of your credit with us"), (4000, "$30.00 of your credit with us")],
)
def test_a_plans_page_says_what_was_paid_and_from_what(
    app: Flask, stripe: Stripe, balance_cents: int, words: str
) -> None:
    ann = sign_up(app)
    url = ann.checkout("pro_monthly")
    if balance_cents:
        customer = stripe.sandbox_object("customer")["id"]
        entry = {"amount": -balance_cents, "currency": "usd"}
        stripe.api.v1.customers.balance_transactions.create(customer, entry)
    page = ann.client.get(path(stripe.pay(url))).get_data(as_text=True)
    assert "Thank you" in page
    assert facts(page)["Paid"] == words


def test_a_packs_page_says_what_was_paid(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    page = ann.client.get(path(stripe.pay(ann.checkout("credits_30")))).get_data(as_text=True)
    assert facts(page)["Paid"] == "$20.00"


def test_a_trials_page_says_that_nothing_was_paid_today(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    page = ann.client.get(path(shop.pay(ann.checkout("starter_monthly")))).get_data(as_text=True)
    assert facts(page)["Paid today"] == "$0.00"


def test_opening_it_again_changes_nothing(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    back = path(stripe.pay(ann.checkout("credits_30")))
    for _ in range(5):
        assert ann.client.get(back).status_code == 200
    stripe.settle()
    assert ann.balance_of("purchase") == 30


def test_it_says_that_nothing_is_paid_while_the_checkout_is_open(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    session_id = ann.checkout("credits_30").rsplit("/", 1)[-1]
    page = ann.client.get(f"/billing/success?session_id={session_id}").get_data(as_text=True)
    assert "Not paid yet" in page
    assert ann.balance_of("purchase") == 0


def test_it_says_that_it_is_confirming_while_stripe_does_not_answer_and_the_worker_goes_on(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    back = path(stripe.pay(ann.checkout("credits_30")))
    quick = app.extensions["stripe.quick"]
    try:
        app.extensions["stripe.quick"] = _unreachable()
        page = ann.client.get(back).get_data(as_text=True)
    finally:
        app.extensions["stripe.quick"] = quick
    assert "Confirming your payment" in page
    assert 'http-equiv="refresh"' in page
    clock.advance(seconds=2)
    assert stripe.inside(sync.drain) > 0
    assert ann.balance_of("purchase") == 30


def test_a_bank_debit_that_is_not_paid_yet_grants_nothing(app: Flask, stripe: Stripe) -> None:
    from billing import fulfilment
    from extensions import db

    ann = sign_up(app)
    unpaid = {"id": "cs_1", "mode": "payment", "status": "complete", "payment_status": "unpaid"}
    with app.app_context():
        fulfilment.fulfil_session(db.session(), ann.account_id, unpaid)
    assert ann.balance_of("purchase") == 0


def test_somebody_elses_session_is_not_found(app: Flask, stripe: Stripe) -> None:
    ann, bob = sign_up(app), sign_up(app, "bob@example.com")
    back = path(stripe.pay(ann.checkout("pro_monthly")))
    assert bob.client.get(back).status_code == 404
    assert bob.client.get("/billing/success").status_code == 404
    assert bob.client.get("/billing/success?session_id=cs_made_up").status_code == 404


def test_it_logs_nobody_in(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    back = path(stripe.pay(ann.checkout("pro_monthly")))
    stranger = app.test_client()
    answer = stranger.get(back)
    assert answer.status_code in {302, 303}
    assert "/login" in answer.location
    assert stranger.get("/billing").status_code in {302, 303}


def test_an_old_address_does_not_bring_a_cancelled_plan_back(app: Flask, stripe: Stripe) -> None:
    from billing import access
    from extensions import db

    ann = sign_up(app)
    back = path(stripe.pay(ann.checkout("pro_monthly")))
    stripe.settle()
    with app.app_context():
        subscription = access.subscription_of(db.session(), ann.account_id)
        assert subscription is not None
        stripe.api.v1.subscriptions.cancel(subscription.stripe_id)
    stripe.settle()
    assert ann.client.get(back).status_code == 200
    stripe.settle()
    with app.app_context():
        assert access.plan_of(db.session(), ann.account_id).key == "free"


def _unreachable():  # type: ignore[no-untyped-def]
    import stripe as sdk

    http = sdk.RequestsClient(timeout=1)
    return sdk.StripeClient("sk_test_sandbox", base_addresses={"api": "http://127.0.0.1:9"}, http_client=http)
