"""A renewal that fails is said on every page, with what to do, until it is paid; whatever pays it, pays once."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

import database
from billing import errors, stripe_life, sync
from billing.models import SyncTask
from extensions import db
from ledger import expiry
from ledger.models import Bucket
from stripe_sandbox.engine import account_settings
from tests.billing import subscribers
from tests.billing.subscribers import CHALLENGES, DECLINES, billing_page, plan, state, subscriber, subscription
from tests.persons import log_in_again
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])
PAGES = ("/dashboard", "/billing", "/cv", "/pricing", "/billing/invoices", "/password/change")


def test_every_page_says_what_failed_what_comes_next_and_what_is_lost_when(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    assert "We could not charge" not in billing_page(ann)
    subscribers.pass_time(stripe, clock, ann, days=31, hours=2)
    hosted = stripe.sandbox_object("invoice")["hosted_invoice_url"]
    for path in PAGES:
        page = billing_page(ann, path)
        for words in ("We could not charge $30.00 for Pro", "We try again on", "If it is not paid, Pro closes on"):
            assert words in page, (path, words)
        assert "History" in page
        assert f'href="{hosted}"' in page
        assert "Update card" in page
    assert "Pro, monthly, waits for a payment." in billing_page(ann)


@ORDERS
def test_a_card_updated_in_the_portal_pays_the_open_invoice_once(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=31, hours=2)
    assert (state(ann), ann.balance_of("plan")) == ("past_due", 3 + 50)

    leads_to = subscribers.update_card_in_portal(stripe, ann)
    assert leads_to.endswith("/billing/portal/return")
    page = ann.client.get("/billing/portal/return", follow_redirects=True).get_data(as_text=True)

    assert "Your new card has paid the open invoice." in page
    assert "We could not charge" not in page
    assert "Visa ending in 4242" in page
    assert (state(ann), ann.balance_of("plan")) == ("active", 3 + 50 + 50)
    stripe.settle(order=order, times=times)
    ann.client.get("/billing/portal/return")
    paid = [e["data"]["object"]["amount_paid"] for e in stripe.sandbox.events("invoice.paid")]
    assert paid == [3000, 3000]
    assert ann.balance_of("plan") == 3 + 50 + 50


@ORDERS
def test_the_worker_charges_a_new_card_even_if_nobody_comes_back(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=31, hours=2)
    subscribers.update_card_in_portal(stripe, ann)
    stripe.settle(order=order, times=times)
    assert (state(ann), ann.balance_of("plan")) == ("active", 3 + 50 + 50), "before Stripe has told of the payment"
    assert len(stripe.sandbox.events("invoice.paid")) == 2
    assert "We could not charge" not in billing_page(ann, "/dashboard")


def test_a_new_card_pays_although_what_it_owes_is_heard_of_after_it(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, card=DECLINES)
    clock.advance(days=31, hours=2)
    log_in_again(ann)
    subscribers.update_card_in_portal(stripe, ann)
    stripe.discard_deliveries()
    with app.app_context():
        sync.run_now("subscription", stripe.sandbox_object("subscription")["id"])
        assert state(ann) == "past_due"
        sync.drain()
    assert (state(ann), ann.balance_of("plan")) == ("active", 3 + 50 + 50)
    assert len(stripe.sandbox.events("invoice.paid")) == 2


def test_a_new_card_that_is_refused_too_is_tried_once_and_said_so(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, card=DECLINES)
    subscribers.pass_time(stripe, clock, ann, days=31, hours=2)
    subscribers.update_card_in_portal(stripe, ann, "4000000000000341")
    page = ann.client.get("/billing/portal/return", follow_redirects=True).get_data(as_text=True)
    assert "the open invoice is not paid yet" in page
    assert "We could not charge $30.00 for Pro" in page
    failed = len(stripe.sandbox.events("invoice.payment_failed"))
    for _ in range(3):
        stripe.settle()
        ann.client.get("/billing/portal/return")
    assert len(stripe.sandbox.events("invoice.payment_failed")) == failed == 2


def make_default(stripe: Stripe, card: str) -> str:
    """Change the customer's default alone and leave the subscription the card that Checkout gave it."""
    customer = stripe.sandbox_object("subscription")["customer"]
    method = stripe.api.v1.payment_methods.attach(card, {"customer": customer}).id
    stripe.api.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})
    return str(method)


@ORDERS
def test_a_default_that_is_newer_than_the_subscriptions_own_card_takes_its_place(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=31, hours=2)
    chosen = make_default(stripe, "pm_card_mastercard")
    stripe.settle(order=order, times=times)
    at_stripe = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id)
    assert at_stripe.default_payment_method == chosen
    assert (state(ann), subscription(ann).card_brand) == ("active", "mastercard")
    assert [e["data"]["object"]["amount_paid"] for e in stripe.sandbox.events("invoice.paid")] == [3000, 3000]


def test_a_customer_heard_of_alone_has_its_plan_asked_for_when_another_card_is_the_default(
    app: Flask, stripe: Stripe
) -> None:
    subscriber(stripe)
    at_stripe = stripe.sandbox_object("subscription")
    own_card = {"default_payment_method": at_stripe["default_payment_method"]}

    def asked_for() -> list[str]:
        stripe.discard_deliveries()
        with app.app_context():
            sync.run_now("customer", at_stripe["customer"])
            return list(db.session.scalars(select(SyncTask.object_id).where(SyncTask.clean < SyncTask.dirty)))

    assert asked_for() == []
    stripe.api.v1.customers.update(at_stripe["customer"], {"invoice_settings": own_card})  # type: ignore[typeddict-item]
    assert asked_for() == []
    make_default(stripe, "pm_card_mastercard")
    assert asked_for() == [at_stripe["id"]]


def test_the_portals_return_page_follows_a_new_default_at_once(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe)
    clock.advance(minutes=5)
    chosen = make_default(stripe, "pm_card_mastercard")
    ann.client.get("/billing/portal/return")
    at_stripe = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id)
    assert at_stripe.default_payment_method == chosen
    assert "Mastercard ending in" in billing_page(ann)


def test_what_stripe_refuses_for_another_reason_is_asked_once_only(
    app: Flask, stripe: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    subscribers.pass_time(stripe, clock, ann, days=31, hours=2)
    asked: list[str] = []

    def refuse(invoice_id: str, _method_id: str, *, idempotency_key: str) -> None:
        asked.append(idempotency_key)
        raise errors.StripeRefused("no, and the invoice says nothing of it")

    monkeypatch.setattr(stripe_life, "pay_invoice", refuse)
    subscribers.update_card_in_portal(stripe, ann)
    for _ in range(2):
        stripe.settle(order="reversed")
    assert len(asked) == 1
    assert state(ann) == "past_due"


def test_a_bank_that_asks_is_answered_on_its_own_page(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, card=CHALLENGES)
    subscribers.pass_time(stripe, clock, ann, order="reversed", days=31, hours=2)  # in order in tests/journey
    page = billing_page(ann, "/dashboard")
    invoice = stripe.sandbox_object("invoice")
    assert "Your bank wants you to confirm $30.00 for Pro" in page
    assert "Confirm the payment" in page
    assert f'href="{invoice["hosted_invoice_url"]}"' in page

    browser, path = stripe.sandbox.browser(), invoice["hosted_invoice_url"].replace("http://stripe.test", "")
    asked = browser.post(path, data={"saved_card": stripe.sandbox_object("subscription")["default_payment_method"]})
    browser.post(asked.location, data={"action": "complete"})
    stripe.settle(order="reversed")
    assert "Your bank wants you" not in billing_page(ann, "/dashboard")
    assert (state(ann), len(stripe.sandbox.events("invoice.paid"))) == ("active", 2)


@ORDERS
def test_after_the_last_attempt_the_free_plan_takes_over_and_packs_are_kept(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, card=DECLINES)
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle()
    for days in (31.2, 4, 6, 8):
        subscribers.pass_time(stripe, clock, ann, order=order, times=times, days=days)
    assert (state(ann), plan(ann)) == ("ended", "free")
    assert (ann.balance_of("purchase"), ann.balance_of("plan")) == (12, 3)
    page = billing_page(ann)
    assert "We could not charge" not in page
    assert "Pro ended on" in page
    assert "Compare plans" in page


def test_an_unpaid_plan_is_closed_says_so_and_opens_when_it_is_paid(app: Flask, stripe: Stripe, clock: Clock) -> None:
    account_settings.change(stripe.sandbox.store, after_retries="unpaid")
    ann = subscriber(stripe, card=DECLINES)
    for days in (31.2, 4, 6, 8):
        subscribers.pass_time(stripe, clock, ann, days=days)
    assert (state(ann), plan(ann)) == ("unpaid", "free")
    assert "Pro is closed until $30.00 is paid" in billing_page(ann, "/dashboard")
    subscribers.update_card_in_portal(stripe, ann)
    stripe.settle()
    assert (state(ann), plan(ann)) == ("active", "pro")
    assert "Pro is closed" not in billing_page(ann, "/dashboard")
    assert subscription(ann).card_last4 == "4242"


@ORDERS
def test_a_month_that_is_paid_after_its_end_can_be_spent_as_long_as_any(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    account_settings.change(stripe.sandbox.store, after_retries="unpaid")
    ann = subscriber(stripe, card=DECLINES)
    for days in (32, 20, 15):
        subscribers.pass_time(stripe, clock, ann, days=days)
    assert (state(ann), ann.balance_of("plan")) == ("unpaid", 3)
    subscribers.put_card(stripe, subscribers.GOOD)
    stripe.settle(order=order, times=times)
    assert ann.balance_of("plan") == 3 + 50
    of_a_month = select(Bucket).where(Bucket.granted == 50).order_by(Bucket.id)
    subscribers.pass_time(stripe, clock, ann, days=29)
    paid_late = stripe.inside(lambda: db.session.scalars(of_a_month).all())[1]
    assert (paid_late.remaining, paid_late.expired) == (50, 0)
    subscribers.pass_time(stripe, clock, ann, days=6)
    with app.app_context():
        database.write(expiry.sweep)
        assert db.session.get_one(Bucket, paid_late.id).expired == 50


def test_the_portals_return_page_asks_stripe_only_so_often(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    answers = [ann.client.get("/billing/portal/return").status_code for _ in range(13)]
    assert answers == [302] * 12 + [429]
