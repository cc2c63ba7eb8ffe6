"""Working hours: when an answer is due that was promised in hours or days of work. Pure; all times are UTC.

Work is done from Monday to Friday between two full hours; holidays are not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SATURDAY = 5


@dataclass(frozen=True)
class Desk:
    """When somebody is there, in hours of the day in UTC, and how soon an answer is promised."""

    opens_hour: int
    closes_hour: int
    priority_hours: int
    days: int

    @property
    def working_day(self) -> timedelta:
        """How long a day of work is."""
        return timedelta(hours=self.closes_hour - self.opens_hour)


def due_at(asked_at: datetime, desk: Desk, *, is_priority: bool) -> datetime:
    """Return by when an answer is promised: so many working hours with priority, else so many working days."""
    work = timedelta(hours=desk.priority_hours) if is_priority else desk.days * desk.working_day
    return after(asked_at, work, desk)


def after(start: datetime, work: timedelta, desk: Desk) -> datetime:
    """Return when this much working time has passed; what begins outside of it begins with the next working day.

    The answer is never before the day begins, and a day filled to the end is due at its end, not the next morning.
    """
    at = _open_from(start.astimezone(UTC), desk)
    while work > (left := _hour_of(at, desk.closes_hour) - at):
        work -= left
        at = _open_from(at + left, desk)
    return at + work


def _open_from(at: datetime, desk: Desk) -> datetime:
    """Return the first moment from here on at which somebody is there."""
    while at.weekday() >= SATURDAY or at >= _hour_of(at, desk.closes_hour):
        at = _hour_of(at, 24)
    return max(at, _hour_of(at, desk.opens_hour))


def _hour_of(day: datetime, hour: int) -> datetime:
    return day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)
