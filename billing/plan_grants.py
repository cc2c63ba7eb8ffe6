"""The credits of plans, period by period: each granted once in the ledger, and noted beside it for the next ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

import failpoints
from billing import catalog, plan_periods, returned
from billing.models import PlanGrant
from billing.periods import add_months
from ledger import granting
from ledger.models import CreditKind

Json = dict[str, Any]


def expires_at(period_ends_at: datetime, *, rollover_months: int = 0) -> datetime:
    """Return when plan credits expire: some grace after their period, so that a late renewal punishes nobody.

    With `rollover_months`, what is left over can be spent for that much longer.
    """
    grace = timedelta(hours=catalog.current().policies.plan_credit_grace_hours)
    return add_months(period_ends_at, rollover_months) + grace


def find(session: Session, account_id: int, source: str) -> PlanGrant | None:
    """Find what was granted from a source, with 0 credits when nothing was due; None when it is not known yet."""
    query = select(PlanGrant).where(PlanGrant.account_id == account_id, PlanGrant.source == source)
    return session.scalar(query)


def is_noted(session: Session, invoice: Json) -> bool:
    """Tell whether it is noted what an invoice of a subscription brought, be it nothing."""
    query = select(PlanGrant.id).where(
        PlanGrant.stripe_subscription_id == plan_periods.subscription_of(invoice),
        PlanGrant.stripe_invoice_id == invoice["id"],
    )
    return session.scalar(query) is not None


def add(session: Session, grant: PlanGrant, *, kind: CreditKind, note: str, paid_at: datetime | None = None) -> bool:
    """Grant a period's credits and note them; return False, and change nothing, when its source is known.

    A period without credits is noted all the same: it tells what was paid for. One that was paid for only after its end
    can be spent as long from then on as it would have lasted: else its credits would expire in the moment they come.
    """
    if find(session, grant.account_id, grant.source) is not None:
        return False
    session.add(grant)
    session.flush()
    failpoints.hit("grant.period_noted")
    ends_at = grant.ends_at
    if paid_at is not None and paid_at >= ends_at:
        ends_at = paid_at + (grant.ends_at - grant.starts_at)
    if grant.credits:
        granting.grant(
            session,
            grant.account_id,
            grant.credits,
            kind=kind,
            source=grant.source,
            expires_at=expires_at(ends_at, rollover_months=_rollover_of(grant.plan_key, kind)),
            payment_ref=grant.stripe_invoice_id,
            note=note,
        )
        failpoints.hit("grant.period")
    return True


def note_paid_until(session: Session, grant: PlanGrant, paid_until: datetime) -> None:
    """Note until when an invoice paid for a grant that is older than this note, and so for the months of its year.

    A month belongs to the invoice that was the last to be paid for its beginning; while that one has no note, it waits.
    """
    grant.paid_until = paid_until
    session.flush()
    months = select(PlanGrant).where(
        PlanGrant.account_id == grant.account_id,
        PlanGrant.stripe_subscription_id == grant.stripe_subscription_id,
        PlanGrant.stripe_invoice_id.is_(None),
        PlanGrant.paid_until.is_(None),
    )
    for month in session.scalars(months.order_by(PlanGrant.starts_at)).all():
        paid = session.scalar(_paid_for(month.stripe_subscription_id or "", month.starts_at))
        month.paid_until = paid.paid_until if paid is not None else None
    session.flush()


def add_month(
    session: Session,
    account_id: int,
    stripe_subscription_id: str,
    *,
    starts_at: datetime,
    ends_at: datetime,
    paid_until: datetime,
) -> bool:
    """Grant a later month of the yearly plan that is paid until an instant: of the plan paid for when the month began.

    So it is the same whether the month is granted on its first day or after a change of plan in the middle of it; what
    of the year's money went back is taken off at once. Returns whether it was granted now; while no paid invoice is
    known, it waits.
    """
    plan = _plan_paid_at(session, stripe_subscription_id, starts_at)
    if plan is None or plan.credits == 0:
        return False
    grant = PlanGrant(
        account_id=account_id,
        plan_key=plan.key,
        stripe_subscription_id=stripe_subscription_id,
        source=f"plan:{stripe_subscription_id}:{starts_at:%Y-%m-%d}",
        credits=plan.credits,
        starts_at=starts_at,
        ends_at=ends_at,
        paid_until=paid_until,
    )
    is_new = add(session, grant, kind=CreditKind.PLAN, note=f"{plan.name} plan, monthly allowance")
    if is_new:
        returned.claw(session, account_id, grant.source)
    return is_new


def _rollover_of(plan_key: str, kind: CreditKind) -> int:
    """Return for how many months a plan's credits roll over; those of a trial, and of a plan that is gone, do not."""
    plan = next((plan for plan in catalog.current().plans if plan.key == plan_key), None)
    return plan.rollover_months if plan and kind == CreditKind.PLAN else 0


def _plan_paid_at(session: Session, stripe_subscription_id: str, at: datetime) -> catalog.Plan | None:
    """Find the plan of the invoice that was the last to be paid for an instant."""
    paid = session.scalar(_paid_for(stripe_subscription_id, at))
    return next((plan for plan in catalog.current().plans if paid is not None and plan.key == paid.plan_key), None)


def _paid_for(stripe_subscription_id: str, at: datetime) -> Select[PlanGrant]:
    return (
        select(PlanGrant)
        .where(
            PlanGrant.stripe_subscription_id == stripe_subscription_id,
            PlanGrant.stripe_invoice_id.is_not(None),
            PlanGrant.starts_at <= at,
        )
        .order_by(PlanGrant.starts_at.desc(), PlanGrant.id.desc())
        .limit(1)
    )
