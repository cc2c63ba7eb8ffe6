"""End a subscription when its period ends, and take that back; what it will mean is said before.

Nothing here ends a plan at once: what was paid for stays until its last day. The truth about an ending lies at
Stripe, whether it was asked for here, in the Customer Portal, or in Stripe's dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from billing import access, catalog, gateway
from billing.errors import BillingError
from billing.fulfilment import expires_at
from billing.models import Status, Subscription
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
CANCELLABLE = frozenset({Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.UNPAID})


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


def outlook(session: Session, subscription: Subscription) -> Outlook:
    """Return what cancelling at the end of the period will mean; raise NothingToCancel."""
    ends_at = subscription.period_ends_at
    if not may_cancel(subscription) or ends_at is None:
        raise NothingToCancel(subscription.stripe_id)
    sources = statement.balance(session, subscription.account_id).sources
    ending = [s.remaining for s in sources if s.kind in {"plan", "trial"} and not s.source.startswith("plan:free:")]
    current = catalog.current()
    known = subscription.plan_key is not None and subscription.plan_key in {p.key for p in current.plans}
    return Outlook(
        ends_at=ends_at,
        plan=current.plan(str(subscription.plan_key)) if known else access.plan_opened_by(subscription),
        free_plan=current.free_plan,
        plan_credits=sum(ending),
        spendable_until=expires_at(ends_at),
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
    details = {"feedback": feedback, "comment": comment[:MAX_COMMENT]}
    params: Json = {"cancel_at_period_end": True}
    if any(details.values()):
        params["cancellation_details"] = {name: value for name, value in details.items() if value}
    gateway.update_subscription(stripe_subscription_id, params, idempotency_key=key)


def resume(stripe_subscription_id: str, *, key: str) -> None:
    """Let a subscription go on that was to end; one that goes on already is left alone. Raises errors.StripeError."""
    fresh = gateway.retrieve_subscription(stripe_subscription_id)
    if not _ends(fresh):
        return
    # With flexible billing the Customer Portal sets cancel_at and leaves the flag false: take back what was set.
    params: Json = {"cancel_at_period_end": False} if fresh["cancel_at_period_end"] else {"cancel_at": ""}
    gateway.update_subscription(stripe_subscription_id, params, idempotency_key=key)


def _ends(stripe_subscription: Json) -> bool:
    return bool(stripe_subscription.get("cancel_at") or stripe_subscription.get("cancel_at_period_end"))


def _id_of(named: Json | str) -> str:
    return str(named["id"]) if isinstance(named, dict) else named
