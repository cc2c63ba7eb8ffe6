"""Whole months from an anchor, as billing counts them: the 31st becomes the last day of a shorter month."""

from __future__ import annotations

import calendar
from datetime import date, datetime


def add_months(anchor: datetime, months: int) -> datetime:
    """Return the instant some months after an anchor, on its day or the last day of a shorter month."""
    years, month_index = divmod(anchor.month - 1 + months, 12)
    year, month = anchor.year + years, month_index + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, calendar.monthrange(year, month)[1]))


def months_between(anchor: datetime, now: datetime) -> int:
    """Return how many whole months have passed since an anchor; at least 0."""
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    if add_months(anchor, months) > now:
        months -= 1
    return max(0, months)


def end_of_month(year: int, month: int) -> date:
    """Return the last day of a month: until then a card can be charged."""
    return date(year, month, calendar.monthrange(year, month)[1])
