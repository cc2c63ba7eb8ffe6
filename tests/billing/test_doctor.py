"""The doctor finds each seeded fault, says what to do, and finds nothing on a healthy patient."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import clock as app_clock
import database
from billing import doctor
from billing.models import CheckoutIntent, Payment, PlanGrant, StripeEvent, Subscription, SyncTask
from extensions import db
from tests.persons import Person, sign_up
from tests.worlds import Stripe


def findings(app: Flask) -> dict[str, list[doctor.Finding]]:
    with app.app_context():
        return {check.name: found for check, found in doctor.examine(db.session()) if found}


@pytest.fixture
def patient(app: Flask, stripe: Stripe) -> Person:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_30"))
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    return ann


def test_a_healthy_patient_has_nothing(app: Flask, patient: Person) -> None:
    assert findings(app) == {}


def payment_without_grant(session: Session) -> None:
    session.execute(sa.update(Payment).where(Payment.kind == "pack").values(grant_source="charge:ch_of_nobody"))


def grant_outside_the_ledger(session: Session) -> None:
    session.execute(sa.update(PlanGrant).values(source=PlanGrant.source + ":lost"))


def balance_that_does_not_add_up(session: Session) -> None:
    session.execute(sa.text("UPDATE wallets SET balance = balance + 1"))


def second_subscription(session: Session) -> None:
    row = session.scalars(sa.select(Subscription)).one()
    values = {c.key: getattr(row, c.key) for c in Subscription.__table__.columns}
    session.execute(sa.insert(Subscription).values({**values, "stripe_id": "sub_2", "is_primary": False}))


def plan_that_is_not_sold(session: Session) -> None:
    session.execute(sa.update(Subscription).values(plan_key=None, price_key=None))


def worker_asleep(session: Session) -> None:
    long_ago = app_clock.now() - timedelta(minutes=5)
    session.add(SyncTask(kind="charge", object_id="ch_1", dirty=1, next_at=long_ago, first_dirty_at=long_ago))


def task_given_up(session: Session) -> None:
    session.add(SyncTask(kind="charge", object_id="ch_1", dirty=1, state="dead", next_at=app_clock.now(), attempts=12))


def checkout_left_open(session: Session) -> None:
    long_ago = app_clock.now() - timedelta(days=3)
    session.execute(sa.update(CheckoutIntent).values(status="open", expires_at=long_ago))


def webhooks_never_arrive(session: Session) -> None:
    session.execute(sa.update(StripeEvent).values(source="poll"))


def another_database(session: Session) -> None:
    session.execute(sa.text("UPDATE accounts SET stripe_customer_id = 'cus_of_another_mode'"))


def status_differs(session: Session) -> None:
    session.execute(sa.update(Subscription).values(stripe_status="past_due"))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (payment_without_grant, "every payment has its credits"),
        (grant_outside_the_ledger, "every plan's grant is in the ledger"),
        (balance_that_does_not_add_up, "ledger"),
        (second_subscription, "one live subscription per account"),
        (plan_that_is_not_sold, "subscriptions are of the catalogue"),
        (worker_asleep, "the worker keeps up"),
        (task_given_up, "nothing was given up"),
        (checkout_left_open, "checkouts end"),
        (webhooks_never_arrive, "webhooks arrive"),
        (another_database, "the database belongs to this Stripe account"),
        (status_differs, "subscriptions agree with Stripe's"),
    ],
)
def test_a_seeded_fault_is_found(
    app: Flask, stripe: Stripe, patient: Person, fault: Callable[[Session], None], check: str
) -> None:
    stripe.expect_violation("No such customer")
    with app.app_context():
        database.write(fault)
    found = findings(app)
    assert check in found, f"found only {sorted(found)}"
    assert all(f.remedy for f in found[check])


def test_a_price_that_stripe_does_not_sell_is_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_credits_5"]}).data[0]
    stripe.api.v1.prices.update(price.id, {"active": False})
    assert "Stripe sells the catalogue" in findings(app)


def test_a_missing_endpoint_and_missing_event_types_are_found(app: Flask, stripe: Stripe, patient: Person) -> None:
    endpoint = stripe.api.v1.webhook_endpoints.list().data[0]
    stripe.api.v1.webhook_endpoints.update(endpoint.id, {"enabled_events": ["invoice.paid"]})
    assert any("charge.refunded" in f.problem for f in findings(app)["Stripe's webhook endpoint"])
    stripe.api.v1.webhook_endpoints.delete(endpoint.id)
    assert any("no webhook endpoint" in f.problem for f in findings(app)["Stripe's webhook endpoint"])


def test_the_command_says_what_is_wrong_and_fails(app: Flask, patient: Person) -> None:
    runner = app.test_cli_runner()
    healthy = runner.invoke(args=["doctor"])
    assert healthy.exit_code == 0
    assert "wrong" not in healthy.output
    with app.app_context():
        database.write(task_given_up)
    ill = runner.invoke(args=["doctor", "--offline", "--json"])
    assert ill.exit_code == 1
    assert [f["check"] for f in json.loads(ill.output)] == ["nothing was given up"]
