"""Billing periods: days, weeks, months and years counted from an anchor, in UTC.

Months keep the anchor's day where they have it and end on their last day where they do not: 31 January, 28 February,
31 March (https://docs.stripe.com/billing/subscriptions/billing-cycle).
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox import errors

LAST_MOMENT = 32_503_680_000  # The year 3000: beyond it dates cannot be counted with, and nobody bills.
CLOCK = {"hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
SECONDS = {"day": 86400, "week": 604800}
MONTHS = {"month": 1, "year": 12}


def boundary(anchor: int, interval: str, count: int, number: int) -> int:
    """Return the start of the period that lies `number` periods after (or, negative, before) the anchor."""
    if interval in SECONDS:
        return anchor + number * count * SECONDS[interval]
    return add_months(anchor, MONTHS[interval] * count * number)


def add_months(moment: int, months: int) -> int:
    """Return the same day and time of day `months` later, or the month's last day where that day does not exist."""
    start = datetime.fromtimestamp(moment, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def around(anchor: int, interval: str, count: int, moment: int) -> tuple[int, int]:
    """Return the start and end of the period that contains a moment (a boundary belongs to the period it starts)."""
    if not 0 <= anchor <= LAST_MOMENT or not 0 <= moment <= LAST_MOMENT:
        raise errors.invalid("Invalid timestamp: can be no more than five years in the future")
    if interval in SECONDS:
        number = (moment - anchor) // (count * SECONDS[interval])
    else:
        first, at = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(moment, UTC)
        number = ((at.year - first.year) * 12 + at.month - first.month) // (MONTHS[interval] * count)
        while boundary(anchor, interval, count, number) > moment:
            number -= 1
        while boundary(anchor, interval, count, number + 1) <= moment:
            number += 1
    return boundary(anchor, interval, count, number), boundary(anchor, interval, count, number + 1)


def end_of(start: int, anchor: int, recurring: dict[str, Any]) -> int:
    """Return when the period that starts at `start` ends, for a price's `recurring` hash."""
    return around(anchor, recurring["interval"], recurring["interval_count"], start)[1]


def next_matching(moment: int, config: dict[str, Any]) -> int:
    """Return the first time from a moment on that has a day of the month (and month and time of day, if given)."""
    for name, (low, high) in {"day_of_month": (1, 31), "month": (1, 12), **CLOCK}.items():
        if config.get(name) is not None and not low <= config[name] <= high:
            raise errors.invalid(
                f"Invalid {name}: must be between {low} and {high}.", f"billing_cycle_anchor_config[{name}]"
            )
    if not 0 <= moment <= LAST_MOMENT:
        raise errors.invalid("Invalid timestamp: can be no more than five years in the future")
    start = datetime.fromtimestamp(moment, UTC)
    clock = {name: config.get(name) for name in ("hour", "minute", "second")}
    given = {name: start.__getattribute__(name) if value is None else value for name, value in clock.items()}
    year, month = start.year, config.get("month") or start.month
    while True:
        day = min(config["day_of_month"], calendar.monthrange(year, month)[1])
        found = int(datetime(year, month, day, tzinfo=UTC, **given).timestamp())
        if found >= moment:
            return found
        year, month = (year + 1, month) if config.get("month") else (year + month // 12, month % 12 + 1)
