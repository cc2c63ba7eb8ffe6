"""Plans for tests that are not about buying: written down without going to Stripe."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

import clock
import database
from billing.models import Subscription
from tests.persons import Person


def open_plan(person: Person, plan_key: str = "team") -> None:
    """Give an account a plan without going to Stripe."""
    with person.app.app_context():
        database.write(subscribe, person.account_id, plan_key)


def lapse(person: Person) -> None:
    """Let the account's plan end."""
    with person.app.app_context():
        ended = sa.update(Subscription).where(Subscription.account_id == person.account_id)
        database.write(lambda session: session.execute(ended.values(stripe_status="canceled", is_primary=False)))


def subscribe(session: Session, account_id: int, plan_key: str) -> None:
    """Give an account a subscription that is paid for another 30 days."""
    now = clock.now()
    session.add(
        Subscription(
            stripe_id=f"sub_of_{account_id}",
            account_id=account_id,
            stripe_status="active",
            price_key=f"{plan_key}_monthly",
            plan_key=plan_key,
            stripe_price_id="price_1",
            amount_cents=9900,
            currency="usd",
            quantity=1,
            period_starts_at=now,
            period_ends_at=now + timedelta(days=30),
            is_primary=True,
            started_at=now,
            synced_at=now,
        )
    )
