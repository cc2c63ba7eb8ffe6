"""The mails of a subscription's life: each leaves once, says what is true when it leaves, and stays away otherwise."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from sqlalchemy import select

from billing import access
from extensions import db
from mail import outbox, preparing, rendering
from mail.models import Email
from mail.preparing import Prepared
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2), ("shuffled", 2)])
DECLINES, CHALLENGES = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"


def subscriber(stripe: Stripe, price_key: str, card: str | None = None) -> Person:
    ann = sign_up(stripe.app)
    stripe.pay(ann.checkout(price_key))
    stripe.settle()
    if card is not None:
        subscription = stripe.sandbox_object("subscription")
        method = stripe.api.v1.payment_methods.attach(card, {"customer": subscription["customer"]})
        stripe.api.v1.subscriptions.update(subscription["id"], {"default_payment_method": method.id})
    return ann


def mails(ann: Person) -> list[tuple[str, str, str]]:
    """Return what was promised to a person: template, stage, and what has become of it."""
    with ann.app.app_context():
        of_ann = select(Email).where(Email.account_id == ann.account_id, Email.template != "receipt")
        rows = db.session.scalars(of_ann.order_by(Email.id))
        return [(row.template, json.loads(row.context).get("stage", ""), row.status) for row in rows]


def send(ann: Person) -> None:
    with ann.app.app_context():
        outbox.send_due()


def words(ann: Person, template: str) -> str:
    """Return subject and text of a person's newest mail of a kind, as it would leave now."""
    with ann.app.app_context():
        query = select(Email).where(Email.account_id == ann.account_id, Email.template == template)
        row = db.session.scalars(query.order_by(Email.id.desc())).first()
        assert row is not None
        prepared = preparing.prepare(db.session(), Prepared(row.template, row.to_address, json.loads(row.context)))
        message = rendering.render(prepared, row.uuid)
        body = message.get_body(("plain",))
        assert body is not None
        return f"{message['Subject']}\n{body.get_content()}"


@ORDERS
def test_a_failed_renewal_is_told_in_three_mails_once_each(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, "pro_monthly", DECLINES)
    clock.advance(days=32)
    for day in range(40):
        stripe.settle(order=order, times=times)
        if day == 0:
            text = words(ann, "payment_failed")
            for said in ("We could not charge $30.00 for Pro", "We try again on", "Without a payment Pro closes on"):
                assert said in text, text
        send(ann)
        clock.advance(days=1)
    assert mails(ann) == [("payment_failed", stage, "kept") for stage in ("first", "second", "final")]


def test_paying_brings_one_mail_that_says_so_and_no_further_reminder(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly", DECLINES)
    clock.advance(days=32)
    stripe.settle()
    send(ann)
    invoice = stripe.api.v1.invoices.list({"limit": 1}).data[0]
    stripe.api.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    stripe.settle(order="reversed")
    assert "Your plan is open and nothing was lost." in words(ann, "payment_recovered")
    send(ann)
    clock.advance(days=10)
    stripe.settle()
    assert mails(ann) == [("payment_failed", "first", "kept"), ("payment_recovered", "recovered", "kept")]
    with app.app_context():
        assert access.plan_of(db.session(), ann.account_id).key == "pro"


def test_a_reminder_that_became_pointless_before_it_left_stays_here(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly", DECLINES)
    clock.advance(days=32)
    stripe.settle()
    invoice = stripe.api.v1.invoices.list({"limit": 1}).data[0]
    stripe.api.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    stripe.settle()
    send(ann)
    assert {status for _, _, status in mails(ann)} == {"cancelled"}


def test_a_renewal_that_the_bank_wants_confirmed_asks_for_just_that(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly", CHALLENGES)
    clock.advance(days=32)
    stripe.settle()
    text = words(ann, "payment_failed")
    invoice = stripe.api.v1.invoices.list({"limit": 1}).data[0]
    assert "Your bank wants you to confirm $30.00 for Pro" in text
    assert invoice.hosted_invoice_url in "".join(text.split())


def test_after_the_grace_the_plan_closes_and_a_payment_opens_it_again(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly", DECLINES)
    clock.advance(days=32)
    stripe.settle()
    plans = []
    for days in (0, 9, 0):
        clock.advance(days=days)
        stripe.settle()
        with app.app_context():
            plans.append(access.plan_of(db.session(), ann.account_id).key)
        if days:
            invoice = stripe.api.v1.invoices.list({"limit": 1}).data[0]
            stripe.api.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert plans == ["pro", "free", "pro"]


@ORDERS
def test_a_trial_is_remembered_three_days_before_it_costs_something(
    shop: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(shop, "pro_monthly")
    clock.advance(days=10)
    shop.settle(order=order, times=times)
    assert mails(ann) == []
    clock.advance(days=1, minutes=1)
    shop.settle(order=order, times=times)
    assert "costs $49.00 from then" in words(ann, "trial_ending")
    send(ann)
    clock.advance(days=4)
    shop.settle(order=order, times=times)
    assert mails(ann) == [("trial_ending", "", "kept")]


def test_whoever_left_the_trial_is_not_reminded(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, "pro_monthly")
    clock.advance(days=11, minutes=1)
    shop.settle()
    shop.api.v1.subscriptions.update(shop.sandbox_object("subscription")["id"], {"cancel_at_period_end": True})
    shop.settle()
    send(ann)
    assert mails(ann) == [("trial_ending", "", "cancelled")]


def test_the_last_notice_says_that_the_plan_is_closed_or_has_ended(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly", DECLINES)
    clock.advance(days=32)
    for _ in range(40):
        clock.advance(days=1)
        stripe.settle()
        if ("payment_failed", "final", "pending") in mails(ann):
            break
    text = words(ann, "payment_failed")
    assert text.startswith("Last notice: We could not charge $30.00 for Pro")
    assert "That was the last attempt" in text
    assert "Pro has ended and the Free plan has taken over." in text or "Pro is closed for now" in text
