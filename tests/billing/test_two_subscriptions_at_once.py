"""Two old tabs, both paid: the first subscription stays, the second is ended and its money goes back."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import update
from sqlalchemy.orm import Session

import database
from billing import extra_subscriptions, sync, sync_queue
from billing.models import CheckoutIntent, Payment, Subscription
from extensions import db
from ledger import invariants
from mail.models import Email
from stripe_sandbox.faults import ApiFault
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


def two_tabs(person: Person, first: str = "basic_monthly", second: str = "pro_monthly") -> tuple[str, str]:
    """Open two checkouts, of which the first was forgotten here - a backup was restored, say - and so not closed."""

    def forget(session: Session) -> None:
        session.execute(update(CheckoutIntent).values(status="failed"))

    one = person.checkout(first)
    with person.app.app_context():
        database.write(forget)
    return one, person.checkout(second)


def live(stripe: Stripe) -> list[str]:
    return [s.items.data[0].price.lookup_key for s in stripe.api.v1.subscriptions.list({"limit": 10}).data]


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_the_second_is_ended_and_paid_back_within_minutes(app: Flask, stripe: Stripe, clock: Clock, order: str) -> None:
    ann = sign_up(app)
    for url in two_tabs(ann):
        stripe.pay(url)
        clock.advance(minutes=1)
    for _ in range(4):
        stripe.settle(order=order, seed=3)
        clock.advance(minutes=1)
    assert live(stripe) == ["cv_basic_monthly"]
    paid = {charge.amount: charge.amount_refunded for charge in stripe.api.v1.charges.list({}).data}
    assert paid == {1500: 0, 3000: 3000}
    assert ann.balance_of("plan") == 3 + 20
    page = ann.client.get("/billing").get_data(as_text=True)
    assert "Basic, monthly, renews on" in page
    with app.app_context():
        assert [mail.template for mail in db.session.query(Email)].count("second_subscription") == 1
        assert invariants.violations(db.session()) == []


@pytest.mark.parametrize("trouble", ["", "/v1/customers"])
def test_what_the_second_took_from_the_customers_balance_goes_back_there(
    app: Flask, stripe: Stripe, clock: Clock, trouble: str
) -> None:
    ann = sign_up(app)
    first, second = two_tabs(ann)
    stripe.pay(first)
    customer = stripe.sandbox_object("customer")["id"]
    stripe.api.v1.customers.balance_transactions.create(customer, {"amount": -1000, "currency": "usd"})
    clock.advance(minutes=1)
    stripe.pay(second)
    if trouble:
        stripe.sandbox.faults.api.append(ApiFault("500_after", remaining=3, path=trouble))
    for _ in range(8):
        stripe.settle()
        clock.advance(minutes=1)
    assert [refund.amount for refund in stripe.api.v1.refunds.list({}).data] == [2000]
    assert stripe.api.v1.customers.retrieve(customer).balance == -1000
    assert ann.balance_of("plan") == 3 + 20
    with app.app_context():
        (mail,) = (mail for mail in db.session.query(Email) if mail.template == "second_subscription")
        assert ("$20.00" in mail.context, "$10.00" in mail.context) == (True, True)


@pytest.mark.parametrize("order", ["as_is", "reversed"])
@pytest.mark.parametrize("trouble", ["", "/v1/credit_notes"])
def test_a_second_one_paid_wholly_from_the_balance_goes_back_there(
    app: Flask, stripe: Stripe, clock: Clock, trouble: str, order: str
) -> None:
    ann = sign_up(app)
    first, second = two_tabs(ann)
    stripe.pay(first)
    customer = stripe.sandbox_object("customer")["id"]
    stripe.api.v1.customers.balance_transactions.create(customer, {"amount": -4000, "currency": "usd"})
    clock.advance(minutes=1)
    stripe.pay(second)
    if trouble:
        stripe.sandbox.faults.api.append(ApiFault("500_after", remaining=3, path=trouble))
    for _ in range(8):
        stripe.settle(order=order)
        clock.advance(minutes=1)
    assert live(stripe) == ["cv_basic_monthly"]
    assert stripe.api.v1.refunds.list({}).data == []
    assert stripe.api.v1.customers.retrieve(customer).balance == -4000
    assert ann.balance_of("plan") == 3 + 20, "its credits are gone with it"
    with app.app_context():
        (mail,) = (mail for mail in db.session.query(Email) if mail.template == "second_subscription")
        assert ("$30.00" in mail.context, "$0.00" in mail.context) == (True, False)
        assert invariants.violations(db.session()) == []


@pytest.mark.parametrize("fault", ["unreachable", "unreachable_after", "500_after"])
@pytest.mark.parametrize("path", ["/v1/refunds", "/v1/subscriptions"])
def test_trouble_on_the_way_is_overcome_and_pays_back_once(
    app: Flask, stripe: Stripe, clock: Clock, fault: str, path: str
) -> None:
    ann = sign_up(app)
    for url in two_tabs(ann):
        stripe.pay(url)
        clock.advance(minutes=1)
    stripe.sandbox.faults.api.append(ApiFault(fault, remaining=6, path=path))
    for _ in range(8):
        stripe.settle()
        clock.advance(minutes=1)
    assert live(stripe) == ["cv_basic_monthly"]
    assert [refund.amount for refund in stripe.api.v1.refunds.list({}).data] == [3000]
    assert ann.balance_of("plan") == 3 + 20


def test_a_refund_that_stripe_fails_for_a_day_is_made_in_the_end(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    for url in two_tabs(ann):
        stripe.pay(url)
        clock.advance(minutes=1)
    # Stripe repeats an error of its own under the same key for a day.
    stripe.sandbox.faults.api.append(ApiFault("500", path="/v1/refunds"))
    for _ in range(13):
        stripe.settle()
        clock.advance(hours=2)
    assert live(stripe) == ["cv_basic_monthly"]
    stripe.sandbox.faults.api.clear()
    assert stripe.api.v1.refunds.list({}).data == []
    for _ in range(13):
        stripe.settle()
        clock.advance(hours=2)
    assert [refund.amount for refund in stripe.api.v1.refunds.list({}).data] == [3000]
    assert ann.balance_of("plan") == 3 + 20


def test_a_customer_who_writes_the_words_of_a_second_one_gets_no_month_back(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    clock.advance(days=40)
    stripe.settle()
    words = {"cancellation_details": {"comment": extra_subscriptions.ENDED_BECAUSE}}
    stripe_id = str(stripe.sandbox_object("subscription")["id"])
    stripe.api.v1.subscriptions.cancel(stripe_id, words)
    stripe.settle()
    assert stripe.inside(lambda: extra_subscriptions.end(stripe_id)["paid_back"]) == []
    assert stripe.api.v1.refunds.list({}).data == []


def test_a_worker_killed_after_ending_it_is_followed_by_one_that_pays_back(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    for url in two_tabs(ann):
        stripe.pay(url)
        clock.advance(minutes=1)
    stripe.deliver()
    with app.app_context():
        while db.session.query(Subscription).count() < 2:
            sync.run_due()
            db.session.rollback()
    newest = str(stripe.sandbox_object("subscription")["id"])
    stripe.api.v1.subscriptions.cancel(newest)
    stripe.settle()
    clock.advance(minutes=1)
    stripe.settle()
    assert [refund.amount for refund in stripe.api.v1.refunds.list({}).data] == [3000]


def test_what_an_operator_set_up_beside_it_is_left_alone(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    clock.advance(minutes=1)
    (customer,) = stripe.api.v1.customers.list({}).data
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_team_monthly"]}).data[0].id
    card = stripe.api.v1.customers.payment_methods.list(customer.id).data[0].id
    stripe.api.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price}], "default_payment_method": card}
    )
    stripe.settle()
    assert sorted(live(stripe)) == ["cv_basic_monthly", "cv_team_monthly"]


def test_one_that_has_lived_beside_another_for_days_is_for_a_person_to_look_at(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    first, second = two_tabs(ann)
    stripe.pay(first)
    stripe.pay(second)
    stripe.discard_deliveries()
    clock.advance(days=2)
    with app.app_context():
        for subscription in stripe.api.v1.subscriptions.list({}).data:
            database.write(sync_queue.mark_dirty, "subscription", subscription.id)
        sync.drain()
        assert db.session.query(Payment).filter(Payment.refunded_cents > 0).count() == 0
    assert len(live(stripe)) == 2
    assert extra_subscriptions.YOUNG.days == 1
