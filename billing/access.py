"""Who may use what: one pure decision on a subscription's state, and the plan that follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

import clock
from billing import catalog
from billing.models import Status, Subscription
from prepared import Reading

# Anything Stripe may invent later is closed until somebody opens it here.
OPEN = frozenset({Status.TRIALING, Status.ACTIVE})
# A subscription in one of these may still charge, so a second one must not be sold beside it.
LIVE = frozenset({Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.PAUSED, Status.UNPAID, Status.INCOMPLETE})


class SubscriptionRow(NamedTuple):
    """What gates and pages ask of an account's primary subscription; what each of these is stands in Subscription."""

    stripe_status: str
    price_key: str | None
    plan_key: str | None
    amount_cents: int | None
    currency: str | None
    started_at: datetime
    period_ends_at: datetime | None
    trial_ends_at: datetime | None
    cancels_at: datetime | None
    past_due_since: datetime | None
    open_until: datetime | None
    payment_method_id: str | None


_IS_PRIMARY = (Subscription.account_id == bindparam("owner_id"), Subscription.is_primary)
_PRIMARY = select(Subscription).where(*_IS_PRIMARY)
# Gates and pages ask for it all the time.
_PRIMARY_ROW = Reading(
    select(*[getattr(Subscription, field) for field in SubscriptionRow._fields]).where(*_IS_PRIMARY), SubscriptionRow
)


def grants_access(
    stripe_status: str,
    *,
    past_due_since: datetime | None,
    now: datetime,
    past_due_grace: timedelta,
    open_until: datetime | None = None,
) -> bool:
    """Tell whether a subscription in this state opens its plan's features: the one access rule of the app.

    Trialing and active do; past_due does for the grace period after its invoice fell due; paused does until what was
    paid for ends (`open_until`); every other state, an unknown one included, does not.
    """
    if stripe_status in OPEN:
        return True
    if stripe_status == Status.PAUSED and open_until is not None:
        return now < open_until
    if stripe_status != Status.PAST_DUE or past_due_since is None:
        return False
    return now < past_due_since + past_due_grace


def subscription_of(session: Session, account_id: int) -> Subscription | None:
    """Find the account's primary subscription, whatever its state; None when it never had one or the last one ended."""
    return session.scalars(_PRIMARY, {"owner_id": account_id}).first()


def row_of(session: Session, account_id: int) -> SubscriptionRow | None:
    """Return the values of the account's primary subscription, to decide by and to show; None when it has none."""
    return _PRIMARY_ROW.first(session, owner_id=account_id)


def plan_of(session: Session, account_id: int) -> catalog.Plan:
    """Return the plan whose features the account may use now; the free plan when no subscription opens another."""
    return plan_opened_by(row_of(session, account_id))


def plan_opened_by(subscription: Subscription | SubscriptionRow | None) -> catalog.Plan:
    """Return the plan that a subscription opens now; the free plan when it opens none."""
    current = catalog.current()
    if subscription is None or subscription.plan_key not in {p.key for p in current.plans}:
        return current.free_plan
    is_open = grants_access(
        subscription.stripe_status,
        past_due_since=subscription.past_due_since,
        now=clock.now(),
        past_due_grace=timedelta(days=current.policies.past_due_grace_days),
        open_until=subscription.open_until,
    )
    return current.plan(subscription.plan_key) if is_open else current.free_plan
