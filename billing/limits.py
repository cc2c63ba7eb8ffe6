"""How much of a plan's limits an account uses; whoever makes the things that are limited says how to count them.

A limit that has a meter of its name is counted by the period (billing/usage.py); every other one by a function that is
registered for it, as things that are there at the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing import access, catalog, usage_standing
from billing.catalog import Plan
from billing.errors import LimitReached, UsageCapReached

UNLIMITED = -1

Counter = Callable[[Session, int], int]

_counters: dict[str, Counter] = {}


@dataclass(frozen=True)
class Room:
    """How much of a limit is used, and how much may be in all; -1 is any number."""

    limit: str
    used: int
    allowed: int
    is_capped: bool = False

    @property
    def refusal(self) -> LimitReached | None:
        """The error that refuses one more; None when it fits."""
        if has_room(self.used, self.allowed):
            return None
        kind = UsageCapReached if self.is_capped else LimitReached
        return kind(self.limit, used=self.used, allowed=self.allowed)


def counts(limit: str) -> Callable[[Counter], Counter]:
    """Name the function that counts for a limit: `@limits.counts("projects")` on `count(session, account_id)`."""

    def register(counter: Counter) -> Counter:
        _counters[limit] = counter
        return counter

    return register


def room(session: Session, account_id: int, limit: str) -> Room:
    """Return how an account stands with a limit; raise KeyError when nothing counts it."""
    if is_metered(limit):
        now = usage_standing.standing(session, account_id, limit)
        return Room(limit, now.used, now.allowed, is_capped=now.has_overage)
    return Room(limit, used(session, account_id, limit), allowed(access.plan_of(session, account_id), limit))


def rooms(session: Session, account_id: int) -> list[Room]:
    """Return how an account stands with every limit of its plan that something counts, but for those with a meter.

    A limit that is named like a feature is left out where the plan lacks the feature.
    """
    plan = access.plan_of(session, account_id)
    named = [limit for limit in plan.limits if limit in _counters and not is_metered(limit) and opens(plan, limit)]
    return [Room(limit, used(session, account_id, limit), plan.limits[limit]) for limit in named]


def used(session: Session, account_id: int, limit: str) -> int:
    """Return how much of a limit the account uses; raise KeyError when nothing counts it."""
    return _counters[limit](session, account_id)


def allowed(plan: Plan, limit: str) -> int:
    """Return what a plan allows, -1 for any number; a plan that does not name the limit allows none."""
    return plan.limits.get(limit, 0)


def opens(plan: Plan, limit: str) -> bool:
    """Tell whether a limit says anything on a plan: not where it counts what comes with a feature that is not there."""
    return limit in plan.features or limit not in {feature.key for feature in catalog.current().features}


def has_room(used_now: int, allowed_in_all: int) -> bool:
    """Tell whether one more fits."""
    return allowed_in_all == UNLIMITED or used_now < allowed_in_all


def is_metered(limit: str) -> bool:
    """Tell whether a limit is counted by the meter of its name."""
    return any(meter.key == limit for meter in catalog.current().meters)


def ensure_room(session: Session, account_id: int, limit: str) -> None:
    """Raise LimitReached unless one more fits.

    The gate looks before the view runs; two requests may pass it at once. So the transaction that makes the thing asks
    again here, after it has locked the account's row.
    """
    refusal = room(session, account_id, limit).refusal
    if refusal is not None:
        raise refusal


def plans_with_room(limit: str, used_now: int, wanted: int = 1) -> list[Plan]:
    """List the plans on sale that include so many more, in the catalogue's order."""
    plans = catalog.current().plans_for_sale
    return [plan for plan in plans if has_room(used_now + wanted - 1, allowed(plan, limit))]


def exceeded(session: Session, account_id: int, *, now: Plan, then: Plan) -> list[LimitReached]:
    """List what an account uses more of than another plan allows: reasons why it cannot change to it yet.

    What a meter counts is no reason: it begins anew with the period.
    """
    named = [limit for limit in {**now.limits, **then.limits} if limit in _counters and not is_metered(limit)]
    uses = [(limit, used(session, account_id, limit), allowed(then, limit)) for limit in named]
    return [
        LimitReached(limit, used=used_now, allowed=allowed_then)
        for limit, used_now, allowed_then in uses
        if allowed_then != UNLIMITED and used_now > allowed_then
    ]
