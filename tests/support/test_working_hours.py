"""When an answer is due: working time is counted, whatever the hour and the day of the question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import hours
from support.hours import Desk

DESK = Desk(opens_hour=9, closes_hour=17, priority_hours=4, days=2)
ALWAYS = Desk(opens_hour=0, closes_hour=24, priority_hours=4, days=2)


def november(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """The 20th of November 2026 is a Friday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked_at", "with_priority", "without"),
    [
        (november(18, 9), november(18, 13), november(19, 17)),  # as somebody comes in
        (november(18, 10, 30), november(18, 14, 30), november(20, 10, 30)),
        (november(18, 13), november(18, 17), november(20, 13)),  # the day is filled to its end
        (november(18, 15), november(19, 11), november(20, 15)),  # two hours today, two tomorrow
        (november(18, 17), november(19, 13), november(20, 17)),  # as everybody leaves
        (november(18, 3), november(18, 13), november(19, 17)),  # before anybody is there
        (november(20, 16), november(23, 12), november(24, 16)),  # over a weekend
        (november(21, 12), november(23, 13), november(24, 17)),  # on a Saturday
        (november(22, 23, 59), november(23, 13), november(24, 17)),  # on a Sunday
    ],
)
def test_an_answer_is_due_after_so_much_working_time(
    asked_at: datetime, with_priority: datetime, without: datetime
) -> None:
    assert hours.due_at(asked_at, DESK, is_priority=True) == with_priority
    assert hours.due_at(asked_at, DESK, is_priority=False) == without


def test_a_desk_that_never_closes_counts_every_hour_but_those_of_the_weekend() -> None:
    assert hours.due_at(november(18, 22), ALWAYS, is_priority=True) == november(19, 2)
    assert hours.due_at(november(20, 22), ALWAYS, is_priority=True) == november(23, 2)


def test_hours_are_those_of_utc_wherever_the_question_comes_from() -> None:
    in_tokyo = november(18, 9).astimezone(timezone(timedelta(hours=9)))
    assert hours.due_at(in_tokyo, DESK, is_priority=True) == november(18, 13)


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DESKS = st.integers(0, 23).flatmap(
    lambda opens: st.builds(Desk, st.just(opens), st.integers(opens + 1, 24), st.integers(1, 100), st.integers(1, 9))
)


@given(MOMENTS, DESKS, st.booleans())
def test_an_answer_is_due_at_work_and_after_exactly_the_time_promised(
    asked_at: datetime, desk: Desk, is_priority: bool
) -> None:
    due = hours.due_at(asked_at, desk, is_priority=is_priority)
    into_the_day = due - due.replace(hour=0, minute=0, second=0, microsecond=0)
    if desk.closes_hour == 24 and not into_the_day:
        due_on, into_the_day = due - timedelta(days=1), timedelta(hours=24)
    else:
        due_on = due
    assert due_on.weekday() < 5
    assert timedelta(hours=desk.opens_hour) < into_the_day <= timedelta(hours=desk.closes_hour)
    promised = timedelta(hours=desk.priority_hours) if is_priority else desk.days * desk.working_day
    assert worked(asked_at, due, desk) == promised


def worked(start: datetime, end: datetime, desk: Desk) -> timedelta:
    """Add up the working time between two moments, day by day."""
    total, day = timedelta(), start.replace(hour=0, minute=0, second=0, microsecond=0)
    while day < end:
        if day.weekday() < 5:
            opens, closes = (day + timedelta(hours=hour) for hour in (desk.opens_hour, desk.closes_hour))
            total += max(timedelta(), min(end, closes) - max(start, opens))
        day += timedelta(days=1)
    return total
