"""Throw-away databases: a migrated SQLite file to copy, or a database of its own on a PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from extensions import Base

# Where Debian's PostgreSQL listens, for whoever has no TEST_DATABASE_URL set.
LOCAL = ("postgresql:///postgres", "postgresql://postgres@127.0.0.1:5432/postgres")


def find_postgresql() -> str | None:
    """Return the address of a server that answers and may create databases; None when there is none."""
    candidates = (os.environ["TEST_DATABASE_URL"],) if os.environ.get("TEST_DATABASE_URL") else LOCAL
    return next((url for url in candidates if _may_create(url)), None)


def _may_create(url: str) -> bool:
    engine = sa.create_engine(url, connect_args={"connect_timeout": 2})
    try:
        with engine.connect() as connection:
            role = connection.execute(
                sa.text("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            )
            return bool(role.scalar())
    except sa.exc.SQLAlchemyError:
        return False
    finally:
        engine.dispose()


class SqliteFile:
    """A SQLite database that goes back to its migrated, empty state by copying a file."""

    def __init__(self, folder: Path) -> None:
        self.path, self.template = folder / "test.db", folder / "template.db"
        self.url = f"sqlite:///{self.path}"

    def remember(self, engine: sa.Engine) -> None:
        """Take the present content as the state to go back to."""
        engine.dispose()  # the last connection to close writes the WAL back into the file
        sa.event.listen(engine, "connect", _reverse_unordered_rows)
        shutil.copyfile(self.path, self.template)

    def restore(self, engine: sa.Engine) -> None:
        """Go back to the remembered state."""
        engine.dispose()
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(self.template, self.path)

    def drop(self) -> None:
        """Leave the file to the temporary folder it is in."""


def _reverse_unordered_rows(connection: sqlite3.Connection, _record: object) -> None:
    # Who asks in no order gets the other one than they are used to, as PostgreSQL gives now and then.
    connection.execute("PRAGMA reverse_unordered_selects=ON")


class PostgresqlDatabase:
    """A database of its own on a server; tables are emptied where no trigger fires, because some are append-only."""

    def __init__(self, server: str) -> None:
        self.server, self.name = server, f"tollgate_test_{secrets.token_hex(4)}"
        self._on_server(f'CREATE DATABASE "{self.name}"')
        # Nothing here has to survive a power cut.
        self._on_server(f'ALTER DATABASE "{self.name}" SET synchronous_commit = off')
        self.url = make_url(server).set(database=self.name).render_as_string(hide_password=False)

    def remember(self, engine: sa.Engine) -> None:
        """Nothing to remember: the empty, migrated state is the one to go back to."""

    def restore(self, engine: sa.Engine) -> None:
        """Empty every table that is not empty, and count its rows from 1 again.

        TRUNCATE makes new files for every table and index, which takes longer than most tests; it is for roles that may
        not put triggers aside.
        """
        tables = Base.metadata.sorted_tables
        if not self._is_superuser(engine):
            names = ", ".join(f'"{table.name}"' for table in tables)
            with engine.begin() as connection:
                connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
            return
        looks = [
            sa.select(sa.literal(table.name)).where(sa.exists(sa.select(sa.text("1")).select_from(table)))
            for table in tables
        ]
        with engine.begin() as connection:
            used = set(connection.scalars(sa.union_all(*looks)))
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            for table in tables:
                if table.name in used:
                    connection.execute(sa.delete(table))
            for name, column in self._counted(used):
                connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(name, column), 1, False)))

    @staticmethod
    def _is_superuser(engine: sa.Engine) -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("SELECT current_setting('is_superuser') = 'on'")))

    def _counted(self, names: set[str]) -> list[tuple[str, str]]:
        """Return the tables, of those named, whose single key counts by itself, with the key's name."""
        tables = [table for table in Base.metadata.sorted_tables if table.name in names]
        return [
            (table.name, table.autoincrement_column.name) for table in tables if table.autoincrement_column is not None
        ]

    def drop(self) -> None:
        """Remove the database, whoever is still connected."""
        self._on_server(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def _on_server(self, statement: str) -> None:
        engine = sa.create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()
