"""The statements of every spend, put together once: composing SQL anew each time costs as much as running it.

They are SQLAlchemy's own statements and go through its connection - errors, events and transactions are as ever - but
not through its compiler and its result types. `bench/ledger_spend.py` shows what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.engine import Connection, CursorResult, Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as one driver wants it: its text, and its parameters in order with what makes each fit to send."""

    sql: str
    names: tuple[str, ...]
    processors: tuple[Processor | None, ...]
    fixed: Mapping[str, Any]
    is_positional: bool

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

    def execute(self, connection: Connection, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run the statement; its rows come as the driver gives them."""
        form = self._forms.get(connection.dialect.name) or self._compile(connection.dialect)
        return connection.exec_driver_sql(form.sql, form.values(parameters))

    def _compile(self, dialect: Dialect) -> _Form:
        statement = self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect, column_keys=list(self._columns) or None))
        types = {name: bind.type for bind, name in compiled.bind_names.items()}
        names = tuple(compiled.positiontup or types)
        form = _Form(
            sql=compiled.string,
            names=names,
            processors=tuple(types[name].dialect_impl(dialect).bind_processor(dialect) for name in names),
            fixed={name: value for name, value in compiled.params.items() if value is not None},
            is_positional=compiled.positional,
        )
        self._forms[dialect.name] = form
        return form
