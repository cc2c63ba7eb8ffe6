"""Why did my balance change: the statement, its filters, its file, and the use per day."""

from __future__ import annotations

from datetime import timedelta
from types import ModuleType

import pytest
from sqlalchemy.dialects import postgresql, sqlite

import clock as app_clock
from database import write
from extensions import db
from ledger import granting, holds, spending, statement
from ledger.statement import DayUsage, Filter
from tests.worlds import Clock


def give(account: int, credits: int, source: str = "pack") -> None:
    write(granting.grant, account, credits, kind="purchase", source=source, note=f"Bought {source}")


def spend(account: int, credits: int, key: str, reason: str = "CV check") -> None:
    write(spending.spend, account, credits, idempotency_key=key, reason=reason)


def test_the_running_balance_follows_from_line_to_line(account: int, other_account: int) -> None:
    give(account, 10)
    give(other_account, 99)
    spend(account, 3, "a")
    held = write(holds.reserve, account, 4, idempotency_key="b", reason="Long check", lease=timedelta(hours=1))
    write(holds.capture, held.hold_id, 1)
    lines = statement.recent(db.session, account)[::-1]
    assert [(line.kind, line.credits, line.balance, line.used) for line in lines] == [
        ("grant", 10, 10, 0),
        ("spend", -3, 7, 3),
        ("hold", -4, 3, 0),
        ("capture", 3, 6, 1),
    ]
    assert all(line.at.tzinfo is not None for line in lines)


def test_a_long_statement_comes_in_pages(account: int) -> None:
    give(account, 10)
    for number in range(4):
        spend(account, 1, str(number))
    first = statement.page(db.session, account, limit=2)
    assert [line.balance for line in first.lines] == [6, 7]
    second = statement.page(db.session, account, limit=2, older_than=first.older_than)
    assert [line.balance for line in second.lines] == [8, 9]
    last = statement.page(db.session, account, limit=2, older_than=second.older_than)
    assert ([line.balance for line in last.lines], last.older_than) == ([10], None)


def test_a_page_that_is_just_full_is_the_last(account: int) -> None:
    give(account, 10)
    spend(account, 1, "a")
    assert statement.page(db.session, account, limit=2).older_than is None


def test_a_statement_can_be_filtered_by_kind_and_time(account: int, clock: Clock, still_time: None) -> None:
    give(account, 10)
    spend(account, 1, "a")
    clock.advance(days=10)
    tenth_day = app_clock.now()
    spend(account, 2, "b")
    clock.advance(days=10)
    twentieth_day = app_clock.now()
    spend(account, 3, "c")

    def wanted(**filters: object) -> list[int]:
        return [line.credits for line in statement.page(db.session, account, Filter(**filters)).lines]

    assert wanted() == [-3, -2, -1, 10]
    assert wanted(kinds=["grant"]) == [10]
    assert wanted(kinds=["spend"], since=tenth_day) == [-3, -2]
    assert wanted(since=tenth_day, until=twentieth_day) == [-2]


def test_the_file_has_every_line_oldest_first_and_runs_nothing(account: int) -> None:
    give(account, 10)
    spend(account, 3, "a", reason="=HYPERLINK(1)")
    rows = list(statement.csv_rows(db.session, account))
    assert rows[0] == ("at", "kind", "reason", "credits", "balance", "debt", "reference")
    assert [row[1:] for row in rows[1:]] == [
        ("grant", "Bought pack", "10", "10", "0", "pack"),
        ("spend", "'=HYPERLINK(1)", "-3", "7", "0", ""),
    ]
    assert rows[1][0].endswith("+00:00")
    assert len(list(statement.csv_rows(db.session, account, Filter(kinds=["spend"])))) == 2


def test_use_is_counted_by_day_with_quiet_days_as_zero(account: int, clock: Clock) -> None:
    start = app_clock.now()
    clock.advance(hours=36 - start.hour - start.minute / 60)  # about noon tomorrow
    give(account, 20)
    spend(account, 1, "a")
    clock.advance(days=2)
    spend(account, 2, "b")
    held = write(holds.reserve, account, 5, idempotency_key="c", reason="Long check", lease=timedelta(hours=1))
    write(holds.capture, held.hold_id, 3)
    today = app_clock.now().date()
    assert statement.daily_usage(db.session, account, days=3) == [
        DayUsage(today - timedelta(days=2), 1),
        DayUsage(today - timedelta(days=1), 0),
        DayUsage(today, 5),
    ]
    assert [day.credits for day in statement.daily_usage(db.session, account, days=1)] == [5]
    assert sum(day.credits for day in statement.daily_usage(db.session, account)) == 6
    assert len(statement.daily_usage(db.session, account)) == 30


def test_what_happens_at_midnight_belongs_to_the_day_that_begins(account: int, clock: Clock, still_time: None) -> None:
    give(account, 10)
    now = app_clock.now()
    left = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now
    clock.advance(seconds=left.seconds, microseconds=left.microseconds)
    spend(account, 3, "a")
    day = app_clock.now().date()
    assert statement.daily_usage(db.session, account, days=1) == [DayUsage(day, 3)]
    shown = statement.daily_balance(db.session(), account, day - timedelta(days=1), day)
    assert [each.credits for each in shown] == [10, 7]
    assert [each.credits for each in statement.daily_balance(db.session(), account, day, day)] == [7]


@pytest.mark.parametrize(("dialect", "words"), [(sqlite, "date("), (postgresql, "timezone(")])
def test_days_are_those_of_utc_on_every_database(account: int, dialect: ModuleType, words: str) -> None:
    expression = statement.utc_day(dialect.dialect().name)
    assert words in str(expression.compile(dialect=dialect.dialect()))


def test_an_account_without_a_wallet_has_an_empty_statement(account: int) -> None:
    assert statement.recent(db.session, account) == []
    assert {day.credits for day in statement.daily_usage(db.session, account)} == {0}
