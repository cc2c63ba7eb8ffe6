"""Somebody deletes a customer in Stripe's Dashboard: the plan ends, the card is gone, and what was bought stays."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from billing import saved_cards
from billing.models import SyncTask
from billing.states import State
from extensions import db
from tests.billing.subscribers import plan, state, subscriber
from tests.worlds import Stripe


@pytest.mark.parametrize("order", ["as_is", "reversed"])
def test_the_plan_of_a_deleted_customer_ends_here_too(app: Flask, stripe: Stripe, order: str) -> None:
    ann = subscriber(stripe, "pro_monthly")
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    stripe.api.v1.customers.delete(stripe.sandbox_object("subscription")["customer"])
    stripe.settle(order=order)
    assert (plan(ann), state(ann)) == ("free", State.ENDED)
    assert ann.balance_of("purchase") == 5
    with app.app_context():
        assert saved_cards.find(db.session(), ann.account_id) is None
        assert db.session.scalars(select(SyncTask).where(SyncTask.clean < SyncTask.dirty)).all() == []
