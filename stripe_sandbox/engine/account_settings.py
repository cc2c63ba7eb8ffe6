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
    settings = {**get(store), **wanted}
    store.set_setting("billing", settings)
    return settings
