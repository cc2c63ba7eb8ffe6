"""A person in the middle of a month: credits of three sources, some use, a report, and a renewal that failed."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy.orm import Session

import clock
import database
from billing import standing
from billing.models import Invoice, Subscription
from ledger import granting, spending
from tests.checker.samples import advert, cv
from tests.persons import Person, sign_up
from tests.reports.buying import check


def busy_person(app: Flask, email: str = "busy@example.com") -> Person:
    """Make a person whose pages have something in every place."""
    person = sign_up(app, email)
    with app.app_context():
        database.write(live_through_a_month, person.account_id)
    assert check(person, cv("developer"), advert("developer")).status_code == 303
    return person


def live_through_a_month(session: Session, account_id: int) -> None:
    """Give an account a plan that failed to renew, credits of three sources, and some use."""
    now = clock.now()
    granting.grant(session, account_id, 50, kind="plan", source="invoice:in_1", expires_at=now + timedelta(days=5))
    granting.grant(session, account_id, 30, kind="purchase", source="charge:ch_1")
    granting.grant(session, account_id, 2, kind="promo", source="promo:1", expires_at=now + timedelta(days=1))
    for number in range(12):
        spending.spend(session, account_id, 2, idempotency_key=f"check-{number}", reason="CV report, 2 pages")
    session.add(
        Subscription(
            stripe_id="sub_1",
            account_id=account_id,
            stripe_status="past_due",
            price_key="pro_monthly",
            plan_key="pro",
            stripe_price_id="price_1",
            amount_cents=3000,
            currency="usd",
            quantity=1,
            period_starts_at=now - timedelta(days=25),
            period_ends_at=now + timedelta(days=5),
            past_due_since=now - timedelta(days=1),
            is_primary=True,
            started_at=now - timedelta(days=25),
            synced_at=now,
        )
    )
    session.add(
        Invoice(
            stripe_id="in_2",
            account_id=account_id,
            stripe_subscription_id="sub_1",
            number="TOLL-0002",
            status="open",
            reason="subscription_cycle",
            description="1 × Pro (at $30.00 / month)",
            currency="usd",
            subtotal_cents=3000,
            tax_cents=0,
            total_cents=3000,
            paid_cents=0,
            remaining_cents=3000,
            attempts=1,
            next_attempt_at=now + timedelta(days=2),
            wants_customer=False,
            hosted_url="http://127.0.0.1:12111/invoice/made-up",
            issued_at=now - timedelta(days=1),
            synced_at=now,
        )
    )
    session.flush()
    standing.refresh(session, account_id)
