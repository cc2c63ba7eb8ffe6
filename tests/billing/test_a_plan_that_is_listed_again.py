"""A plan is taken out of the catalogue by mistake, somebody pays for it, and it is listed again."""

from __future__ import annotations

import dataclasses

from flask import Flask
from sqlalchemy import select

import database
from billing import catalog, compare, inbox, sync
from billing.differences import Difference
from billing.models import Payment
from extensions import db
from tests.billing.subscribers import plan
from tests.persons import Person, sign_up
from tests.worlds import Stripe


def payment(ann: Person) -> Payment:
    with ann.app.app_context():
        return db.session.scalars(select(Payment)).one()


def paid_while_unlisted(app: Flask, stripe: Stripe) -> Person:
    """Make somebody whose payment arrived while the catalogue did not list the plan; it does again."""
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    whole: catalog.Catalog = app.extensions["catalog"]
    without = tuple(each for each in whole.plans if each.key != "pro")
    app.extensions["catalog"] = dataclasses.replace(whole, plans=without)
    stripe.settle()
    app.extensions["catalog"] = whole
    assert (plan(ann), ann.balance_of("plan"), payment(ann).grant_source) == ("free", 3, None)
    return ann


def replay_the_invoice(app: Flask) -> None:
    with app.app_context():
        assert database.write(inbox.replay, db.session.scalars(select(Payment.stripe_invoice_id)).one())
        sync.drain()


def test_the_comparison_finds_what_was_paid_and_brings_its_credits(app: Flask, stripe: Stripe) -> None:
    ann = paid_while_unlisted(app, stripe)
    found: list[Difference] = []
    with app.app_context():
        assert compare.run_whole(found.append) == 2
    assert {each.kind for each in found} == {"subscription", "invoice"}
    stripe.settle()
    assert (plan(ann), ann.balance_of("plan")) == ("pro", 53)
    with app.app_context():
        assert compare.run_whole(found.append) == 0


def test_its_refund_takes_those_credits_back(app: Flask, stripe: Stripe) -> None:
    ann = paid_while_unlisted(app, stripe)
    replay_the_invoice(app)
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle()
    assert ann.balance_of("plan") == 3


def test_nor_are_they_there_to_spend_when_the_refund_came_before(app: Flask, stripe: Stripe) -> None:
    ann = paid_while_unlisted(app, stripe)
    stripe.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    stripe.settle()
    replay_the_invoice(app)
    assert ann.balance_of("plan") == 3
