"""Tables whose rows are never changed or removed: the database itself refuses, whoever asks."""

from __future__ import annotations

from sqlalchemy import DDL, Table, event

SQLITE = (
    "CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} "
    "BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
)
POSTGRESQL_FUNCTION = (
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
)
POSTGRESQL = (
    "CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
)


def statements(table: str, dialect: str) -> list[str]:
    """Return the SQL that makes a table append-only on `sqlite` or `postgresql`."""
    if dialect == "sqlite":
        return [SQLITE.format(table=table, verb=verb) for verb in ("update", "delete")]
    triggers = [POSTGRESQL.format(table=table, verb=verb) for verb in ("update", "delete")]
    return [POSTGRESQL_FUNCTION, *triggers]


def protect(table: Table) -> None:
    """Make `metadata.create_all` protect the table; migrations carry the same statements."""
    for dialect in ("sqlite", "postgresql"):
        for statement in statements(table.name, dialect):
            escaped = statement.replace("%", "%%")  # DDL() fills in %(table)s and the like
            event.listen(table, "after_create", DDL(escaped).execute_if(dialect=dialect))
