"""One commit for all who wait: what several threads of a process store at once reaches the disk together.

For the webhooks' door alone, where bursts come through; everything else uses `database.write`. Why this is safe, and
what it is worth, is in docs/adr/0010-webhooks-share-a-commit.md.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

import database
import failpoints
from extensions import db

# How many connections to PostgreSQL a process keeps at hand for webhooks; more are lent by the pool, and go back.
MOST_AT_HAND = 4

# Runs its statements on a cursor of the bare driver.
Store = Callable[[Any], None]


def init_app(app: Flask) -> None:
    """Lay the way on which webhooks reach the app's database."""
    with app.app_context():
        is_sqlite = db.engine.dialect.name == "sqlite"
        app.extensions["group_commit"] = _Queue(db.engine) if is_sqlite else _Connections(db.engine)


def store(work: Store) -> None:
    """Run `work(cursor)` and return once what it stored is committed; raises SQLAlchemy's errors, as `write` does.

    On SQLite it may run in another thread, in one transaction with what other threads store, and again by itself when
    that transaction failed: it may touch nothing but the cursor. On PostgreSQL, whose connections share commits by
    themselves, it must be a single statement, which is committed by itself and without further round trips.
    """
    database.refuse_nesting()
    database.end_reads()
    current_app.extensions["group_commit"].store(work)


@dataclass(slots=True, eq=False)
class _Waiting:
    """What one thread wants stored, and what became of it."""

    work: Store
    is_done: bool = False
    error: Exception | None = None


class _Queue:
    """What is waiting to be stored in one SQLite file; whoever gets the turn stores it for all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Waiting] = deque()

    def store(self, work: Store) -> None:
        """Wait for the turn, and use it for everybody, unless somebody else has done so meanwhile."""
        mine = _Waiting(work)
        self._waiting.append(mine)
        with database.turn(self._engine):
            if not mine.is_done:
                self._store_all(mine)
        if mine.error is not None:
            raise mine.error

    def _store_all(self, mine: _Waiting) -> None:
        batch = [mine]
        while self._waiting:
            other = self._waiting.popleft()
            if other is not mine:
                batch.append(other)
        error = _try_to_store(self._engine, batch)
        # A locked database is no fault of any of them, and has been waited for. Of other troubles one may be the
        # cause, so each stands or falls by itself.
        is_common = error is None or len(batch) == 1 or database.is_retryable(error)
        for each in batch:
            each.error = error if is_common else _try_to_store(self._engine, [each])
            each.is_done = True


def _try_to_store(engine: Engine, batch: list[_Waiting]) -> Exception | None:
    try:
        with _cursor(engine) as cursor:
            database.begin_writing(cursor)
            for each in batch:
                each.work(cursor)
            failpoints.hit("database.committing")
            cursor.execute("COMMIT")
            failpoints.hit("database.committed")
    except Exception as error:
        return error
    return None


@contextmanager
def _cursor(engine: Engine) -> Iterator[Any]:
    """Lend a cursor of the bare driver; its connection goes back to the pool rolled back."""
    pooled = None
    try:
        pooled = engine.raw_connection()
        cursor = pooled.cursor()
        try:
            yield cursor
        finally:
            cursor.close()
    except engine.dialect.loaded_dbapi.Error as error:
        raise _told(error, engine.dialect) from error
    finally:
        if pooled is not None:
            pooled.close()


@dataclass(slots=True, eq=False)
class _Lent:
    """A connection that the pool has lent, in autocommit, with the cursor that all its stores run on."""

    pooled: PoolProxiedConnection
    cursor: Any
    used_at: float


class _Connections:
    """Connections to PostgreSQL that stay at hand between webhooks which follow each other.

    For each webhook the pool would look for a connection, begin a transaction and reset what comes back: together as
    much work as the statement. After a pause the pool has them again, which finds out whether they are lost.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._at_hand: deque[_Lent] = deque()
        event.listen(engine, "engine_disposed", self._close_all)

    def store(self, work: Store) -> None:
        """Run a statement on a connection that is at hand, or on one of the pool's."""
        database.retried(self._store_once, work)

    def _store_once(self, work: Store) -> None:
        dialect, lent = self._engine.dialect, None
        try:
            lent = self._take()
            work(lent.cursor)
        except BaseException as error:
            if lent is not None:
                lent.pooled.invalidate(error)
            if isinstance(error, dialect.loaded_dbapi.Error):
                raise _told(error, dialect) from error
            raise
        lent.used_at = time.monotonic()
        if len(self._at_hand) < MOST_AT_HAND:
            self._at_hand.append(lent)
        else:
            _give_back(lent)

    def _take(self) -> _Lent:
        """Return the connection that was used last, unless that is so long ago that it may be lost."""
        try:
            lent = self._at_hand.pop()
        except IndexError:
            return self._borrow()
        if time.monotonic() - lent.used_at < database.PING_AFTER_IDLE_SECONDS:
            return lent
        _give_back(lent)
        return self._take()

    def _borrow(self) -> _Lent:
        pooled = self._engine.raw_connection()
        driver: Any = pooled.driver_connection
        # psycopg would begin a transaction first, and SQLAlchemy end it later: two waits more for the server.
        driver.autocommit = True
        return _Lent(pooled, driver.cursor(), time.monotonic())

    def _close_all(self, _engine: Engine) -> None:
        while self._at_hand:
            self._at_hand.pop().pooled.invalidate()


def _give_back(lent: _Lent) -> None:
    lent.cursor.close()
    lent.cursor.connection.autocommit = False
    lent.pooled.info[database.IDLE_SINCE] = lent.used_at
    lent.pooled.close()


def _told(error: Any, dialect: Dialect) -> Exception:
    """Return a driver's error as SQLAlchemy tells it."""
    told: Exception = DBAPIError.instance(None, None, error, dialect.loaded_dbapi.Error, dialect=dialect)
    return told
