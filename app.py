"""Put the app together: settings, extensions, web, blueprints, command line - in that order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

import blueprints
import clock
import commands
import database
import web
from accounts import people
from billing import allowances, catalog, gateway
from config import Config
from extensions import csrf, db, limiter, migrate
from web import templates

ROOT = Path(__file__).resolve().parent


def create_app(config: Config | None = None, *, stripe_http_client: Any = None) -> Flask:
    """Return the application; without a config the environment and `.env` are read.

    `stripe_http_client` is handed to Stripe's SDK in place of the network. Raises ConfigError when a setting is
    missing, malformed or unsafe, and CatalogError when the catalogue is.
    """
    if config is None:
        load_dotenv(ROOT / ".env")
        config = Config.from_env()
    app = Flask(__name__)
    app.jinja_environment = templates.SharedGlobals
    _configure(app, config)
    _bind_extensions(app, config)
    _bind_billing(app, config, stripe_http_client)
    web.init_app(app)
    blueprints.init_app(app)
    commands.init_app(app)
    return app


def _configure(app: Flask, config: Config) -> None:
    app.config.update(
        TOLLGATE=config,
        SECRET_KEY=config.secret_key,
        SECRET_KEY_FALLBACKS=list(config.secret_key_fallbacks),
        SQLALCHEMY_DATABASE_URI=config.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(config.database_url),
        TRUSTED_HOSTS=list(config.trusted_hosts),
        MAX_CONTENT_LENGTH=1024 * 1024,
        WTF_CSRF_TIME_LIMIT=None,
        RATELIMIT_STORAGE_URI=config.rate_limit_storage,
        RATELIMIT_HEADERS_ENABLED=True,
    )
    clock.follow(Path(config.clock_file) if config.clock_file else None)
    if config.trusted_proxy_count:
        hops = config.trusted_proxy_count
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def _bind_extensions(app: Flask, config: Config) -> None:
    if config.database_url.startswith("sqlite:////"):
        Path(config.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    db.init_app(app)
    with app.app_context():
        database.prepare(db.engine)
    migrate.init_app(app, db, render_as_batch=True)
    csrf.init_app(app)
    limiter.init_app(app)


def _bind_billing(app: Flask, config: Config, stripe_http_client: Any) -> None:
    catalog.init_app(app)
    gateway.init_app(app, config, stripe_http_client)
    # Accounts know nothing of plans: the free plan's credits come with the account by this hook.
    people.after_account_created(allowances.grant_free_allowance)
