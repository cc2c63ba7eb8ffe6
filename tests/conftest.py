"""The fixtures of the suite: a clean app on a real database, a local Stripe in this process, a clock, a browser."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import ClassVar

import flask_migrate
import pytest
import structlog
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from structlog.testing import LogCapture

import clock as app_clock
from app import create_app
from billing import pacing, stripe_catalog
from config import Config
from extensions import db, limiter
from stripe_sandbox.testing import Sandbox
from tests import worlds
from tests.browsers import chromium
from tests.databases import PostgresqlDatabase, SqliteFile
from tests.worlds import Clock, Stripe, watched

__all__ = ["chromium"]

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name in it
ROOT = Path(__file__).resolve().parents[1]
WEBHOOK_SECRET = "whsec_of_the_test_suite"
SETTINGS = {
    "ENV": "test",
    "APP_BASE_URL": "http://127.0.0.1:5000",
    "TRUSTED_HOSTS": "127.0.0.1,localhost",
    "SECRET_KEY": "a secret of the test suite, long enough",
    "SECURITY_PASSWORD_SALT": "a salt of the test suite, long enough",
    "STRIPE_SECRET_KEY": "sk_test_sandbox",
    "STRIPE_API_BASE": "http://127.0.0.1:12111",
    "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    "STRIPE_REQUESTS_PER_SECOND": "0",  # tests do a day's work in a second
}
# At noon, in a month of 30 days: half of it is 15. Begun whenever it is run, the suite would fail on some days.
STARTS_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


class KeptBytecode(BytecodeCache):
    """Compiled templates, kept for the next app: many tests make one of their own."""

    kept: ClassVar[dict[str, bytes]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": KeptBytecode()}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a server run what uses the suite's database: the rest was run on SQLite and could find nothing new."""
    if not os.environ.get("TEST_DATABASE_URL"):
        return
    left_out = {item for item in items if "database" not in getattr(item, "fixturenames", ())}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteFile | PostgresqlDatabase]:
    """A throw-away database: SQLite, or one of its own on the server that TEST_DATABASE_URL names."""
    server = os.environ.get("TEST_DATABASE_URL")
    if server:
        made = PostgresqlDatabase(server)
        yield made
        made.drop()
        return
    # In memory where the system has such a folder: each commit waits for its disk, and no test pulls the plug.
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path_factory.getbasetemp()) as folder:
        yield SqliteFile(Path(folder))


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The local Stripe that the app of the session talks to, without a socket."""
    return Sandbox()


@pytest.fixture(scope="session")
def migrated_app(database: SqliteFile | PostgresqlDatabase, sandbox: Sandbox) -> Iterator[Flask]:
    """The one app of the session, its schema built by the migrations."""
    config = Config.from_env({**SETTINGS, "DATABASE_URL": database.url})
    app = create_app(config, stripe_http_client=watched(sandbox.http_client()))
    app.testing = True
    with app.app_context():
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
        database.remember(db.engine)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(migrated_app: Flask, database: SqliteFile | PostgresqlDatabase) -> Iterator[Flask]:
    """The app with an empty database, at STARTS_AT; no context is pushed, so requests do not share theirs."""
    app_clock.reset()
    app_clock.travel(STARTS_AT - app_clock.now())
    with migrated_app.app_context():
        database.restore(db.engine)
    limiter.reset()
    migrated_app.extensions["stripe.prices"].clear()
    waited = [0.0]  # pauses that Stripe asks for, in a time that only waiting moves
    migrated_app.extensions["stripe.pace"] = pacing.Pace(0, now=lambda: sum(waited), sleep=waited.append)
    migrated_app.extensions.pop("webhooks.noted_at", None)
    migrated_app.extensions.pop("stripe.meters", None)
    migrated_app.extensions.pop("stripe.portal", None)
    yield migrated_app
    app_clock.reset()


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    """The app with its context pushed: for tests that call the domain and send no requests."""
    with app.app_context():
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without a window, not signed in."""
    return app.test_client()


@pytest.fixture
def log() -> Iterator[LogCapture]:
    """What is logged while the test runs, as it was said."""
    capture = LogCapture()
    configured = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**configured)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of the app; `stripe` moves with it."""
    yield Clock()
    app_clock.reset()


@pytest.fixture
def still_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that moves only by `clock.advance`, so that a slow machine changes no wait and no test misses an instant."""
    now = time.time()
    monkeypatch.setattr(app_clock, "time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def stripe(app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    """A clean local Stripe that sells the catalogue and delivers to the app; every test ends with its contract kept."""
    catalog = app.config["TOLLGATE"].catalog
    if catalog not in _shops:
        _shops[catalog] = _opened_shop(app, sandbox)
    sandbox.restore(_shops[catalog])
    sandbox.clock.move_to(app_clock.now().timestamp())
    clock.sandbox = sandbox
    stripe = Stripe(app, sandbox)
    yield stripe
    assert stripe.unexpected_violations() == []


# A catalogue is pushed once: a few dozen requests before each of a thousand tests would be a minute of the suite.
_shops: dict[str, bytes] = {}


def _opened_shop(app: Flask, sandbox: Sandbox) -> bytes:
    """Return a world in which the catalogue is sold, the app is told of everything, and nothing has happened yet."""
    worlds.empty(sandbox)
    sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
    with app.app_context():
        stripe_catalog.push()
    stripe = Stripe(app, sandbox)
    stripe.discard_deliveries()
    assert stripe.unexpected_violations() == []
    return sandbox.store.snapshot()
