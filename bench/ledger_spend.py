"""What a spend costs above its own SQL, and whether it costs more as the ledger grows.

The bare side is the very same statements with the very same parameters, recorded from a ledger in the same state and
sent through the database driver in transactions of the same shape. Both sides take turns in one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from statistics import median
from typing import Any, NamedTuple
from unittest import mock

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

import clock
import database
from extensions import db
from ledger import granting, invariants, spending
from prepared import Form
from proofs.throwaway import ENGINES, Laboratory, available, laboratory

Row = dict[str, object]
Statement = tuple[str, Any]


class Cost(NamedTuple):
    """What a chunk of spends took: on the clock, and of this process's processor time, which others do not lengthen."""

    seconds: float
    cpu_seconds: float


Turn = tuple[Cost, Cost]

# Small turns, and the median of their ratios: what else the machine does meanwhile hits both sides alike or drops out.
CHUNK = 10
WARM_UP = 5
CREDITS = 1_000_000
ACCOUNTS = 100
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
PLACES = {False: " in memory", True: " on disk"}


def run(quick: bool) -> Iterator[Row]:
    """Measure on every database that answers here."""
    rounds, entries = (20, 100_000) if quick else (200, 1_000_000)
    for engine in filter(available, ENGINES):
        yield against_the_driver(engine, rounds)
        if engine == "sqlite":
            yield against_the_driver(engine, min(rounds, 50), on_disk=True)
        yield from against_an_empty_ledger(engine, entries, rounds)


def against_the_driver(engine: str, rounds: int, *, on_disk: bool = False) -> Row:
    """Compare spends with their own statements, recorded and replayed.

    SQLite's file is in memory, where a spend is nothing but processor time, or on the disk that a real one waits for.
    """
    with ExitStack() as stack:
        model, ours, bare = (stack.enter_context(laboratory(engine, on_disk=on_disk)) for _ in range(3))
        accounts = {id(place): _open_account(place) for place in (model, ours, bare)}
        numbers = count()
        replay = stack.enter_context(_driver(bare))
        turns: list[Turn] = []
        for round_ in range(rounds + WARM_UP):
            keys = [f"spend {next(numbers)}" for _ in range(CHUNK)]
            recorded = _record(model, accounts[id(model)], keys)
            turns.append(
                _take_turns(
                    lambda keys=keys: _spend(ours, accounts[id(ours)], keys),
                    lambda recorded=recorded: replay(recorded),
                    is_first=bool(round_ % 2),
                )
            )
        if _state(ours) != _state(bare):
            raise RuntimeError("the replay did something else than the ledger")
    ours_us, bare_us, ratio, cpu_ratio = _summary(turns)
    return {
        "name": f"spend, {NAMES[engine]}{PLACES[on_disk] if engine == 'sqlite' else ''}",
        "ours": 1e6 / ours_us,
        "bare": 1e6 / bare_us,
        "ratio": 1 / ratio,
        "cpu_ratio": 1 / cpu_ratio,
        "unit": "spends/s",
        "note": f"bare: the same {len(recorded[0])} statements through the driver; medians of {rounds} turns",
    }


def against_an_empty_ledger(engine: str, entries: int, rounds: int) -> list[Row]:
    """Compare spends in a big ledger with spends in an empty one, and time the invariants of the big one."""
    with ExitStack() as stack:
        big, empty = (stack.enter_context(laboratory(engine)) for _ in range(2))
        with big.app.app_context():
            _fill(big, entries)
        accounts = {id(big): 1, id(empty): _open_account(empty)}
        numbers = count()
        turns = []
        for round_ in range(rounds + WARM_UP):
            keys = [f"spend {next(numbers)}" for _ in range(CHUNK)]
            turns.append(
                _take_turns(
                    lambda keys=keys: _spend(big, accounts[id(big)], keys),
                    lambda keys=keys: _spend(empty, accounts[id(empty)], keys),
                    is_first=bool(round_ % 2),
                )
            )
        checked = _cost(lambda: _check(big)).seconds
    big_us, empty_us, ratio, cpu_ratio = _summary(turns)
    return [
        {
            "name": f"spend in {entries:,} entries, {NAMES[engine]}",
            "ours": big_us,
            "bare": empty_us,
            "ratio": ratio,
            "cpu_ratio": cpu_ratio,
            "unit": "us/spend",
            "note": f"bare: the same in an empty ledger; a ratio of 1 is no growth; medians of {rounds} turns",
        },
        {
            "name": f"all invariants of {entries:,} entries, {NAMES[engine]}",
            "ours": checked,
            "bare": None,
            "ratio": None,
            "unit": "s",
            "note": "no violation found",
        },
    ]


def _take_turns(ours: Callable[[], object], bare: Callable[[], object], *, is_first: bool) -> Turn:
    if is_first:
        return _cost(ours), _cost(bare)
    cost = _cost(bare)
    return _cost(ours), cost


def _summary(turns: list[Turn]) -> tuple[float, float, float, float]:
    """Return each side's microseconds for a spend, and the ratios of time and of processor time, without the warm-up.

    All of them are medians.
    """
    counted = turns[WARM_UP:]
    ours, bare = (median(turn[side].seconds for turn in counted) / CHUNK * 1e6 for side in (0, 1))
    time_ratio = median(mine.seconds / its.seconds for mine, its in counted)
    return ours, bare, time_ratio, median(mine.cpu_seconds / its.cpu_seconds for mine, its in counted)


def _open_account(place: Laboratory) -> int:
    with place.app.app_context():
        account_id = place.new_account()
        until = clock.now() + timedelta(days=30)
        database.write(granting.grant, account_id, CREDITS, kind="plan", source="invoice:1", expires_at=until)
        database.write(granting.grant, account_id, CREDITS, kind="purchase", source="charge:1")
        return account_id


def _spend(place: Laboratory, account_id: int, keys: list[str]) -> None:
    with place.app.app_context():
        for key in keys:
            database.write(spending.spend, account_id, 1, idempotency_key=key, reason="CV check")


def _record(place: Laboratory, account_id: int, keys: list[str]) -> list[list[Statement]]:
    """Return the statements of each spend as the driver gets them; all of them are prepared ones."""
    spends: list[list[Statement]] = []
    values = Form.values

    def note(form: Form, given: Mapping[str, Any]) -> Any:
        sent = values(form, given)
        spends[-1].append((form.sql, sent))
        return sent

    with mock.patch.object(Form, "values", note):
        for key in keys:
            spends.append([])
            _spend(place, account_id, [key])
    return spends


@contextmanager
def _driver(place: Laboratory) -> Iterator[Callable[[list[list[Statement]]], None]]:
    """Yield a function that sends recorded spends through one plain connection of the driver."""
    with place.app.app_context():
        pooled = db.engine.raw_connection()
    connection: Any = pooled.driver_connection
    if isinstance(connection, psycopg.Connection):
        connection.rollback()

    def replay(spends: list[list[Statement]]) -> None:
        for statements in spends:
            cursor = connection.cursor()
            if not isinstance(connection, psycopg.Connection):  # which begins by itself
                cursor.execute("BEGIN IMMEDIATE")
            for statement, parameters in statements:
                cursor.execute(statement, parameters)
                if cursor.description is not None:
                    cursor.fetchall()
            cursor.close()
            connection.commit()

    yield replay
    pooled.close()


def _state(place: Laboratory) -> list[tuple[Any, ...]]:
    """Return what a ledger ended with; its times are its own."""
    with place.app.app_context(), Session(db.engine) as session:
        wallet = session.execute(text("SELECT balance, held, debt FROM wallets"))
        journal = session.execute(
            text("SELECT COUNT(*), MAX(id), SUM(used), MIN(balance_after) FROM ledger_transactions")
        )
        lines = session.execute(text("SELECT COUNT(*), SUM(amount) FROM ledger_entries WHERE book = 'available'"))
        return [tuple(rows.one()) for rows in (wallet, journal, lines)]


def _fill(place: Laboratory, entries: int) -> None:
    """Make a sound ledger of so many entries: accounts that were granted credits once and spent one at a time."""
    for number in range(ACCOUNTS):
        place.new_account(f"Account {number}")
    per_account = entries // 2 // ACCOUNTS
    values = {
        "accounts": ACCOUNTS,
        "last": per_account * ACCOUNTS - 1,
        "credits": CREDITS,
        "left": CREDITS - per_account + 1,
        "now": clock.now().replace(tzinfo=None).isoformat(sep=" "),
    }
    with db.engine.begin() as connection:
        if place.engine == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in FILLING:
            connection.execute(text(statement), values)
        if place.engine == "postgresql":
            for table in ("buckets", "ledger_transactions"):
                connection.execute(text(f"SELECT setval('{table}_id_seq', (SELECT MAX(id) FROM {table}))"))  # noqa: S608
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_sqlite = place.engine == "sqlite"
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if is_sqlite else "VACUUM ANALYZE")


FILLING = (
    "INSERT INTO wallets (account_id, balance, held, debt, opened_at) "
    "SELECT id, :left, 0, 0, CAST(:now AS TIMESTAMP) FROM accounts",
    "INSERT INTO buckets (id, account_id, kind, priority, source, granted, remaining, expired, clawed, clawed_spent, "
    "clawed_expired, claw_version, granted_at) "
    "SELECT id, id, 'purchase', 2, 'charge:1', :credits, :left, 0, 0, 0, 0, 0, CAST(:now AS TIMESTAMP) FROM accounts",
    "INSERT INTO ledger_transactions (id, account_id, kind, idempotency_key, request_hash, credits, debt, used, "
    "balance_after, reason, at) "
    "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
    "SELECT n + 1, 1 + n % :accounts, CASE WHEN n < :accounts THEN 'grant' ELSE 'spend' END, 'filled:' || n, '', "
    "CASE WHEN n < :accounts THEN :credits ELSE -1 END, 0, CASE WHEN n < :accounts THEN 0 ELSE 1 END, "
    ":credits - n / :accounts, 'CV check', CAST(:now AS TIMESTAMP) FROM numbers",
    "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) "
    "SELECT id, side, CASE WHEN side = 1 THEN CASE WHEN kind = 'grant' THEN 'issued' ELSE 'available' END "
    "ELSE CASE WHEN kind = 'grant' THEN 'available' ELSE 'consumed' END END, account_id, "
    "CASE WHEN side = 1 THEN -ABS(credits) ELSE ABS(credits) END "
    "FROM ledger_transactions, (SELECT 1 AS side UNION ALL SELECT 2) AS sides ORDER BY id, side",
)


def _check(place: Laboratory) -> None:
    with place.app.app_context(), Session(db.engine) as session:
        if invariants.violations(session):
            raise RuntimeError("the filled ledger contradicts itself")


def _cost(work: Callable[[], object]) -> Cost:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - started, time.process_time() - cpu_started)
