"""How much of a plan's limits an account uses; whoever makes the things that are limited says how to count them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from billing import access
from billing.catalog import Plan
from billing.errors import LimitReached

UNLIMITED = -1

Counter = Callable[[Session, int], int]

_counters: dict[str, Counter] = {}


def counts(limit: str) -> Callable[[Counter], Counter]:
    """Name the function that counts for a limit: `@limits.counts("projects")` on `count(session, account_id)`."""

    def register(counter: Counter) -> Counter:
        _counters[limit] = counter
        return counter

    return register


def used(session: Session, account_id: int, limit: str) -> int:
    """Return how much of a limit the account uses; raise KeyError when nothing counts it."""
    return _counters[limit](session, account_id)


def allowed(plan: Plan, limit: str) -> int:
    """Return what a plan allows, -1 for any number; a plan that does not name the limit allows none."""
    return plan.limits.get(limit, 0)


def has_room(used_now: int, allowed_in_all: int) -> bool:
    """Tell whether one more fits."""
    return allowed_in_all == UNLIMITED or used_now < allowed_in_all


def ensure_room(session: Session, account_id: int, limit: str) -> None:
    """Raise LimitReached unless one more fits.

    The gate looks before the view runs; two requests may pass it at once. So the transaction that makes the thing asks
    again here, after it has locked the account's row.
    """
    used_now = used(session, account_id, limit)
    allowed_in_all = allowed(access.plan_of(session, account_id), limit)
    if not has_room(used_now, allowed_in_all):
        raise LimitReached(limit, used=used_now, allowed=allowed_in_all)


def exceeded(session: Session, account_id: int, *, now: Plan, then: Plan) -> list[LimitReached]:
    """List what an account uses more of than another plan allows: reasons why it cannot change to it yet."""
    named = [limit for limit in {**now.limits, **then.limits} if limit in _counters]
    uses = [(limit, used(session, account_id, limit), allowed(then, limit)) for limit in named]
    return [
        LimitReached(limit, used=used_now, allowed=allowed_then)
        for limit, used_now, allowed_then in uses
        if allowed_then != UNLIMITED and used_now > allowed_then
    ]
