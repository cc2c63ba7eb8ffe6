"""What every page shares: gates, errors, forms, headers, sessions, redirects, filters."""

from __future__ import annotations

from flask import Flask

from web import (
    billing_notice,
    bodies,
    characters,
    errors,
    filters,
    fragments,
    gates,
    headers,
    idempotency,
    logging,
    request_ids,
    security,
)


def init_app(app: Flask) -> None:
    """Give the app everything that its pages share."""
    billing_notice.init_app(app)
    bodies.init_app(app)
    characters.init_app(app)
    errors.init_app(app)
    filters.init_app(app)
    gates.init_app(app)
    headers.init_app(app)
    idempotency.init_app(app)
    logging.init_app(app)
    request_ids.init_app(app)
    security.init_app(app)
    # After those whose answers no piece may keep.
    fragments.init_app(app)
