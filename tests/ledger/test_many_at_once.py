"""Credits under many hands at once: exactly what is there is spent, and each key, source and hold counts once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

import database as unit_of_work
from database import write
from extensions import db
from ledger import granting, holds, spending, statement, wallets
from ledger.errors import LedgerError
from prepared import Prepared
from tests.databases import PostgresqlDatabase, SqliteFile

THREADS = 16


def at_once(app: Flask, calls: list[Callable[[], Any]]) -> list[Any]:
    """Return what each call returned, or the exception it raised."""

    def run(call: Callable[[], Any]) -> Any:
        with app.app_context():
            try:
                return call()
            except Exception as error:
                return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, calls))


def spends(account: int, times: int) -> list[Callable[[], Any]]:
    return [
        lambda key=str(number): write(spending.spend, account, 1, idempotency_key=key, reason="CV check")
        for number in range(times)
    ]


def kinds(results: list[Any]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


def test_four_hundred_spends_of_a_hundred_credits_succeed_a_hundred_times(context: Flask, account: int) -> None:
    for source in range(4):
        write(granting.grant, account, 25, kind="purchase", source=str(source))
    results = at_once(context, spends(account, 400))
    assert kinds(results) == {"Spent": 100, "NotEnoughCredits": 300}
    assert sorted(r.balance for r in results if isinstance(r, spending.Spent)) == list(range(100))
    assert statement.balance(db.session, account).total == 0


def test_one_key_sent_many_times_at_once_is_charged_once(context: Flask, account: int) -> None:
    write(granting.grant, account, 100, kind="purchase", source="charge:1")
    results = at_once(context, spends(account, 1) * 100)
    assert len({result.transaction_id for result in results}) == 1
    assert [result.is_replay for result in results].count(False) == 1
    assert statement.balance(db.session, account).total == 99


def test_one_payment_heard_of_many_times_at_once_is_granted_once(context: Flask, account: int) -> None:
    def grant() -> granting.Granted:
        return write(granting.grant, account, 30, kind="purchase", source="charge:1")

    results = at_once(context, [grant] * 50)
    assert [result.created for result in results].count(True) == 1
    assert statement.balance(db.session, account).total == 30


def test_a_hold_that_many_settle_at_once_ends_once(context: Flask, account: int) -> None:
    write(granting.grant, account, 10, kind="purchase", source="charge:1")
    held = write(holds.reserve, account, 10, idempotency_key="a", reason="CV check", lease=timedelta(hours=1))
    results = at_once(
        context,
        [
            call
            for part in range(1, 11)
            for call in (
                lambda: write(holds.release, held.hold_id),
                lambda part=part: write(holds.capture, held.hold_id, part),
            )
        ],
    )
    assert all(isinstance(result, (holds.Settled, LedgerError)) for result in results)
    settled = [result for result in results if isinstance(result, holds.Settled)]
    assert len({result.transaction_id for result in settled}) == 1
    assert statement.balance(db.session, account).total == 10 - settled[0].captured


def test_two_sweeps_at_once_do_not_wait_for_each_other_for_ever(context: Flask, account: int) -> None:
    write(granting.grant, account, 100, kind="purchase", source="charge:1")
    for number in range(20):
        write(holds.reserve, account, 1, idempotency_key=str(number), reason="CV check", lease=timedelta(0))
    results = at_once(context, [lambda: write(holds.sweep)] * 8)
    assert sum(results) == 20
    assert statement.balance(db.session, account).total == 100


def test_without_its_lock_the_ledger_would_not_stand_this(
    context: Flask, account: int, monkeypatch: pytest.MonkeyPatch, database: SqliteFile | PostgresqlDatabase
) -> None:
    """The lock is BEGIN IMMEDIATE on SQLite and FOR UPDATE on PostgreSQL: both spenders see one credit without it."""
    write(granting.grant, account, 1, kind="purchase", source="charge:1")
    both_have_looked = Barrier(2, timeout=10)
    columns = [wallets.wallets.c[name] for name in ("balance", "debt", "frozen_reason", "next_expiry_at")]
    original = wallets.lock

    def look(session: Session, account_id: int) -> wallets.LockedWallet:
        wallet = original(session, account_id)
        both_have_looked.wait()
        return wallet

    unlocked = select(*columns).where(wallets.wallets.c.account_id == bindparam("account_id"))
    monkeypatch.setattr(wallets, "_LOCK", Prepared(unlocked))
    monkeypatch.setattr(wallets, "lock", look)
    monkeypatch.setattr(unit_of_work, "_write_engine", lambda: db.engine)
    monkeypatch.setattr(unit_of_work, "turn", lambda _engine: nullcontext())
    monkeypatch.setattr(unit_of_work, "TRIES", 1)
    results = at_once(context, spends(account, 2))
    assert kinds(results) in ({"Spent": 1, "OperationalError": 1}, {"Spent": 1, "LedgerCorrupt": 1})
    monkeypatch.undo()
    database.restore(db.engine)
