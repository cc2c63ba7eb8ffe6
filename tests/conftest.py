"""The fixtures of the suite: a clean app on a real database, a local Stripe in this process, a clock, a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from flask.testing import FlaskClient

import clock as app_clock
from app import create_app
from billing import stripe_catalog
from config import Config
from extensions import db, limiter
from stripe_sandbox.testing import Sandbox
from tests.browsers import chromium
from tests.databases import PostgresqlDatabase, SqliteFile
from tests.worlds import Clock, Stripe, watched

__all__ = ["chromium"]

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
}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteFile | PostgresqlDatabase]:
    """A throw-away database: SQLite, or one of its own on the server that TEST_DATABASE_URL names."""
    server = os.environ.get("TEST_DATABASE_URL")
    made = PostgresqlDatabase(server) if server else SqliteFile(tmp_path_factory.mktemp("database"))
    yield made
    made.drop()


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
def app(migrated_app: Flask, database: SqliteFile | PostgresqlDatabase) -> Flask:
    """The app with an empty database and the wall's time; no context is pushed, so requests do not share theirs."""
    app_clock.reset()
    with migrated_app.app_context():
        database.restore(db.engine)
    limiter.reset()
    migrated_app.extensions["stripe.prices"].clear()
    migrated_app.extensions.pop("stripe.portal", None)
    return migrated_app


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
def clock() -> Iterator[Clock]:
    """The clock of the app; `stripe` moves with it."""
    yield Clock()
    app_clock.reset()


@pytest.fixture
def stripe(app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    """A clean local Stripe that sells the catalogue and delivers to the app; every test ends with its contract kept."""
    sandbox.reset()
    sandbox.clock.set_offset(0)
    sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
    with app.app_context():
        stripe_catalog.push()
    stripe = Stripe(app, sandbox)
    stripe.discard_deliveries()
    clock.sandbox = sandbox
    yield stripe
    assert stripe.unexpected_violations() == []
