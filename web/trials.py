"""How far a trial has come and what happens at its end, in words, for the pages that say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import clock
from billing import catalog
from billing.access import SubscriptionRow
from billing.models import Status, Subscription
from web import filters


@dataclass(frozen=True)
class Trial:
    """How far a trial has come, in days, and what happens at its end."""

    days: int
    days_over: int
    days_left: int
    ends_at: datetime
    outcome: str

    @property
    def words(self) -> str:
        """How much is left: "9 days left"."""
        return "1 day left" if self.days_left == 1 else f"{self.days_left} days left"


def of(subscription: Subscription | SubscriptionRow | None) -> Trial | None:
    """Return how far a running trial has come; None when there is none."""
    if subscription is None or subscription.trial_ends_at is None:
        return None
    ends_at, now = subscription.trial_ends_at, clock.now()
    if subscription.stripe_status != Status.TRIALING or ends_at <= now:
        return None
    days = max(1, (ends_at - subscription.started_at).days)
    left = min(days, _days(now, ends_at))
    return Trial(days, days - left, left, ends_at, _outcome(subscription, ends_at))


def _days(now: datetime, until: datetime) -> int:
    """Count the days that are left, a day that has begun as a whole one."""
    seconds = (until - now).total_seconds()
    return int(-(-seconds // 86400))


def _outcome(subscription: Subscription | SubscriptionRow, ends_at: datetime) -> str:
    free, day = catalog.current().free_plan.name, filters.weekday(ends_at)
    if subscription.cancels_at is not None:
        return f"Nothing is charged: on {day} the trial ends and {free} takes over."
    if subscription.payment_method_id is None:
        return f"No card is on file. Without one {free} takes over on {day}, and nothing is charged."
    key = subscription.price_key
    if subscription.amount_cents is None or key is None or not catalog.current().has_price(key):
        return f"From {day} on your card is charged, until you cancel."
    amount = filters.money(subscription.amount_cents, subscription.currency or catalog.current().currency)
    interval = catalog.current().price(key).interval
    return f"On {day} your card is charged {amount}, and {amount} each {interval} from then on, until you cancel."
