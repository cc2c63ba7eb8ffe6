"""The statements of every spend, put together once: composing SQL anew each time costs as much as running it.

They are SQLAlchemy's own statements, in the transaction of its connection and with its errors, but run on a cursor of
the driver: what SQLAlchemy does around each costs five times as much as SQLite itself. So its events of statements do
not tell of them. `bench/ledger_spend.py` shows what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Integer, literal_column
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

import database

# Written into a statement, where it would otherwise be sent with it each time.
ONE = literal_column("1", Integer)
Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one driver wants it: its text, and its parameters in order with what makes each fit to send.

    `results` makes what the driver returns the values that the columns of a row stand for.
    """

    sql: str
    names: tuple[str, ...]
    processors: tuple[Processor | None, ...]
    fixed: Mapping[str, Any]
    is_positional: bool
    results: tuple[Processor | None, ...]

    def values(self, given: Mapping[str, Any]) -> Any:
        known = {**self.fixed, **given} if self.fixed else given
        sent = [
            known[name] if process is None else process(known[name])
            for name, process in zip(self.names, self.processors, strict=True)
        ]
        return tuple(sent) if self.is_positional else dict(zip(self.names, sent, strict=True))


class Prepared:
    """A statement, or one for each database, that is compiled on first use and kept.

    `columns` are those that an INSERT fills; other statements name their parameters themselves.
    """

    def __init__(self, statement: ClauseElement | Mapping[str, ClauseElement], columns: Sequence[str] = ()) -> None:
        self._statement = statement
        self._columns = columns
        self._forms: dict[str, _Form] = {}

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Run a statement that returns one row at most, and return the row."""
        rows, _ = self._run(connection, parameters)
        if not rows:
            return None
        results = self._forms[connection.dialect.name].results
        pairs = zip(rows[0], results, strict=True)
        return tuple(value if process is None else process(value) for value, process in pairs)

    def change(self, connection: Connection, parameters: Mapping[str, Any]) -> int:
        """Run a statement that returns no rows, and return how many it changed."""
        return self._run(connection, parameters)[1]

    def ready(self, dialect: Dialect, parameters: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the statement's text and parameters as the driver takes them."""
        form = self._forms.get(dialect.name) or self._compile(dialect)
        return form.sql, form.values(parameters)

    def _run(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Sequence[Any], int]:
        sql, values = self.ready(connection.dialect, parameters)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else (), cursor.rowcount
        except connection.dialect.loaded_dbapi.Error as error:
            raise database.translated(error, connection, sql) from error
        finally:
            cursor.close()  # one that is left open would keep SQLite's file open too

    def _compile(self, dialect: Dialect) -> _Form:
        statement = self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect, column_keys=list(self._columns) or None))
        types = {name: bind.type for bind, name in compiled.bind_names.items()}
        names = tuple(compiled.positiontup or types)
        returned = getattr(statement, "exported_columns", ())
        form = _Form(
            sql=compiled.string,
            names=names,
            processors=tuple(types[name].dialect_impl(dialect).bind_processor(dialect) for name in names),
            fixed={name: value for name, value in compiled.params.items() if value is not None},
            is_positional=compiled.positional,
            results=tuple(column.type.dialect_impl(dialect).result_processor(dialect, None) for column in returned),
        )
        self._forms[dialect.name] = form
        return form
