"""The unit of work: all or nothing, in turn, and never oversold."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

import clock
import database
from accounts.models import Account
from billing.models import Cursor
from extensions import Base, db
from tests.conftest import ROOT


def put(session: Session, name: str, position: int = 0) -> None:
    session.add(Cursor(name=name, position=position, moved_at=clock.now()))


def names() -> set[str]:
    return set(db.session.scalars(sa.select(Cursor.name)))


def test_what_is_written_is_committed_and_returned(context: Flask) -> None:
    assert database.write(lambda session: (put(session, "a"), 7)[1]) == 7
    assert names() == {"a"}


def test_an_exception_undoes_everything(context: Flask) -> None:
    def half(session: Session) -> None:
        put(session, "a")
        session.flush()
        raise LookupError("half-way")

    with pytest.raises(LookupError):
        database.write(half)
    assert names() == set()


def test_reads_after_a_write_see_it(context: Flask) -> None:
    assert names() == set()
    database.write(put, "a")
    assert names() == {"a"}


def test_a_change_in_the_requests_own_session_is_refused(context: Flask) -> None:
    db.session.add(Account(name="stray"))
    with pytest.raises(RuntimeError, match="read-only"):
        database.write(put, "a")
    db.session.rollback()


def test_a_locked_database_is_tried_again(context: Flask) -> None:
    attempts = []

    def locked_twice(session: Session) -> int:
        attempts.append(1)
        if len(attempts) < 3:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return len(attempts)

    assert database.write(locked_twice) == 3


def test_another_trouble_is_not_tried_again(context: Flask) -> None:
    attempts = []

    def broken(session: Session) -> None:
        attempts.append(1)
        raise OperationalError("UPDATE", {}, Exception("no such table: nowhere"))

    with pytest.raises(DBAPIError):
        database.write(broken)
    assert len(attempts) == 1


def test_connections_that_died_while_idle_are_replaced_unnoticed(
    context: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    monkeypatch.setattr(database, "PING_AFTER_IDLE_SECONDS", 0.0)
    database.write(put, "before")
    others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    server = sa.create_engine(db.engine.url, poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.execute(others)
    database.write(put, "after")
    assert names() == {"before", "after"}


def test_a_write_waits_for_another_process_and_for_no_longer_than_it_writes(context: Flask) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("rows are locked there, not files")
    path = db.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    let_go = threading.Timer(0.1, other.execute, ["ROLLBACK"])
    let_go.start()
    database.write(put, "a")
    let_go.join()
    other.close()
    assert names() == {"a"}


def test_a_hundred_increments_at_once_are_a_hundred(app: Flask) -> None:
    with app.app_context():
        database.write(put, "count")

    def increment(session: Session) -> None:
        row = session.get_one(Cursor, "count", with_for_update=True)
        row.position += 1

    def work(_: int) -> None:
        with app.app_context():
            database.write(increment)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(100)))
    with app.app_context():
        assert db.session.get_one(Cursor, "count").position == 100


def test_a_write_inside_a_write_is_refused_and_leaves_the_way_free(context: Flask) -> None:
    with pytest.raises(RuntimeError, match="pass the session on"):
        database.write(lambda _: database.write(put, "inner"))
    database.write(put, "after")
    assert names() == {"after"}


def test_a_naive_time_is_refused_and_an_aware_one_comes_back_in_utc(context: Flask) -> None:
    with pytest.raises(Exception, match="naive"):
        database.write(lambda s: s.add(Cursor(name="a", position=0, moved_at=datetime(2026, 1, 1))))  # noqa: DTZ001
    moment = clock.now()
    database.write(lambda s: s.add(Cursor(name="a", position=0, moved_at=moment)))
    assert db.session.get_one(Cursor, "a").moved_at == moment


def test_the_migrations_build_what_the_models_say(context: Flask) -> None:
    with db.engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata
        )
    assert differences == []


def test_the_migrations_go_down_to_nothing_and_up_again(context: Flask) -> None:
    folder = str(ROOT / "migrations")
    flask_migrate.downgrade(directory=folder, revision="base")
    assert set(sa.inspect(db.engine).get_table_names()) <= {"alembic_version"}
    flask_migrate.upgrade(directory=folder)
    assert {"users", "wallets", "stripe_events"} <= set(sa.inspect(db.engine).get_table_names())
