"""What every page shares: gates, errors, forms, headers, sessions, redirects, filters."""

from __future__ import annotations

from flask import Flask

from web import filters, headers, security


def init_app(app: Flask) -> None:
    """Give the app everything that its pages share."""
    filters.init_app(app)
    headers.init_app(app)
    security.init_app(app)
