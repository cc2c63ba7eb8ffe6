"""Stores that wait for the same disk share a commit, and nothing else: each stands or falls by itself."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

import clock
import database
import failpoints
import group_commit
from billing.models import Cursor
from extensions import db


def putting(name: str, position: int = 0) -> group_commit.Store:
    moment = clock.now().replace(tzinfo=None).isoformat(sep=" ")
    mark = "?" if db.engine.dialect.name == "sqlite" else "%s"
    statement = f"INSERT INTO cursors (name, position, moved_at) VALUES ({mark}, {mark}, {mark})"  # noqa: S608
    return lambda cursor: cursor.execute(statement, (name, position, moment))


def names() -> set[str]:
    return set(db.session.scalars(sa.select(Cursor.name)))


@pytest.fixture
def sqlite_only(context: Flask) -> Flask:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL shares commits among its connections by itself")
    return context


@pytest.fixture
def postgresql_only(context: Flask) -> Flask:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    db.engine.dispose()
    return context


def pool() -> sa.QueuePool:
    assert isinstance(db.engine.pool, sa.QueuePool)
    return db.engine.pool


def used_by(cursor: Any, work: group_commit.Store) -> int:
    """Store something and return the number of the server's process that did it."""
    work(cursor)
    number: int = cursor.connection.info.backend_pid
    return number


def all_at_once(app: Flask, works: list[group_commit.Store]) -> list[BaseException | None]:
    """Let so many threads wait for the turn, and then go; return what each of them met."""

    def work(store: group_commit.Store) -> None:
        with app.app_context():
            group_commit.store(store)

    with ThreadPoolExecutor(len(works)) as pool:
        with database.turn(db.engine):
            waiting: list[Future[None]] = [pool.submit(work, each) for each in works]
            for _ in range(1_000):
                if len(app.extensions["group_commit"]._waiting) == len(works):
                    break
                wait(waiting, timeout=0.01)
        return [each.exception(30) for each in waiting]


def test_what_was_stored_is_committed(context: Flask) -> None:
    group_commit.store(putting("a"))
    with db.engine.connect() as other:
        assert other.scalar(sa.select(Cursor.name)) == "a"


def test_a_failure_is_told_as_sqlalchemy_tells_it_and_leaves_the_way_free(context: Flask) -> None:
    group_commit.store(putting("a"))
    with pytest.raises(IntegrityError):
        group_commit.store(putting("a"))
    group_commit.store(putting("b"))
    database.write(lambda session: session.get_one(Cursor, "b"))
    assert names() == {"a", "b"}


def test_those_who_wait_together_are_committed_together(sqlite_only: Flask) -> None:
    commits: list[str] = []
    failpoints.listen(lambda point: commits.append(point) if point == "database.committed" else None)
    try:
        met = all_at_once(sqlite_only, [putting(str(number)) for number in range(8)])
    finally:
        failpoints.listen(None)
    assert met == [None] * 8
    assert names() == set("01234567")
    assert len(commits) == 1


def test_one_that_fails_does_not_harm_the_others(sqlite_only: Flask) -> None:
    met = all_at_once(sqlite_only, [putting(name) for name in ("a", "b", "twin", "twin", "c")])
    assert sum(isinstance(each, IntegrityError) for each in met) == 1
    assert sum(each is None for each in met) == 4
    assert names() == {"a", "b", "twin", "c"}


def test_one_that_is_broken_does_not_harm_the_others(sqlite_only: Flask) -> None:
    def broken(_cursor: Any) -> None:
        raise KeyError("a bug")

    met = all_at_once(sqlite_only, [putting("a"), broken, putting("b")])
    assert [type(each) for each in met] == [type(None), KeyError, type(None)]
    assert names() == {"a", "b"}


def test_while_another_process_writes_all_are_told_to_come_again(
    sqlite_only: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []
    path = db.engine.url.database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None)
    monkeypatch.setattr(database, "SQLITE_BUSY_TIMEOUT_MS", 50)
    try:
        other.execute("BEGIN IMMEDIATE")
        met = all_at_once(sqlite_only, [putting("a"), attempts.append, putting("b")])
        assert [isinstance(each, OperationalError) for each in met] == [True] * 3
        assert "locked" in str(met[0])
        assert attempts == [], "nobody gets in where the first did not"
        other.execute("ROLLBACK")
        group_commit.store(putting("c"))
    finally:
        other.close()
    assert names() == {"c"}


def test_a_store_inside_a_write_is_refused_and_forgotten(context: Flask) -> None:
    with pytest.raises(RuntimeError, match="pass the session on"):
        database.write(lambda _: group_commit.store(putting("inner")))
    group_commit.store(putting("after"))
    assert names() == {"after"}


def test_webhooks_that_follow_each_other_use_one_connection(postgresql_only: Flask) -> None:
    seen: list[int] = []
    for name in ("a", "b", "c"):
        group_commit.store(lambda cursor, name=name: seen.append(used_by(cursor, putting(name))))  # type: ignore[misc]
    assert len(set(seen)) == 1
    assert names() == {"a", "b", "c"}


def test_of_many_webhooks_at_once_the_pool_gets_most_connections_back(postgresql_only: Flask) -> None:
    together = threading.Barrier(group_commit.MOST_AT_HAND + 2)

    def work(name: str) -> None:
        with postgresql_only.app_context():
            group_commit.store(lambda cursor: (together.wait(30), putting(name)(cursor)))

    with ThreadPoolExecutor(together.parties) as threads:
        list(threads.map(work, map(str, range(together.parties))))
    assert names() == set(map(str, range(together.parties)))
    db.session.rollback()
    assert pool().checkedout() == group_commit.MOST_AT_HAND
    with db.engine.connect() as lent:
        assert lent.connection.driver_connection.autocommit is False, "what comes back begins transactions again"  # type: ignore[union-attr]


def test_a_connection_that_died_is_forgotten(postgresql_only: Flask) -> None:
    with pytest.raises(DBAPIError):
        group_commit.store(lambda cursor: cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
    group_commit.store(putting("after"))
    assert names() == {"after"}


def test_a_connection_that_died_in_a_pause_costs_no_webhook(postgresql_only: Flask) -> None:
    seen: list[int] = []
    group_commit.store(lambda cursor: seen.append(used_by(cursor, putting("before"))))
    with db.engine.connect() as other:
        other.execute(sa.select(sa.func.pg_terminate_backend(seen[0])))
    for lent in postgresql_only.extensions["group_commit"]._at_hand:
        lent.used_at -= database.PING_AFTER_IDLE_SECONDS
    group_commit.store(putting("after"))
    assert names() == {"before", "after"}


def test_no_connection_is_kept_when_the_engine_lets_go_of_all(postgresql_only: Flask) -> None:
    group_commit.store(putting("a"))
    db.engine.dispose()  # as before a fork, whose two sides may share none
    assert not postgresql_only.extensions["group_commit"]._at_hand
    group_commit.store(putting("b"))
    assert names() == {"a", "b"}
