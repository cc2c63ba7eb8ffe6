"""Money that goes back takes its credits along, in proportion, in both directions."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

import clock as app_clock
import database
from billing import sync, sync_queue
from billing.models import Payment
from billing.reversals import Dispute, Refund
from extensions import db
from ledger import spending, statement
from ledger.errors import WalletFrozen
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


def payment(ann: Person) -> Payment:
    with ann.app.app_context():
        return db.session.scalars(select(Payment).where(Payment.account_id == ann.account_id)).one()


def spend(ann: Person, credits: int) -> None:
    with ann.app.app_context():
        database.write(spending.spend, ann.account_id, credits, idempotency_key=f"test:{credits}", reason="Test")


def debt(ann: Person) -> int:
    with ann.app.app_context():
        return statement.balance(db.session(), ann.account_id).debt


def bought(app: Flask, stripe: Stripe, card: str = "4242424242424242") -> Person:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"), card)
    stripe.settle()
    return ann


def test_a_full_refund_takes_every_credit_of_the_purchase(app: Flask, stripe: Stripe) -> None:
    ann = bought(app, stripe)
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle(order="reversed")
    assert ann.balance_of("purchase") == 0
    assert payment(ann).refunded_cents == 2000


def test_partial_refunds_take_their_share_however_often_they_are_heard_of(app: Flask, stripe: Stripe) -> None:
    ann = bought(app, stripe)
    for _ in range(2):
        stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 500})
        stripe.settle(times=3)
    assert ann.balance_of("purchase") == 15
    with app.app_context():
        kept = db.session.scalars(select(Refund))
        assert [(refund.amount_cents, refund.stripe_status) for refund in kept] == [(500, "succeeded")] * 2


def test_credits_already_spent_become_a_debt_that_the_next_purchase_repays(app: Flask, stripe: Stripe) -> None:
    ann = bought(app, stripe)
    spend(ann, 20)
    left = ann.balance()
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle()
    assert debt(ann) > 0
    owed = debt(ann)
    assert ann.balance() == left - (30 - owed)
    stripe.pay(ann.checkout("credits_100"))
    stripe.settle()
    assert debt(ann) == 0
    assert ann.balance() == left - (30 - owed) + 100 - owed


def test_a_refund_heard_of_before_its_payment_is_not_forgotten(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    charge = stripe.api.v1.charges.list().data[0]
    stripe.api.v1.refunds.create({"charge": charge.id, "amount": 1000})
    stripe.settle(order="reversed")
    assert ann.balance_of("purchase") == 15


@pytest.mark.parametrize(("price_key", "kind"), [("credits_30", "checkout_session"), ("pro_monthly", "invoice")])
def test_a_payment_of_which_nothing_but_its_charge_was_heard_is_recorded_by_what_it_paid_for(
    app: Flask, stripe: Stripe, price_key: str, kind: str
) -> None:
    ann = sign_up(app)
    before = ann.balance()
    stripe.pay(ann.checkout(price_key))
    stripe.discard_deliveries()
    charge_id = stripe.api.v1.charges.list().data[0].id
    with app.app_context():
        assert sync.KINDS["charge"].fetch(charge_id, False)["purchase"][0] == kind
        database.write(sync_queue.mark_dirty, "charge", charge_id)
        sync.drain()
        assert sync.KINDS["charge"].fetch(charge_id, False)["purchase"] is None, "it is known now"
    assert payment(ann).stripe_charge_id == charge_id
    assert ann.balance() > before


def test_an_open_dispute_freezes_spending_and_takes_the_credits(app: Flask, stripe: Stripe) -> None:
    ann = bought(app, stripe, card="4000000000000259")
    stripe.settle()
    assert ann.balance_of("purchase") == 0
    assert payment(ann).dispute_status == "needs_response"
    with pytest.raises(WalletFrozen):
        spend(ann, 1)


def test_a_dispute_is_dated_by_when_it_was_made_however_late_it_is_heard_of(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"), "4000000000000259")
    clock.advance(hours=5)
    stripe.settle()
    (made,) = stripe.api.v1.disputes.list().data
    with app.app_context():
        (kept,) = db.session.scalars(select(Dispute))
        assert kept.created_at.timestamp() == made.created < app_clock.now().timestamp() - 3600


def test_a_refund_of_a_subscription_takes_the_periods_credits(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    assert ann.balance_of("plan") == 53
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle()
    assert ann.balance_of("plan") == 3
