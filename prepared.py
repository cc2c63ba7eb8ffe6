"""Statements that are run all the time, put together once: composing SQL anew each time costs as much as running it.

They are SQLAlchemy's own statements, in the transaction of its connection and with its errors, but run on a cursor of
the driver: what SQLAlchemy does around each costs five times as much as SQLite itself. Those of a spend are `Prepared`,
and SQLAlchemy's events of statements do not tell of them; those of pages that everybody looks at are a `Reading`, and
the events do. `bench/ledger_spend.py` and `bench/pages.py` show what that is worth.
See docs/adr/0017-pages-read-rows-and-not-objects.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Engine, Integer, Select, literal_column
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

import database

# Written into a statement, where it would otherwise be sent with it each time.
ONE = literal_column("1", Integer)
Processor = Callable[[Any], Any]
Row = TypeVar("Row")
Query = Select[*tuple[Any, ...]]


@dataclass(slots=True)
class Form:
    """A statement as one driver wants it: its text, and its parameters in order with what makes each fit to send.

    `returned` are the types of what it returns, and `processed` the places in a row where the driver returns something
    else than the value that the column stands for, each with what makes it that; the first answer tells them.
    """

    sql: str
    names: tuple[str, ...]
    processors: tuple[Processor | None, ...]
    fixed: Mapping[str, Any]
    is_positional: bool
    returned: tuple[TypeEngine[Any], ...]
    processed: tuple[tuple[int, Processor], ...] | None = None

    def values(self, given: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them."""
        known = {**self.fixed, **given} if self.fixed else given
        sent = [
            known[name] if process is None else process(known[name])
            for name, process in zip(self.names, self.processors, strict=True)
        ]
        return tuple(sent) if self.is_positional else dict(zip(self.names, sent, strict=True))

    def row(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return a row of the driver's with the values that SQLAlchemy would return."""
        values = list(row)
        for place, process in self.processed or ():
            values[place] = process(values[place])
        return values

    def learn(self, cursor: Any, dialect: Dialect) -> None:
        """Find out what to make of the rows, from what the driver says of their columns."""
        named = zip(self.returned, cursor.description, strict=True)
        found = [kind.dialect_impl(dialect).result_processor(dialect, column[1]) for kind, column in named]
        self.processed = tuple((place, process) for place, process in enumerate(found) if process is not None)


class Prepared:
    """A statement, or one for each database, that is compiled on first use and kept.

    `columns` are those that an INSERT fills; other statements name their parameters themselves.
    """

    def __init__(self, statement: ClauseElement | Mapping[str, ClauseElement], columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = columns
        self._forms: dict[str, Form] = {}

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Run a statement that returns one row at most, and return the row."""
        rows, _ = self._run(connection, parameters)
        return tuple(rows[0]) if rows else None

    def change(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        """Run a statement that returns no rows, and return how many it changed."""
        return self._run(connection, parameters)[1]

    def ready(self, dialect: Dialect, parameters: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the statement's text and parameters as the driver takes them."""
        form = self._form(dialect)
        return form.sql, form.values(parameters)

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run a statement that returns any number of rows, and return them."""
        return list(self._run(connection, parameters)[0])

    def _run(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Sequence[Sequence[Any]], int]:
        dialect = connection.dialect
        form, cursor = self._form(dialect), connection.connection.cursor()
        values = form.values(parameters)
        try:
            cursor.execute(form.sql, values)
            if form.returned and form.processed is None:
                form.learn(cursor, dialect)
            rows = cursor.fetchall() if form.returned else ()
            return [form.row(row) for row in rows] if form.processed else rows, cursor.rowcount
        except dialect.loaded_dbapi.Error as error:
            raise database.translated(error, connection, form.sql, values) from error
        finally:
            cursor.close()  # one that is left open would keep SQLite's file open too

    def _form(self, dialect: Dialect) -> Form:
        # Threads that come first together each compile one; whichever is kept, each goes on with a whole one.
        return self._forms.get(dialect.name) or self._compile(dialect)

    def _compile(self, dialect: Dialect) -> Form:
        statement = self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect, column_keys=list(self._columns) or None))
        if compiled.post_compile_params:
            raise TypeError("a list of any length makes another statement each time: name its values one by one")
        types = {name: bind.type for bind, name in compiled.bind_names.items()}
        names = tuple(compiled.positiontup or types)
        form = Form(
            sql=compiled.string,
            names=names,
            processors=tuple(types[name].dialect_impl(dialect).bind_processor(dialect) for name in names),
            fixed={name: value for name, value in compiled.params.items() if value is not None},
            is_positional=compiled.positional,
            returned=tuple(column.type for column in getattr(statement, "exported_columns", ())),
        )
        self._forms[dialect.name] = form
        return form


class Reading(Generic[Row]):
    """A SELECT that pages run all the time, or one for each database; `row` makes a row of its columns, in their order.

    What it returns are plain values of this moment: nothing loads more, nothing follows the database, and none of it
    belongs to the session.
    """

    def __init__(self, statement: Query | Mapping[str, Query], row: Callable[..., Row]) -> None:
        self._statement = statement
        self._prepared = Prepared(statement)
        self._row = row

    def all(self, session: Session, **parameters: Any) -> list[Row]:
        """Return all rows, in the session's transaction; what it has changed is sent first, as before any query."""
        if session.autoflush:
            session.flush()
        connection = session.connection()
        if _is_heard(connection.engine):
            return [self._row(*values) for values in connection.execute(self._of(connection.dialect), parameters)]
        return [self._row(*values) for values in self._prepared.rows(connection, parameters)]

    def first(self, session: Session, **parameters: Any) -> Row | None:
        """Return the first row, None when there is none."""
        rows = self.all(session, **parameters)
        return rows[0] if rows else None

    def _of(self, dialect: Dialect) -> Query:
        return self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement


def _is_heard(engine: Engine) -> bool:
    """Tell whether somebody - a tracer, a test, SQLAlchemy's log - wants to hear of each statement of an engine."""
    heard = engine.dispatch
    return bool(
        (heard.before_execute or heard.before_cursor_execute or heard.after_cursor_execute or heard.after_execute)
        or (engine.dialect.dispatch.handle_error or engine.echo)
    )
