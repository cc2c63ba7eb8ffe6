"""An app on a database that nobody else uses and that is gone afterwards, for proofs and benches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

import database
from accounts.models import Account
from app import create_app
from config import Config
from extensions import Base, db
from tests.databases import PostgresqlDatabase, SqliteFile, find_postgresql

ENGINES = ("sqlite", "postgresql")
WEBHOOK_SECRET = "whsec_" + "proof" * 8


@dataclass(frozen=True)
class Laboratory:
    """An app with empty tables; its context is pushed."""

    app: Flask
    engine: str
    place: SqliteFile | PostgresqlDatabase

    def empty(self) -> None:
        """Go back to empty tables."""
        db.session.remove()
        self.place.restore(db.engine)

    def new_account(self, name: str = "Ann") -> int:
        """Return the id of a fresh account."""
        return database.write(_add_account, name)


def available(engine: str) -> bool:
    """Tell whether a database of this kind can be had here."""
    return engine == "sqlite" or find_postgresql() is not None


@contextmanager
def laboratory(
    engine: str,
    settings: Mapping[str, str] | None = None,
    *,
    stripe_http_client: Any = None,
    on_disk: bool = False,
) -> Iterator[Laboratory]:
    """Make a database and an app on it, perhaps with more settings; remove the database at the end.

    A file of SQLite's lives in memory, unless it shall be on disk.
    """
    with tempfile.TemporaryDirectory(prefix="tollgate-", dir=None if on_disk else _memory()) as folder:
        place = make_database(engine, Path(folder))
        app = create_app(config(place.url, settings), stripe_http_client=stripe_http_client)
        try:
            with app.app_context():
                Base.metadata.create_all(db.engine)
                place.remember(db.engine)
                yield Laboratory(app, engine, place)
                db.session.remove()
                db.engine.dispose()
        finally:
            place.drop()


def config(url: str, settings: Mapping[str, str] | None = None) -> Config:
    """Return settings that are good enough to reach a database, and nothing else."""
    return Config.from_env(
        {
            "ENV": "proof",
            "SECRET_KEY": "proof " * 8,
            "SECURITY_PASSWORD_SALT": "proof " * 8,
            "STRIPE_SECRET_KEY": "sk_test_sandbox",
            "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "STRIPE_REQUESTS_PER_SECOND": "0",  # time is simulated in most of them
            "DATABASE_URL": url,
            **(settings or {}),
        }
    )


def _memory() -> str | None:
    """Return where files live in memory: what a power cut leaves is not asked here, and disks are slow to say yes."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def make_database(engine: str, folder: Path) -> SqliteFile | PostgresqlDatabase:
    """Make a database of a kind; its `drop` removes it."""
    if engine == "sqlite":
        return SqliteFile(folder)
    server = find_postgresql()
    if server is None:
        raise SystemExit("No PostgreSQL server answers: start one, or set TEST_DATABASE_URL.")
    return PostgresqlDatabase(server)


def _add_account(session: database.Session, name: str) -> int:
    account = Account(name=name)
    session.add(account)
    session.flush()
    return account.id
