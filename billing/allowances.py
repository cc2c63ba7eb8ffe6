"""Monthly credits that no invoice announces: the free plan's, and the later months of a yearly plan."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from billing import access, catalog
from billing.fulfilment import expires_at
from billing.models import PlanGrant, Subscription
from billing.periods import add_months, months_between
from ledger import granting


def grant_free_allowance(session: Session, account_id: int) -> bool:
    """Grant the free plan's credits for the account's current month, unless granted; return whether it was.

    Months are counted from the day the account was made; the key names the month, so that no sweep, however often it
    runs, grants one twice.
    """
    account = session.get_one(Account, account_id)
    month = months_between(account.created_at, clock.now())
    starts_at, ends_at = add_months(account.created_at, month), add_months(account.created_at, month + 1)
    return _grant(
        session,
        account_id,
        catalog.current().free_plan,
        source=f"plan:free:{starts_at:%Y-%m}",
        starts_at=starts_at,
        ends_at=ends_at,
    )


def due_accounts(session: Session, *, after: int = 0, limit: int = 100) -> list[int]:
    """List accounts whose latest plan credits have run out, so that a month may be due; by their ids, above `after`.

    A month that waits for an invoice is not granted and stays on the list: ask on until nothing is left, or those who
    wait would stand in front of all others.
    """
    query = (
        select(PlanGrant.account_id)
        .where(PlanGrant.account_id > after)
        .group_by(PlanGrant.account_id)
        .having(func.max(PlanGrant.ends_at) <= clock.now())
        .order_by(PlanGrant.account_id)
        .limit(limit)
    )
    return list(session.scalars(query))


def grant_due(session: Session, account_id: int) -> bool:
    """Grant the month that is due to an account: of its yearly plan, or of the free one; return whether any was."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    subscription = access.subscription_of(session, account_id)
    plan = access.plan_opened_by(subscription)
    if subscription is None or plan.is_free:
        return grant_free_allowance(session, account_id)
    return _grant_month_of_yearly(session, subscription, plan)


def _grant_month_of_yearly(session: Session, subscription: Subscription, plan: catalog.Plan) -> bool:
    starts_at, period_ends_at = subscription.period_starts_at, subscription.period_ends_at
    if starts_at is None or period_ends_at is None or subscription.price_key is None:
        return False
    month = months_between(starts_at, clock.now())
    is_yearly = catalog.current().price(subscription.price_key).interval == "year"
    if not is_yearly or month == 0 or add_months(starts_at, month) >= period_ends_at:
        return False  # the period's own invoice grants its first month, and every month of a monthly plan
    return _grant(
        session,
        subscription.account_id,
        plan,
        source=f"plan:{subscription.stripe_id}:{add_months(starts_at, month):%Y-%m-%d}",
        starts_at=add_months(starts_at, month),
        ends_at=min(add_months(starts_at, month + 1), period_ends_at),
        stripe_subscription_id=subscription.stripe_id,
    )


def _grant(
    session: Session,
    account_id: int,
    plan: catalog.Plan,
    *,
    source: str,
    starts_at: datetime,
    ends_at: datetime,
    stripe_subscription_id: str | None = None,
) -> bool:
    if plan.credits == 0:
        return False
    granted = granting.grant(
        session,
        account_id,
        plan.credits,
        kind="plan",
        source=source,
        expires_at=expires_at(ends_at),
        note=f"{plan.name} plan, monthly allowance",
    )
    if granted.created:
        session.add(
            PlanGrant(
                account_id=account_id,
                plan_key=plan.key,
                stripe_subscription_id=stripe_subscription_id,
                source=source,
                credits=plan.credits,
                starts_at=starts_at,
                ends_at=ends_at,
            )
        )
        session.flush()
    return granted.created
