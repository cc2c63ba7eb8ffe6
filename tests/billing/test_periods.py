"""Months as a calendar has them: anchored to a day, cut short where a month is, and never drifting."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.periods import add_months, end_of_month, months_between


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("anchor", "months", "expected"),
    [
        ("2027-01-15T10:30", 1, "2027-02-15T10:30"),
        ("2027-01-31T10:30", 1, "2027-02-28T10:30"),
        ("2027-01-31T10:30", 2, "2027-03-31T10:30"),
        ("2028-01-31T10:30", 1, "2028-02-29T10:30"),
        ("2027-11-30T00:00", 1, "2027-12-30T00:00"),
        ("2027-12-31T00:00", 2, "2028-02-29T00:00"),
        ("2028-02-29T00:00", 12, "2029-02-28T00:00"),
        ("2028-02-29T00:00", 48, "2032-02-29T00:00"),
        ("2027-03-31T00:00", -1, "2027-02-28T00:00"),
        ("2027-01-15T00:00", -12, "2026-01-15T00:00"),
        ("2027-05-01T00:00", 0, "2027-05-01T00:00"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_last_of_a_shorter_month(anchor: str, months: int, expected: str) -> None:
    assert add_months(at(anchor), months) == at(expected)


@pytest.mark.parametrize("anchor", ["2027-01-15T10:30", "2027-01-31T23:59", "2028-02-29T00:00", "2027-12-01T00:00"])
def test_a_month_has_passed_at_its_very_instant_and_not_before(anchor: str) -> None:
    for months in range(1, 30):
        instant = add_months(at(anchor), months)
        assert months_between(at(anchor), instant) == months
        assert months_between(at(anchor), instant - timedelta(microseconds=1)) == months - 1


def test_no_month_has_passed_before_the_anchor() -> None:
    assert months_between(at("2027-05-10T00:00"), at("2027-05-10T00:00")) == 0
    assert months_between(at("2027-05-10T00:00"), at("2027-01-01T00:00")) == 0


def test_a_card_can_be_charged_until_the_last_day_of_its_month() -> None:
    assert [end_of_month(2028, month) for month in (2, 4, 12)] == [
        date(2028, 2, 29),
        date(2028, 4, 30),
        date(2028, 12, 31),
    ]
