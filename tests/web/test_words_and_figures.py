"""Money, credits and days are said exactly, and the same way everywhere."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

import clock
from web import charts, filters


@pytest.mark.parametrize(
    ("cents", "currency", "words"),
    [
        (2000, "usd", "$20.00"),
        (5, "usd", "$0.05"),
        (0, "usd", "$0.00"),
        (123456789, "usd", "$1,234,567.89"),
        (-726, "usd", "\N{MINUS SIGN}$7.26"),
        (-5, "eur", "\N{MINUS SIGN}€0.05"),
        (1999, "EUR", "€19.99"),
        (1500, "jpy", "¥1,500"),
        (1500, "krw", "1,500 KRW"),
        (2000, "chf", "20.00 CHF"),
    ],
)
def test_money_is_said_in_its_currency(cents: int, currency: str, words: str) -> None:
    assert filters.money(cents, currency) == words


@pytest.mark.parametrize(("cents", "words"), [(3000, "$30"), (3050, "$30.50"), (123400, "$1,234"), (0, "$0")])
def test_whole_amounts_are_said_short_on_request(cents: int, words: str) -> None:
    assert filters.money(cents, "usd", trim=True) == words


@pytest.mark.parametrize(
    ("cents", "currency", "words"),
    [
        (100.0, "usd", "$1.00"),
        (66.67, "usd", "$0.67"),
        (2.0, "usd", "$0.02"),
        (0.25, "usd", "$0.0025"),
        (20.4, "jpy", "¥20"),
    ],
)
def test_the_price_of_one_of_many_keeps_fractions_that_matter(cents: float, currency: str, words: str) -> None:
    assert filters.per_unit(cents, currency) == words


def test_one_credit_is_no_credits() -> None:
    assert [filters.credits(n) for n in (0, 1, 2, 2500)] == ["0 credits", "1 credit", "2 credits", "2,500 credits"]


def test_a_change_shows_its_direction() -> None:
    assert [filters.signed(n) for n in (30, 0, -2)] == ["+30", "0", "\N{MINUS SIGN}2"]


def test_a_share_of_nothing_is_zero() -> None:
    assert [filters.percent(*pair) for pair in ((3, 8), (1, 3), (0, 0), (8, 8))] == ["38%", "33%", "0%", "100%"]


def test_days_are_said_by_their_distance() -> None:
    now = clock.now()
    found = [filters.in_days(now + timedelta(days=n)) for n in (0, 1, -1, 12, -3)]
    assert found == ["today", "tomorrow", "yesterday", "in 12 days", "3 days ago"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "just now"), (60, "1 minute ago"), (3599, "59 minutes ago"), (3600, "1 hour ago"), (86400 * 2, "2 days ago")],
)
def test_recent_moments_are_said_by_their_distance(seconds: int, words: str) -> None:
    assert filters.ago(clock.now() - timedelta(seconds=seconds)) == words


def test_old_moments_are_said_by_their_day() -> None:
    moment = clock.now() - timedelta(days=40)
    assert filters.ago(moment) == filters.day(moment)


def test_days_and_moments_in_words() -> None:
    moment = datetime(2026, 12, 1, 9, 5, tzinfo=UTC)
    assert filters.day(moment) == "1 December 2026"
    assert filters.short_day(moment) == "1 Dec"
    assert filters.weekday(moment) == "Tuesday 1 December"
    assert filters.moment(moment) == "1 December 2026, 09:05 UTC"


def test_a_state_of_stripe_that_nobody_knows_yet_is_said_in_its_own_word() -> None:
    assert filters.status_word("newly_invented") == "Newly invented"
    assert filters.status_tone("newly_invented") == "neutral"


def test_bars_stand_side_by_side_within_their_box() -> None:
    bars = charts.bars([0, 1, 4, 400])
    assert [b.height for b in bars] == [0, charts.LEAST_HEIGHT, charts.LEAST_HEIGHT, 100]
    assert all(left.x + left.width < right.x for left, right in itertools.pairwise(bars))
    assert all(b.x >= 0 and b.x + b.width <= 100 and b.y + b.height == pytest.approx(100) for b in bars)


def test_an_empty_chart_has_no_shapes() -> None:
    assert charts.bars([]) == []
    assert charts.area([]) == ("", "")
    assert charts.bars([0, 0])[0].height == 0


def test_an_area_ends_on_the_ground() -> None:
    line, area = charts.area([2, 4])
    assert line == "M0.0 50.0 L100.0 0.0"
    assert area == f"{line} L100.0 100 L0 100 Z"


def test_the_parts_of_a_meter_lie_end_to_end() -> None:
    first, second = charts.segments([30, 20], whole=100)
    assert (first.x, first.width, second.x, second.width) == (0, 30, 30, 20)
    assert charts.segments([150], whole=100)[0].width == 100
