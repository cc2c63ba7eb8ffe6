"""Tables whose rows are never changed or removed: the database itself refuses, whoever asks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.engine import Connection

VERBS = ("update", "delete")
SQLITE = (
    "CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} "
    "BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
)
POSTGRESQL_FUNCTION = (
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only'; END $$"
)
POSTGRESQL = (
    "CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
)


def statements(table: str, dialect: str) -> list[str]:
    """Return the SQL that makes a table append-only on `sqlite` or `postgresql`."""
    if dialect == "sqlite":
        return [SQLITE.format(table=table, verb=verb) for verb in VERBS]
    return [POSTGRESQL_FUNCTION, *(POSTGRESQL.format(table=table, verb=verb) for verb in VERBS)]


def protect(table: Table) -> None:
    """Make `metadata.create_all` protect the table; migrations carry the same statements."""
    event.listen(table, "after_create", _protect)


def _protect(table: Table, connection: Connection, **_: Any) -> None:
    for statement in statements(table.name, connection.dialect.name):
        connection.exec_driver_sql(statement)
