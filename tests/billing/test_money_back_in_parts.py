"""Money that goes back in parts takes its share of all that was paid: card, balance, refunds and disputes together."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from billing import doctor_books, freezes, refunding, returned
from billing.models import Payment
from extensions import db
from ledger import invariants
from ledger.models import Bucket
from stripe_sandbox.engine import disputes
from tests.billing.subscribers import pass_time, subscriber
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])


def with_balance(stripe: Stripe, cents: int, price_key: str = "pro_monthly") -> Person:
    """Make somebody who has bought a plan with so much of the customer's balance, and the card for the rest."""
    ann = sign_up(stripe.app)
    url = ann.checkout(price_key)
    put_on_balance(stripe, cents)
    stripe.pay(url)
    stripe.settle(order="shuffled")
    return ann


def put_on_balance(stripe: Stripe, cents: int) -> None:
    customer = stripe.sandbox_object("customer")["id"]
    stripe.api.v1.customers.balance_transactions.create(customer, {"amount": -cents, "currency": "usd"})


def credit(stripe: Stripe, cents: int, where: str = "credit_amount") -> None:
    """Give a part of the newest invoice back by credit note: to the balance, the card, or outside Stripe."""
    invoice = stripe.sandbox_object("invoice")["id"]
    stripe.api.v1.credit_notes.create({"invoice": invoice, "amount": cents, where: cents})


def taken(ann: Person) -> int:
    """Return how many credits of the newest paid grant are taken back; nothing else may contradict it."""
    with ann.app.app_context():
        paid_for = select(Bucket).where(Bucket.source.not_like("plan:free:%")).order_by(Bucket.id.desc()).limit(1)
        assert list(doctor_books._taken_back(db.session())) == []
        assert invariants.violations(db.session()) == []
        return db.session.scalars(paid_for).one().clawed


def payment(ann: Person) -> Payment:
    with ann.app.app_context():
        return db.session.scalars(select(Payment).order_by(Payment.id.desc()).limit(1)).one()


def dispute(stripe: Stripe, ann: Person, cents: int, *, inquiry: bool = False) -> str:
    with stripe.sandbox.world() as world:
        charge = world.get("charge", payment(ann).stripe_charge_id)
        return str(disputes.open_dispute(world, charge, amount=cents, inquiry=inquiry)["id"])


def decide(stripe: Stripe, clock: Clock, dispute_id: str, evidence: str) -> None:
    words = {"uncategorized_text": evidence}
    stripe.api.v1.disputes.update(dispute_id, {"evidence": words, "submit": True})
    clock.advance(minutes=2)


@ORDERS
def test_a_refund_of_the_cards_part_leaves_what_the_balance_paid_for(app: Flask, stripe: Stripe, order: str) -> None:
    ann = with_balance(stripe, 1000)
    assert ann.balance_of("plan") == 3 + 50
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle(order=order)
    assert taken(ann) == 34, "two thirds of 50, rounded up"


@ORDERS
@pytest.mark.parametrize("where", ["credit_amount", "out_of_band_amount"])
def test_what_goes_back_besides_the_card_takes_the_rest(app: Flask, stripe: Stripe, order: str, where: str) -> None:
    ann = with_balance(stripe, 1000)
    credit(stripe, 500, where)
    stripe.settle(order=order)
    assert taken(ann) == 9, "a sixth"
    credit(stripe, 2000, "refund_amount")
    credit(stripe, 500, where)
    stripe.settle(order=order)
    assert taken(ann) == 50


@ORDERS
def test_a_plan_paid_wholly_from_the_balance_goes_back_with_it(app: Flask, stripe: Stripe, order: str) -> None:
    ann = with_balance(stripe, 3000)
    assert ann.balance_of("plan") == 3 + 50
    credit(stripe, 1500)
    stripe.settle(order=order)
    assert taken(ann) == 25
    credit(stripe, 1500)
    stripe.settle(order=order)
    assert taken(ann) == 50


def test_an_invoice_that_was_lowered_before_it_was_paid_counts_as_what_was_paid(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly", "pm_card_chargeCustomerFail")
    subscription = stripe.sandbox_object("subscription")
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data[0].id
    change = {
        "items": [{"id": stripe.api.v1.subscription_items.list({"subscription": subscription["id"]}).data[0].id}],
        "proration_behavior": "none",
        "billing_cycle_anchor": {"type": "now"},
    }
    change["items"][0]["price"] = price  # type: ignore[index]
    stripe.api.v1.subscriptions.update(subscription["id"], change)
    invoice = stripe.sandbox_object("invoice")
    assert (invoice["status"], invoice["total"]) == ("open", 3000)
    stripe.api.v1.credit_notes.create({"invoice": invoice["id"], "amount": 1000})
    stripe.api.v1.invoices.pay(invoice["id"], {"payment_method": "pm_card_visa"})
    stripe.settle()
    assert payment(ann).amount_cents == 2000
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 1000})
    stripe.settle()
    with app.app_context():
        source = payment(ann).grant_source
        bucket = db.session.scalars(select(Bucket).where(Bucket.source == source)).one()
        assert bucket.clawed * 2 in (bucket.granted, bucket.granted + 1), "half of what was paid"


def test_each_month_of_a_year_follows_its_balance_too(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("starter_yearly"))
    put_on_balance(shop, 9500)
    shop.settle()
    pass_time(shop, clock, ann, days=15)  # the trial is over
    pass_time(shop, clock, ann, days=31)
    pass_time(shop, clock, ann, minutes=1)
    shop.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    shop.settle()
    assert taken(ann) == 10
    invoice = next(i.id for i in shop.api.v1.invoices.list({}).data if i.total == 19000)
    shop.api.v1.credit_notes.create({"invoice": invoice, "amount": 4750, "credit_amount": 4750})
    shop.settle(order="reversed")
    assert taken(ann) == 15
    pass_time(shop, clock, ann, days=31)
    pass_time(shop, clock, ann, minutes=1)
    assert taken(ann) == 15, "a later month is granted less what has gone back"


def test_staff_sees_before_a_refund_what_it_takes_beside_a_balance(app: Flask, stripe: Stripe) -> None:
    ann = with_balance(stripe, 1000)
    effect = stripe.inside(lambda: refunding.quote(db.session(), payment(ann), 2000).effect)
    assert (effect.granted, effect.unused) == (50, 34)
    credit(stripe, 2000, "refund_amount")
    stripe.settle()
    assert ann.balance() == effect.balance


@ORDERS
def test_a_partial_dispute_takes_its_share_together_with_refunds_and_never_twice(
    app: Flask, stripe: Stripe, clock: Clock, order: str
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 500})
    opened = dispute(stripe, ann, 1000)
    stripe.settle(order=order)
    assert taken(ann) == 23, "1500 of 2000, rounded up"
    with app.app_context():
        assert freezes.causes(db.session(), ann.account_id) != []
    decide(stripe, clock, opened, "losing_evidence")
    stripe.settle(order=order)
    assert taken(ann) == 23
    with app.app_context():
        assert freezes.causes(db.session(), ann.account_id) == []


@ORDERS
def test_a_partial_dispute_that_is_won_gives_its_share_back(
    app: Flask, stripe: Stripe, clock: Clock, order: str
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    opened = dispute(stripe, ann, 1000)
    stripe.settle(order=order)
    assert taken(ann) == 15
    decide(stripe, clock, opened, "winning_evidence")
    stripe.settle(order=order)
    assert (taken(ann), ann.balance_of("purchase")) == (0, 30)


def test_an_inquiry_about_a_part_takes_nothing(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    dispute(stripe, ann, 1000, inquiry=True)
    stripe.settle()
    assert taken(ann) == 0


def test_a_dispute_of_more_than_is_left_takes_everything_once(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 500})
    with stripe.sandbox.world() as world:  # banks dispute the whole charge, whatever was refunded of it
        opened = disputes.open_dispute(world, world.get("charge", payment(ann).stripe_charge_id))
        opened["amount"] = 2000
        world.save(opened, "charge.dispute.updated")
    stripe.settle()
    assert (taken(ann), payment(ann).dispute_status in returned.DISPUTED) == (30, True)


@ORDERS
@pytest.mark.parametrize("days", [0, 15])
def test_an_end_with_a_prorated_credit_takes_the_credits_of_the_unused_time(
    app: Flask, stripe: Stripe, clock: Clock, order: str, days: int
) -> None:
    """The site ends plans without it; somebody may do so at Stripe, and buy the next plan with the balance."""
    ann = subscriber(stripe, "pro_monthly")
    clock.advance(days=days, minutes=1)
    ended = stripe.api.v1.subscriptions.cancel(
        stripe.sandbox_object("subscription")["id"], {"prorate": True, "invoice_now": True}
    )
    back = -stripe.api.v1.customers.retrieve(str(ended.customer)).balance
    stripe.settle(order=order)
    expected = -(-50 * back // 3000)
    assert taken(ann) == expected
    assert expected > (49 if days == 0 else 20)
    stripe.settle(order=order)
    assert taken(ann) == expected


@ORDERS
def test_a_pause_that_gave_money_back_and_ends_takes_the_credits_of_the_unused_time(
    app: Flask, stripe: Stripe, clock: Clock, order: str
) -> None:
    ann = subscriber(stripe, "pro_monthly")
    clock.advance(days=10)
    subscription = stripe.sandbox_object("subscription")
    stripe.api.v1.subscriptions.pause(
        subscription["id"],
        {"type": "subscription", "invoicing_behavior": "invoice", "bill_for": {"unused_time_from": {"type": "now"}}},
    )
    stripe.settle(order=order)
    assert taken(ann) == 0, "whoever goes on gets less for it"
    back = -stripe.api.v1.customers.retrieve(subscription["customer"]).balance
    clock.advance(minutes=1)
    stripe.api.v1.subscriptions.cancel(subscription["id"])
    stripe.settle(order=order)
    assert back > 1000
    assert taken(ann) == -(-50 * back // 3000)


def test_an_upgraded_plan_that_ends_with_a_prorated_credit_shares_it(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "basic_monthly")
    clock.advance(days=1)
    subscription = stripe.api.v1.subscriptions.list({}).data[0]
    (price,) = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data
    change = {"items": [{"id": subscription["items"].data[0].id, "price": price.id}]}
    stripe.api.v1.subscriptions.update(subscription.id, {**change, "proration_behavior": "always_invoice"})
    stripe.settle()
    assert ann.balance_of("plan") == 3 + 50
    clock.advance(minutes=1)
    stripe.api.v1.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    stripe.settle(order="reversed")
    assert ann.balance_of("plan") - 3 <= 2, "a day of Basic"
    with app.app_context():
        assert list(doctor_books._taken_back(db.session())) == []


def test_the_sites_own_end_gives_no_money_back_and_leaves_the_credits(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    stripe.api.v1.subscriptions.cancel(stripe.sandbox_object("subscription")["id"])
    stripe.settle()
    assert (taken(ann), ann.balance_of("plan")) == (0, 53)
