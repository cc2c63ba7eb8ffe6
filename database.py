"""How the app speaks to its database: engine set-up, column types, and the one unit of work that may write.

Views read through `db.session`; everything that changes money or state goes through `write`. Why these primitives and
no others is in docs/adr/0002-one-unit-of-work.md.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import BigInteger, DateTime, Dialect, Engine, Integer, TypeDecorator, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

import failpoints
from extensions import Base, db

P = ParamSpec("P")
T = TypeVar("T")

BigId = BigInteger().with_variant(Integer, "sqlite")

TRIES = 8
LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 15_000
SQLITE_BUSY_TIMEOUT_MS = 10_000
SQLITE_LOOK_AGAIN_SECONDS = 0.001
PING_AFTER_IDLE_SECONDS = 1.0
LAST_USED = "last used"
IDLE_SINCE = "idle since"
# Serialization failure, deadlock, lock not available: https://www.postgresql.org/docs/current/errcodes-appendix.html
RETRYABLE_SQLSTATES = {"40001", "40P01", "55P03"}


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware in Python, UTC in the database, whatever the database thinks of time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored: ask clock.now()")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def engine_options(url: str) -> dict[str, Any]:
    """Return SQLAlchemy's engine options for a database address."""
    if url.startswith("sqlite"):
        return {
            "connect_args": {"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000},
            "hide_parameters": True,  # errors are logged, and parameters hold addresses and password hashes
            "pool_size": 20,
            "max_overflow": 20,
        }
    timeouts = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS}"
    return {
        "isolation_level": "READ COMMITTED",
        "hide_parameters": True,
        "connect_args": {"options": timeouts, "connect_timeout": 5},
        "pool_size": 10,
        "max_overflow": 20,
        "pool_timeout": 10,
    }


def prepare(engine: Engine) -> None:
    """Make SQLite durable, concurrent and honest about transactions, and find lost connections to PostgreSQL early."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite_connection)
        event.listen(engine, "begin", _begin_sqlite_transaction)
        return
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ping_after_idling, engine.dialect))


def _note_use(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    # What was kept at hand (group_commit.py) comes back later than it was used.
    record.info[LAST_USED] = record.info.pop(IDLE_SINCE, None) or time.monotonic()


def _ping_after_idling(
    dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    # SQLAlchemy's pool_pre_ping asks before every use, which costs as much as a query of its own. One that answered a
    # moment ago is trusted; the first one found dead after a restart of the server makes the pool forget them all.
    idle = time.monotonic() - record.info.get(LAST_USED, time.monotonic())
    if idle < PING_AFTER_IDLE_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _prepare_sqlite_connection(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # Without this pysqlite begins transactions late, and "lock, then read, then write" is not what it says.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a 200 to Stripe must survive a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite_transaction(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("a transaction begins on a connection that was given back")
    cursor = driver.cursor()
    try:
        if connection.get_execution_options().get("sqlite_begin") == "IMMEDIATE":
            begin_writing(cursor)
        else:
            cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
            cursor.execute("BEGIN DEFERRED")
    except sqlite3.Error as error:
        raise DBAPIError.instance("BEGIN", None, error, sqlite3.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()


def begin_writing(cursor: Any) -> None:
    """Begin a transaction that writes into SQLite, as soon as no other process does.

    SQLite itself makes whoever waits sleep up to 0.1 s between two looks, so that next to a process that writes all
    the time others hardly get in. Raises the driver's OperationalError after SQLITE_BUSY_TIMEOUT_MS.
    """
    cursor.execute("PRAGMA busy_timeout=0")
    give_up_at = time.monotonic() + SQLITE_BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
        else:
            return
        time.sleep(SQLITE_LOOK_AGAIN_SECONDS)


def write(work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work(session, ...)` in one short transaction of its own, commit it, and return what it returned.

    Only views, the worker and the command line call this; the domain takes the session and never commits. `work` may
    run several times (deadlocks, busy databases), so it must do nothing but database work: no network, no password
    hashing, no rendering. Any exception rolls everything back. The request's own session is read-only by rule: its
    read transaction ends here, so that what it reads afterwards includes this write.
    """
    end_reads()
    result = retried(_write_once, lambda session: work(session, *args, **kwargs))
    failpoints.hit("database.committed")
    return result


def _write_once(work: Callable[[Session], T]) -> T:
    engine = _write_engine()
    with turn(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        result = work(session)
        failpoints.hit("database.committing")
        return result


def retried(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a transaction, and run it again while the database says that this may help."""
    for attempt in range(1, TRIES):
        try:
            return work(*args, **kwargs)
        except DBAPIError as error:
            if not is_retryable(error):
                raise
        time.sleep(0.01 * 2**attempt * random.random())  # noqa: S311 - jitter, not a secret
    return work(*args, **kwargs)


def insert(session: Session, table: type[Base]) -> Any:
    """Return an INSERT that knows ON CONFLICT and RETURNING on the database in use."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(table)


def is_retryable(error: Exception) -> bool:
    """Tell whether the same transaction may succeed when it is run again."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if getattr(cause, "sqlstate", None) in RETRYABLE_SQLSTATES:
        return True
    return "database is locked" in str(cause) or "database table is locked" in str(cause)


# SQLite makes whoever waits for its write lock sleep and ask again, longer each time; within one process the threads
# hand it over directly instead. Other processes still wait in SQLite's way.
_sqlite_turn = threading.Lock()


_thread = threading.local()


@contextmanager
def turn(engine: Engine) -> Iterator[None]:
    """Wait until this thread may write; raises RuntimeError when it is writing already."""
    refuse_nesting()
    _thread.is_writing = True
    try:
        with _sqlite_turn if engine.dialect.name == "sqlite" else nullcontext():
            yield
    finally:
        _thread.is_writing = False


def translated(error: Any, connection: Connection, sql: str, values: Any = None) -> Exception:
    """Return a driver's error as SQLAlchemy would raise it; a connection that it ended is used no more."""
    dialect = connection.dialect
    is_lost = dialect.is_disconnect(error, connection.connection.driver_connection, None)
    if is_lost:
        # SQLAlchemy finds it dead as well then, and forgets the others of the pool that are as old.
        with suppress(DBAPIError):
            connection.exec_driver_sql("SELECT 1")
    raised: Exception = DBAPIError.instance(
        sql,
        values,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=connection.engine.hide_parameters,
        connection_invalidated=is_lost,
        dialect=dialect,
    )
    return raised


def refuse_nesting() -> None:
    """Raise RuntimeError when this thread is writing already."""
    if getattr(_thread, "is_writing", False):
        # On SQLite it would wait for itself for ever, on PostgreSQL for the rows that it has locked.
        raise RuntimeError("write() inside write(): pass the session on instead")


_write_engines: WeakKeyDictionary[Engine, Engine] = WeakKeyDictionary()


def _write_engine() -> Engine:
    engine = db.engine
    if engine not in _write_engines:
        _write_engines[engine] = engine.execution_options(sqlite_begin="IMMEDIATE")
    return _write_engines[engine]


def end_reads() -> None:
    """End the request's read transaction: before a write, and before waiting for anybody on the network.

    An open one would keep a connection and its snapshot for as long as the wait. What was read is read again on next
    use. Raises RuntimeError when the request's own session was changed.
    """
    if not db.session.registry.has():
        return  # nothing has been read
    session = db.session
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("the request's session is read-only: make the change inside write()")
    session.rollback()
