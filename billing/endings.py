"""End a subscription, when its period ends or at once, and take the former back; what it will mean is said before.

The truth about an ending lies at Stripe, whether it was asked for here, in the Customer Portal, or in Stripe's
dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

import clock
import failpoints
from billing import access, catalog, errors, gateway, stripe_life
from billing.errors import BillingError
from billing.models import Status, Subscription
from billing.plan_grants import expires_at
from ledger import statement

Json = dict[str, Any]

# Stripe's `cancellation_details.feedback`, and what a customer reads.
REASONS = {
    "too_expensive": "It costs too much",
    "unused": "I do not use it enough",
    "missing_features": "Something that I need is missing",
    "switched_service": "I use something else now",
    "too_complex": "It is too complicated",
    "low_quality": "I expected better results",
    "customer_service": "I was not helped well",
    "other": "Something else",
}
MAX_COMMENT = 500
CANCELLABLE = frozenset({Status.TRIALING, Status.ACTIVE, Status.PAST_DUE})


class NothingToCancel(BillingError):
    """The account has no subscription that goes on by itself."""

    status = 409


@dataclass(frozen=True)
class Outlook:
    """What the end of a subscription changes: credits left of the plan, until when they can be spent, and what stays.

    `kept_credits` counts those that do not hang on the subscription: bought and given ones, and the free plan's.
    """

    ends_at: datetime
    plan: catalog.Plan
    free_plan: catalog.Plan
    plan_credits: int
    spendable_until: datetime
    kept_credits: int


def may_cancel(subscription: Subscription | None) -> bool:
    """Tell whether a subscription goes on by itself, so that there is something to cancel."""
    return (
        subscription is not None
        and subscription.stripe_status in CANCELLABLE
        and subscription.cancels_at is None
        and subscription.period_ends_at is not None
    )


def may_resume(subscription: Subscription | None) -> bool:
    """Tell whether a subscription is about to end and can be kept."""
    return (
        subscription is not None
        and subscription.stripe_status in CANCELLABLE
        and subscription.cancels_at is not None
        and subscription.ended_at is None
    )


def may_cancel_now(subscription: Subscription | None) -> bool:
    """Tell whether there is a subscription that can be ended at once, whatever it waits for."""
    return subscription is not None and subscription.stripe_status in access.LIVE and subscription.ended_at is None


def outlook(session: Session, subscription: Subscription, *, at_once: bool = False) -> Outlook:
    """Return what cancelling at the end of the period, or at once, will mean; raise NothingToCancel."""
    ends_at = clock.now() if at_once else subscription.period_ends_at
    possible = may_cancel_now(subscription) if at_once else may_cancel(subscription)
    if not possible or ends_at is None:
        raise NothingToCancel(subscription.stripe_id)
    sources = statement.balance(session, subscription.account_id).sources
    of_plan = [s for s in sources if s.kind in {"plan", "trial"} and not s.source.startswith("plan:free:")]
    ending = [s.remaining for s in of_plan]
    last = max((s.expires_at for s in of_plan if s.expires_at), default=ends_at)
    current = catalog.current()
    known = subscription.plan_key is not None and subscription.plan_key in {p.key for p in current.plans}
    plan = current.plan(str(subscription.plan_key)) if known else access.plan_opened_by(subscription)
    rollover_months = 0 if subscription.stripe_status == Status.TRIALING else plan.rollover_months
    return Outlook(
        ends_at=ends_at,
        plan=plan,
        free_plan=current.free_plan,
        plan_credits=sum(ending),
        spendable_until=last if at_once else expires_at(ends_at, rollover_months=rollover_months),
        kept_credits=sum(s.remaining for s in sources) - sum(ending),
    )


def cancel_at_period_end(stripe_subscription_id: str, *, feedback: str, comment: str, key: str) -> None:
    """Ask Stripe to end a subscription when its period ends; one that ends already is left alone.

    A planned change of plan is given up first, because Stripe lets nobody cancel a subscription that a schedule
    manages. Raises errors.StripeError.
    """
    fresh = gateway.retrieve_subscription(stripe_subscription_id)
    if _ends(fresh):
        return
    if fresh.get("schedule"):
        gateway.release_schedule(_id_of(fresh["schedule"]), idempotency_key=f"{key}:release")
        failpoints.hit("cancel.schedule_released")
    details = {"feedback": feedback, "comment": comment[:MAX_COMMENT]}
    params: Json = {"cancel_at_period_end": True}
    if any(details.values()):
        params["cancellation_details"] = {name: value for name, value in details.items() if value}
    gateway.update_subscription(stripe_subscription_id, params, idempotency_key=key)
    failpoints.hit("cancel.asked")


def cancel_now(stripe_subscription_id: str, *, feedback: str, comment: str, bills_use: bool = False) -> None:
    """End a subscription at Stripe now, without money back; one that has ended already is left alone.

    What it owes is not collected any more; with `bills_use` a last invoice charges what was used beyond the plan.
    Raises errors.StripeError.
    """
    details = {name: value for name, value in (("feedback", feedback), ("comment", comment[:MAX_COMMENT])) if value}
    try:
        params: Json = {"cancellation_details": details} if details else {}
        stripe_life.cancel(stripe_subscription_id, {**params, "invoice_now": True} if bills_use else params)
        failpoints.hit("cancel.now_asked")
    except errors.StripeObjectMissing:
        # That is what Stripe says of one that has ended, too: only a look tells whether it ever was.
        gateway.retrieve_subscription(stripe_subscription_id)


def resume(stripe_subscription_id: str, *, key: str) -> None:
    """Let a subscription go on that was to end; one that goes on already is left alone. Raises errors.StripeError."""
    fresh = gateway.retrieve_subscription(stripe_subscription_id)
    if not _ends(fresh):
        return
    # With flexible billing the Customer Portal sets cancel_at and leaves the flag false: take back what was set.
    params: Json = {"cancel_at_period_end": False} if fresh["cancel_at_period_end"] else {"cancel_at": ""}
    gateway.update_subscription(stripe_subscription_id, params, idempotency_key=key)
    failpoints.hit("resume.asked")


def _ends(stripe_subscription: Json) -> bool:
    return bool(stripe_subscription.get("cancel_at") or stripe_subscription.get("cancel_at_period_end"))


def _id_of(named: Json | str) -> str:
    return str(named["id"]) if isinstance(named, dict) else named
