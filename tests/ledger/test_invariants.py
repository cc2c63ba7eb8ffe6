"""Every rule of the ledger fires when it is broken, and only then; and the database itself refuses the worst."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import Column, Integer, MetaData, Table, insert, inspect, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import clock as app_clock
from database import write
from extensions import Base, db
from ledger import append_only, clawback, freezing, granting, holds, invariants, spending
from ledger.models import entries, transactions
from tests.ledger.conftest import found_violations

# What is damaged behind the ledger's back, and the rules that must notice.
FAULTS = {
    "a balance that nothing explains": ("UPDATE wallets SET balance = balance + 1", {"I1", "I2", "T2"}),
    "credits that vanish from a bucket": ("UPDATE buckets SET remaining = remaining - 1 WHERE id = 1", {"I2", "I6"}),
    "held credits that no hold holds": ("UPDATE wallets SET held = held + 1", {"I3"}),
    "a hold that is settled without a transaction": ("UPDATE holds SET status = 'released'", {"I3"}),
    "a debt that nothing explains": ("UPDATE wallets SET debt = debt + 1", {"I4"}),
    "an entry without its other side": (
        "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) VALUES (1, 9, 'consumed', 1, 5)",
        {"I5"},
    ),
    "credits moved between buckets": (
        "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) "
        "VALUES (1, 8, 'available', 1, -1), (1, 9, 'available', 2, 1)",
        {"I6"},
    ),
    "a claw-back without a transaction": ("UPDATE buckets SET clawed = clawed + 1 WHERE id = 2", {"I9"}),
    "an expiry without a transaction": ("UPDATE buckets SET expired = expired + 1 WHERE id = 1", {"B1"}),
    "a bucket that overflows when its hold returns": ("UPDATE buckets SET granted = granted - 2 WHERE id = 1", {"B2"}),
    "a hold with fewer credits than its lines": ("UPDATE holds SET credits = credits - 1", {"H1"}),
    "a transaction that tells something else than its entries": (
        "INSERT INTO ledger_transactions (account_id, kind, credits, debt, used, balance_after, reason, at) "
        "SELECT account_id, 'spend', -1, 0, 1, balance, '', opened_at FROM wallets",
        {"T1"},
    ),
    "a wallet that would look for expiry too late": ("UPDATE wallets SET next_expiry_at = NULL", {"W1"}),
    "a wallet that thawed although a cause stands": ("UPDATE wallets SET frozen_reason = NULL", {"W2"}),
}


@pytest.fixture
def eventful(account: int) -> int:
    """An account with credits, one bucket refunded, an open hold, a debt and a freeze."""
    until = app_clock.now() + timedelta(days=30)
    write(granting.grant, account, 10, kind="plan", source="invoice:1", expires_at=until)
    write(granting.grant, account, 20, kind="purchase", source="charge:1")
    write(spending.spend, account, 1, idempotency_key="a", reason="CV check")
    write(holds.reserve, account, 2, idempotency_key="b", reason="CV check", lease=timedelta(hours=1))
    write(clawback.claw_to, account, "charge:1", 5, version=1)
    write(freezing.freeze, account, "dispute:1", reason="a payment is disputed")
    return account


class Undone(Exception):
    """Rolls a damage back."""


def rules_that_notice(*damage: str) -> set[str]:
    noticed: list[str] = []

    def break_it(session: Session) -> None:
        for statement in damage:
            session.execute(text(statement))
        noticed.extend(invariants.violations(session))
        raise Undone

    with pytest.raises(Undone):
        write(break_it)
    return {sentence.split()[0] for sentence in noticed}


def test_a_sound_ledger_has_no_violations(eventful: int) -> None:
    assert found_violations() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_behind_the_ledgers_back_is_noticed(eventful: int, fault: str) -> None:
    damage, expected = FAULTS[fault]
    assert expected <= rules_that_notice(damage)
    assert found_violations() == []


@pytest.fixture
def without_checks(context: Flask) -> Iterator[list[str]]:
    """Statements that make the database forget its CHECK constraints until the transaction ends."""
    if db.engine.dialect.name == "sqlite":
        yield ["PRAGMA ignore_check_constraints = ON"]
        db.engine.dispose()
        return
    checks = [
        f"ALTER TABLE {table} DROP CONSTRAINT {check['name']}"
        for table in ("wallets", "buckets")
        for check in inspect(db.engine).get_check_constraints(table)
    ]
    yield checks


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("UPDATE wallets SET debt = -1", "I7"),
        ("UPDATE buckets SET remaining = -1 WHERE id = 1", "B3"),
        ("UPDATE buckets SET clawed = granted + 1 WHERE id = 1", "B4"),
    ],
)
def test_numbers_out_of_range_are_noticed_even_without_constraints(
    eventful: int, without_checks: list[str], damage: str, rule: str
) -> None:
    assert rule in rules_that_notice(*without_checks, damage)


def test_a_missing_trigger_is_noticed(eventful: int) -> None:
    where = "" if db.engine.dialect.name == "sqlite" else " ON ledger_entries"
    assert rules_that_notice(f"DROP TRIGGER ledger_entries_never_update{where}") == {"I18"}


@pytest.mark.parametrize("table", ["ledger_entries", "ledger_transactions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = 0", "DELETE FROM {}"])
def test_the_journal_cannot_be_rewritten(eventful: int, table: str, change: str) -> None:
    column = "amount" if table == "ledger_entries" else "credits"
    with pytest.raises(DBAPIError, match="append-only"):
        write(lambda session: session.execute(text(change.format(table, column))))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallets SET balance = -1",
        "UPDATE wallets SET held = -1",
        "UPDATE wallets SET debt = -1",
        "UPDATE buckets SET remaining = -1",
        "UPDATE buckets SET remaining = granted + 1",
        "UPDATE buckets SET clawed = granted + 1",
        "UPDATE buckets SET kind = 'gold'",
        "UPDATE holds SET captured = credits + 1",
        "INSERT INTO ledger_entries (transaction_id, line, book, amount) VALUES (1, 9, 'consumed', 0)",
        "INSERT INTO ledger_entries (transaction_id, line, book, amount) VALUES (1, 9, 'pocket', 1)",
        "INSERT INTO ledger_entries (transaction_id, line, book, amount) VALUES (999, 1, 'consumed', 1)",
    ],
)
def test_the_database_refuses_impossible_credits(eventful: int, change: str) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)constraint"):
        write(lambda session: session.execute(text(change)))


def test_tables_made_without_migrations_are_protected_too(context: Flask) -> None:
    """`metadata.create_all` and the migration make the same triggers."""
    dialect = db.engine.dialect.name

    def make_anew(session: Session) -> None:
        connection = session.connection()
        names = [f"{table.name}_never_{verb}" for table in (transactions, entries) for verb in append_only.VERBS]
        migrated = _triggers(connection.engine.dialect.name, session)
        for table in (transactions, entries):
            for verb in append_only.VERBS:
                on = "" if dialect == "sqlite" else f" ON {table.name}"
                session.execute(text(f"DROP TRIGGER {table.name}_never_{verb}{on}"))
            append_only._protect(table, connection)
        assert sorted(migrated) == sorted(names)
        assert _triggers(dialect, session) == migrated
        raise Undone

    with pytest.raises(Undone):
        write(make_anew)
    assert {transactions, entries} <= set(Base.metadata.sorted_tables)


def test_a_protected_table_refuses_changes_from_the_moment_it_is_made(context: Flask) -> None:
    diary = Table("diary", MetaData(), Column("page", Integer))
    append_only.protect(diary)

    def write_and_rewrite(session: Session) -> None:
        diary.metadata.create_all(session.connection())
        session.execute(insert(diary).values(page=1))
        session.execute(update(diary).values(page=2))

    with pytest.raises(DBAPIError, match="diary is append-only"):
        write(write_and_rewrite)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_database_has_a_trigger_for_each_way_of_rewriting(account: int, dialect: str) -> None:
    made = " ".join(append_only.statements("ledger_entries", dialect))
    for verb in ("update", "delete"):
        assert f"CREATE TRIGGER ledger_entries_never_{verb} BEFORE {verb} ON ledger_entries" in made


def _triggers(dialect: str, session: Session) -> dict[str, str]:
    if dialect == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ledger%'"
    else:
        query = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'ledger%'"
    return {row[0]: row[1] for row in session.execute(text(query))}
