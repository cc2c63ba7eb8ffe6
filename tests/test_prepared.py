"""What is read past SQLAlchemy's own way is what SQLAlchemy would have read, and it fails as it would have failed."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

import database
from accounts.models import Account
from database import BigId, UtcDateTime
from extensions import db
from prepared import Form, Reading
from tests.persons import sign_up


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


KINDS = sa.Table(
    "kinds_of_values",
    sa.MetaData(),
    sa.Column("id", BigId, primary_key=True),
    sa.Column("text", sa.String(20)),
    sa.Column("yes", sa.Boolean),
    sa.Column("instant", UtcDateTime),
    sa.Column("day", sa.Date),
    sa.Column("facts", sa.JSON),
    sa.Column("colour", sa.Enum(Colour, native_enum=False)),
    sa.Column("share", sa.Numeric(20, 12)),
    sa.Column("ratio", sa.Float),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("span", sa.Interval),
)
IN_TOKYO = datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
FULL = {
    "id": 2**40,
    "text": "\u00e9\u4e2d",
    "yes": True,
    "instant": IN_TOKYO,
    "day": date(2026, 11, 22),
    "facts": {"a": [1, None, "b"]},
    "colour": Colour.BLUE,
    "share": Decimal("0.333333333333"),
    "ratio": 0.5,
    "raw": b"\x00\xff",
    "span": timedelta(days=2, seconds=3),
}
EMPTY = dict.fromkeys(FULL) | {"id": 1}


class Named(NamedTuple):
    id: int
    name: str


NAMED = Reading(sa.select(Account.id, Account.name).where(Account.name == sa.bindparam("called")), Named)
BROKEN = Reading(sa.select(sa.column("nothing")).select_from(sa.table("no_such_table")), Named)


@pytest.fixture
def kinds(context: Flask) -> Iterator[None]:
    database.write(lambda session: KINDS.create(session.connection()))
    database.write(lambda session: session.execute(KINDS.insert(), [EMPTY, FULL]))
    yield
    db.session.rollback()
    database.write(lambda session: KINDS.drop(session.connection()))


def same(*values: object) -> tuple[object, ...]:
    return values


@pytest.mark.usefixtures("kinds")
def test_values_of_every_kind_are_those_of_sqlalchemy() -> None:
    everything = sa.select(KINDS).order_by(KINDS.c.id)
    expected = [tuple(row) for row in db.session.execute(everything)]
    found = Reading(everything, same).all(db.session())
    assert found == expected
    assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in expected]
    assert dict(zip(KINDS.c.keys(), found[1], strict=True)) == FULL
    assert found[1][3].tzinfo is UTC  # type: ignore[attr-defined]


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("name", [name for name in FULL if name not in {"facts", "ratio"}])
def test_parameters_of_every_kind_are_sent_as_sqlalchemy_sends_them(name: str) -> None:
    having = Reading(sa.select(KINDS.c.id).where(KINDS.c[name] == sa.bindparam("value")), int)
    assert having.all(db.session(), value=FULL[name]) == [FULL["id"]]


@pytest.mark.usefixtures("kinds")
def test_it_is_asked_anew_each_time_with_what_is_given_then() -> None:
    higher = sa.select(KINDS.c.id).where(KINDS.c.id > sa.bindparam("least")).order_by(KINDS.c.id)
    after = Reading(higher.limit(sa.bindparam("most")), int)
    assert after.all(db.session(), least=0, most=1) == [1]
    assert after.all(db.session(), least=1, most=5) == [FULL["id"]]
    assert after.first(db.session(), least=2**41, most=5) is None
    with pytest.raises(KeyError, match="most"):
        after.first(db.session(), least=0)


def test_a_list_of_any_length_is_refused(context: Flask) -> None:
    listed = Reading(sa.select(Account.id).where(Account.id.in_(sa.bindparam("ids", expanding=True))), int)
    with pytest.raises(TypeError, match="one by one"):
        listed.all(db.session(), ids=[1, 2])


def test_each_database_has_a_form_of_its_own(context: Flask) -> None:
    own = Reading({"sqlite": sa.select(sa.literal("sqlite")), "postgresql": sa.select(sa.literal("postgresql"))}, str)
    assert own.first(db.session()) == db.engine.dialect.name


def test_it_sees_what_its_own_transaction_has_changed_and_nobody_else_does(context: Flask) -> None:
    def change(session: Any) -> list[Named]:
        session.add(Account(name="inside"))
        with db.engine.connect() as other:
            assert other.scalar(sa.select(sa.func.count()).where(Account.name == "inside")) == 0
        return NAMED.all(session, called="inside")

    assert [row.name for row in database.write(change)] == ["inside"]
    assert len(NAMED.all(db.session(), called="inside")) == 1


def test_reads_after_a_write_see_it(context: Flask) -> None:
    assert NAMED.all(db.session(), called="new") == []
    database.write(lambda session: session.add(Account(name="new")))
    assert len(NAMED.all(db.session(), called="new")) == 1


@pytest.mark.parametrize("event", ["before_execute", "before_cursor_execute", "after_cursor_execute", "after_execute"])
def test_whoever_listens_hears_of_it_and_it_returns_the_same(context: Flask, event: str) -> None:
    database.write(lambda session: session.add(Account(name="a")))
    heard: list[object] = []

    def note(*told: object) -> None:
        heard.append(told)

    unheard = NAMED.all(db.session(), called="a")
    assert heard == []
    sa.event.listen(db.engine, event, note)
    try:
        assert NAMED.all(db.session(), called="a") == unheard
    finally:
        sa.event.remove(db.engine, event, note)
    assert len(heard) == 1


@pytest.mark.usefixtures("kinds")
def test_threads_that_come_first_together_all_get_the_values(context: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(sa.select(KINDS.c.instant).where(KINDS.c.id == FULL["id"]), same)
    learn = Form.learn

    def while_another_compiles(form: Form, cursor: Any, dialect: Dialect) -> None:
        learn(form, cursor, dialect)
        reading._prepared._compile(dialect)

    monkeypatch.setattr(Form, "learn", while_another_compiles)
    assert reading.all(db.session()) == [(IN_TOKYO,)]


def test_what_is_heard_is_the_very_statement_that_is_sent_otherwise(context: Flask, app: Flask) -> None:
    heard: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        heard.append((statement, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        NAMED.all(db.session(), called="a")
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    assert heard == [NAMED._prepared.ready(db.engine.dialect, {"called": "a"})]


def failure(ask: Any) -> DBAPIError:
    with pytest.raises(DBAPIError) as met:
        ask()
    db.session.rollback()
    return met.value


def test_the_drivers_errors_are_sqlalchemys(context: Flask) -> None:
    statement = BROKEN._of(db.engine.dialect)
    expected, found = failure(lambda: db.session.execute(statement)), failure(lambda: BROKEN.all(db.session()))
    assert type(found) is type(expected)
    assert isinstance(found, (OperationalError, ProgrammingError))
    assert str(found) == str(expected)
    assert (found.statement, found.hide_parameters) == (expected.statement, expected.hide_parameters)
    assert type(found.orig) is type(expected.orig)
    assert NAMED.all(db.session(), called="a") == []


def test_parameters_are_in_no_message(context: Flask) -> None:
    broken = Reading(
        sa.select(sa.column("nothing"))
        .select_from(sa.table("no_such_table"))
        .where(sa.column("a") == sa.bindparam("s")),
        str,
    )
    assert "secret" not in str(failure(lambda: broken.all(db.session(), s="a secret")))


def test_a_connection_that_died_fails_once_and_takes_the_pools_others_along(
    context: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("a file does not hang up")
    monkeypatch.setattr(database, "PING_AFTER_IDLE_SECONDS", 60)  # they were used a moment ago
    me = sa.select(sa.func.pg_backend_pid())
    with db.engine.connect() as first, db.engine.connect() as second:
        died_too = second.scalar(me)
        first.scalar(me)
    pid = db.session.scalar(me)
    killer = sa.create_engine(db.engine.url)
    with killer.connect() as other:
        for victim in (pid, died_too):
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": victim})
    killer.dispose()
    assert failure(lambda: NAMED.all(db.session(), called="a")).connection_invalidated
    for _ in range(3):  # whichever of the pool comes next
        assert NAMED.all(db.session(), called="a") == []
        db.session.remove()


def test_a_page_recovers_when_the_server_hung_up(app: Flask) -> None:
    ann = sign_up(app)
    assert ann.client.get("/dashboard").status_code == 200
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            pytest.skip("a file does not hang up")
        others = sa.text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :d AND pid <> :p"
        )
        killer = sa.create_engine(db.engine.url)
        with killer.connect() as other:
            mine = other.scalar(sa.select(sa.func.pg_backend_pid()))
            other.execute(others, {"d": db.engine.url.database, "p": mine})
        killer.dispose()
    ann.client.get("/dashboard")  # the one that meets it
    assert ann.client.get("/dashboard").status_code == 200
