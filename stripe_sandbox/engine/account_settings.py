"""What is set in Stripe's Dashboard and by no API call: how failed payments are retried, and how that ends.

The retries stand for Stripe's Smart Retries, whose moments are chosen by a model and therefore not documented; the
fixed days are those of Stripe's former default schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stripe_sandbox.store import Store

# Days from a failed attempt to the next one; what becomes of the subscription when the last one has failed ("cancel",
# "unpaid" or "past_due"); how many days before a renewal invoice.upcoming is sent (0: never).
DEFAULTS: dict[str, Any] = {"retry_days": [3, 5, 7], "after_retries": "cancel", "upcoming_days": 3}
OUTCOMES = ("cancel", "unpaid", "past_due")


def get(store: Store) -> dict[str, Any]:
    """Return the settings in force."""
    return {**DEFAULTS, **store.setting("billing", {})}


def change(store: Store, **wanted: Any) -> dict[str, Any]:
    """Change some settings; raises ValueError for names and values that there are not."""
    unknown = set(wanted) - set(DEFAULTS)
    if unknown:
        raise ValueError(f"unknown billing settings: {', '.join(sorted(unknown))}; known are {', '.join(DEFAULTS)}")
    if wanted.get("after_retries", "cancel") not in OUTCOMES:
        raise ValueError(f"after_retries must be one of {', '.join(OUTCOMES)}, not {wanted['after_retries']!r}")
    days = wanted.get("retry_days", [])
    if not isinstance(days, list) or not all(isinstance(day, int) and 0 < day <= 60 for day in days):
        raise ValueError(f"retry_days must be a list of days from 1 to 60, not {days!r}")
    if not isinstance(wanted.get("upcoming_days", 0), int) or not 0 <= wanted.get("upcoming_days", 0) <= 60:
        raise ValueError(f"upcoming_days must be a number from 0 to 60, not {wanted['upcoming_days']!r}")
    settings = {**get(store), **wanted}
    store.set_setting("billing", settings)
    return settings
