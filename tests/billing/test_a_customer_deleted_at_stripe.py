"""Somebody deletes a customer in Stripe's Dashboard: the plan ends, the card is gone, and what was bought stays.

Who buys again is a new customer, and what the old one had bought still belongs to the account.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import select

import database
from accounts import people
from billing import access, checkout, doctor_books, errors, saved_cards, sync, sync_queue
from billing.models import SyncTask
from billing.states import State
from extensions import db
from ledger import invariants
from tests.billing.subscribers import billing_page, plan, state, subscriber
from tests.persons import Person, post, sign_up
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


def delete_customer(stripe: Stripe, ann: Person) -> str:
    """Delete an account's customer as somebody does in Stripe's Dashboard; return its id."""
    customer_id = str(customer_of(ann))
    stripe.api.v1.customers.delete(customer_id)
    return customer_id


def customer_of(ann: Person) -> str | None:
    with ann.app.app_context():
        return people.get_account(db.session(), ann.account_id).stripe_customer_id


@pytest.mark.parametrize("is_heard", [True, False], ids=["after Stripe told of it", "before anything is heard"])
@pytest.mark.parametrize("order", ["as_is", "reversed"])
@pytest.mark.parametrize("price_key", ["credits_30", "basic_monthly"])
def test_whose_customer_was_deleted_buys_again_as_a_new_one(
    app: Flask, stripe: Stripe, price_key: str, order: str, *, is_heard: bool
) -> None:
    ann = subscriber(stripe, "pro_monthly")
    old = delete_customer(stripe, ann)
    if is_heard:
        stripe.settle(order=order)
    else:
        stripe.discard_deliveries()
        with app.app_context():  # the plan's end is known, the customer's is not
            subscription_id = access.subscription_of(db.session(), ann.account_id).stripe_id  # type: ignore[union-attr]
            sync.run_now("subscription", subscription_id)
        assert customer_of(ann) == old
    stripe.pay(ann.checkout(price_key))
    stripe.settle(order=order)
    new = customer_of(ann)
    assert [customer.id for customer in stripe.api.v1.customers.list({}).data] == [new]
    assert new != old
    assert (ann.balance_of("purchase"), plan(ann)) == ((30, "free") if price_key == "credits_30" else (0, "basic"))
    with app.app_context():
        assert list(doctor_books._owners(db.session())) == []
        assert invariants.violations(db.session()) == []


def test_many_tabs_of_a_deleted_customer_make_one_new_customer(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    delete_customer(stripe, ann)
    stripe.settle()

    def check_out(_: int) -> str | None:
        with app.app_context():
            try:
                return checkout.start(ann.account_id, "credits_30", base_url="http://127.0.0.1:5000")
            except errors.StripeUnavailable:
                return None  # another tab's request is under way under the same key

    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(check_out, range(8)))
    assert urls - {None}
    assert [customer.id for customer in stripe.api.v1.customers.list({}).data] == [customer_of(ann)]


def test_what_the_deleted_customer_had_bought_still_belongs_to_the_account(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    delete_customer(stripe, ann)
    stripe.settle()
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    assert "$30.00" in billing_page(ann, "/billing/invoices")
    with app.app_context():
        old, new = saved_cards.find(db.session(), ann.account_id), customer_of(ann)
        assert old is not None, "the new customer's card"
    for charge in stripe.api.v1.charges.list({}).data:
        if charge.customer != new and charge.amount == 500:
            stripe.api.v1.refunds.create({"charge": charge.id})
    stripe.settle(order="reversed")
    assert ann.balance_of("purchase") == 30, "a refund of an old payment takes its own credits"
    with app.app_context():
        assert saved_cards.find(db.session(), ann.account_id) is not None


def test_news_of_the_deleted_customer_leave_the_new_ones_card_alone(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    old = delete_customer(stripe, ann)
    stripe.settle()
    stripe.pay(ann.checkout("credits_5"))
    stripe.settle()
    with app.app_context():
        database.write(sync_queue.mark_dirty, "customer", old)
        sync.drain()
        assert saved_cards.find(db.session(), ann.account_id) is not None
    assert customer_of(ann) not in (None, old)


def test_deleted_twice_within_minutes_is_another_new_customer_each_time(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    seen = set()
    for _ in range(3):
        stripe.pay(ann.checkout("credits_5"))
        stripe.settle()
        seen.add(delete_customer(stripe, ann))
    assert len(seen) == 3
    stripe.settle()
    assert ann.balance_of("purchase") == 15


def test_the_portal_of_a_deleted_customer_says_that_there_is_none(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    delete_customer(stripe, ann)
    answer = post(ann.client, "/billing/portal")
    assert answer.status_code == 409
    assert customer_of(ann) is None


@pytest.mark.parametrize("price_key", ["credits_30", "basic_monthly"])
def test_a_checkout_of_the_deleted_customer_is_not_offered_again(app: Flask, stripe: Stripe, price_key: str) -> None:
    ann = sign_up(app)
    before = ann.checkout(price_key)
    delete_customer(stripe, ann)
    stripe.settle()
    after = ann.checkout(price_key)
    assert after != before
    stripe.pay(after)
    stripe.settle()
    assert ann.balance_of("purchase") == 30 or plan(ann) == "basic"
    assert {s.status for s in stripe.api.v1.checkout.sessions.list({}).data} == {"complete", "expired"}
