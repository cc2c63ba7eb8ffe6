"""The site map: one blueprint per area of the site."""

from __future__ import annotations

from flask import Flask

from blueprints import pages


def init_app(app: Flask) -> None:
    """Register every blueprint of the site."""
    app.register_blueprint(pages.bp)
