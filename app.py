"""Put the app together: settings, extensions, web, blueprints, command line - in that order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from dotenv import load_dotenv
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

import blueprints
import clock
import commands
import database
import failpoints
import group_commit
import web
from accounts import people
from billing import allowances, auto_top_ups, catalog, gateway, link_purchases, low_balance
from checker import archive
from config import Config, ConfigError
from extensions import csrf, db, limiter, migrate
from ledger import spending
from projects import shelf
from support import desk
from web.site import Site

ROOT = Path(__file__).resolve().parent


class CannotStart(click.ClickException):
    """What keeps the app from starting: `flask` and `make run` say it without a traceback."""


def create_app(config: Config | None = None, *, stripe_http_client: Any = None) -> Flask:
    """Return the application; without a config the environment and `.env` are read.

    `stripe_http_client` is handed to Stripe's SDK in place of the network. Raises CatalogError when the catalogue
    cannot be used; without a config CannotStart, for that and for settings that are missing, malformed or unsafe.
    """
    if config is None:
        return _from_environment(stripe_http_client)
    app = Site(__name__)
    _configure(app, config)
    _bind_extensions(app, config)
    _bind_billing(app, config, stripe_http_client)
    web.init_app(app)
    blueprints.init_app(app)
    commands.init_app(app)
    _leave_limits_to_views(app)
    return app


def _from_environment(stripe_http_client: Any) -> Flask:
    load_dotenv(ROOT / ".env")
    try:
        return create_app(Config.from_env(), stripe_http_client=stripe_http_client)
    except (ConfigError, catalog.CatalogError) as error:
        raise CannotStart(str(error)) from error


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
    failpoints.arm(config.failpoint)
    if config.trusted_proxy_count:
        hops = config.trusted_proxy_count
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def _bind_extensions(app: Flask, config: Config) -> None:
    if config.database_url.startswith("sqlite:////"):
        Path(config.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    db.init_app(app)
    with app.app_context():
        database.prepare(db.engine)
    group_commit.init_app(app)
    migrate.init_app(app, db, render_as_batch=True)
    csrf.init_app(app)
    limiter.init_app(app)


def _leave_limits_to_views(app: Flask) -> None:
    """Take out Flask-Limiter's look at every request, when all there are is limits of views, which check themselves."""
    limits = limiter.limit_manager
    everywhere = limits.default_limits or limits.application_limits
    if not everywhere and not any(limits.blueprint_limits(app, name) for name in app.blueprints):
        app.before_request_funcs[None].remove(limiter._check_request_limit)


def _bind_billing(app: Flask, config: Config, stripe_http_client: Any) -> None:
    catalog.init_app(app)
    gateway.init_app(app, config, stripe_http_client)
    # Accounts know nothing of plans: the free plan's credits come with the account by this hook.
    people.after_account_created(allowances.grant_free_allowance)
    # Nor of what the product and the desk keep for an account: they forget it when its owner deletes it.
    for forget in (archive.forget, shelf.forget, desk.forget):
        people.after_account_closed(forget)
    # Nor of payment links: what was paid with an address is handed over once it is verified.
    people.after_verified(link_purchases.claim)
    # The ledger knows nothing of mail: whatever spends, the notice of a low balance comes with it.
    spending.after_spend(low_balance.after_spend)
    spending.after_spend(auto_top_ups.after_spend)
