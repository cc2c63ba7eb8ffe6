"""Monthly credits that no invoice announces: the free plan's, and the later months of a yearly plan."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import former_mailboxes, people
from accounts.models import Account
from billing import access, catalog, fulfilment, plan_grants, sync_queue
from billing.models import PlanGrant, StripeObject, Subscription, SyncTask
from billing.periods import add_months, months_between
from ledger.models import CreditKind


def grant_free_allowance(session: Session, account_id: int) -> bool:
    """Grant the free plan's credits for the account's current month, unless granted; return whether it was.

    Months are counted from the day the account was made; the key names the month, so that no sweep, however often it
    runs, grants one twice.
    """
    plan = catalog.current().free_plan
    if plan.credits == 0:
        return False
    account = session.get_one(Account, account_id, populate_existing=True)
    if account.closed_at is not None:
        return False
    month = months_between(account.created_at, clock.now())
    starts_at, ends_at = add_months(account.created_at, month), add_months(account.created_at, month + 1)
    grant = PlanGrant(
        account_id=account_id,
        plan_key=plan.key,
        source=f"plan:free:{starts_at:%Y-%m}",
        credits=0 if month == 0 and _has_had_this_month(session, account_id) else plan.credits,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    return plan_grants.add(session, grant, kind=CreditKind.PLAN, note=f"{plan.name} plan, monthly allowance")


def _has_had_this_month(session: Session, account_id: int) -> bool:
    """Tell whether the mailbox of a new account has had a free month, in one that it left, which is not over yet."""
    former = former_mailboxes.accounts_of(session, people.owner_email(session, account_id))
    running = select(PlanGrant.id).where(
        PlanGrant.account_id.in_([each for each in former if each != account_id]),
        PlanGrant.source.startswith("plan:free:"),
        PlanGrant.ends_at > clock.now(),
    )
    return session.scalar(running.limit(1)) is not None


def due_accounts(session: Session, *, after: int = 0, limit: int = 100) -> list[int]:
    """List accounts whose latest plan credits have run out, so that a month may be due; by their ids, above `after`.

    A month that waits for an invoice is not granted and stays on the list: ask on until nothing is left, or those who
    wait would stand in front of all others.
    """
    query = (
        select(PlanGrant.account_id)
        .join(Account, Account.id == PlanGrant.account_id)
        .where(PlanGrant.account_id > after, Account.closed_at.is_(None))
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
        is_granted = grant_free_allowance(session, account_id)
    else:
        is_granted = _grant_month_of_yearly(session, subscription)
    failpoints.hit("allowance.granted")
    return is_granted


def _grant_month_of_yearly(session: Session, subscription: Subscription) -> bool:
    starts_at, period_ends_at = subscription.period_starts_at, subscription.period_ends_at
    if starts_at is None or period_ends_at is None or subscription.price_key is None:
        return False
    month = months_between(starts_at, clock.now())
    is_yearly = catalog.current().price(subscription.price_key).interval == "year"
    if not is_yearly or month == 0 or add_months(starts_at, month) >= period_ends_at:
        return False  # the period's own invoice grants its first month, and every month of a monthly plan
    if not _has_heard_of_all(session, subscription, add_months(starts_at, month)):
        return False
    return plan_grants.add_month(
        session,
        subscription.account_id,
        subscription.stripe_id,
        starts_at=add_months(starts_at, month),
        ends_at=min(add_months(starts_at, month + 1), period_ends_at),
        paid_until=period_ends_at,
    )


def _has_heard_of_all(session: Session, subscription: Subscription, month_starts_at: datetime) -> bool:
    """Tell whether every invoice is known that was paid before a month began; if not, have Stripe asked, and wait.

    A month is granted once, and by the plan that was paid for: an upgrade heard of later could not change it.
    """
    if subscription.synced_at < month_starts_at:
        _ask(session, "subscription", subscription.stripe_id)
        return False
    row = session.get(StripeObject, ("subscription", subscription.stripe_id))
    latest = json.loads(row.body).get("latest_invoice") if row is not None else None
    if not isinstance(latest, dict) or latest["status"] != "paid" or fulfilment.is_fulfilled(session, latest["id"]):
        return True
    _ask(session, "invoice", latest["id"])
    return False


def _ask(session: Session, kind: str, object_id: str) -> None:
    task = session.get(SyncTask, (kind, object_id))
    if task is None or task.clean == task.dirty:  # whoever waits already keeps the pace of its tries
        sync_queue.mark_dirty(session, kind, object_id)
