"""The site map: one blueprint per area of the site."""

from __future__ import annotations

from flask import Flask

from blueprints import gallery, pages


def init_app(app: Flask) -> None:
    """Register every blueprint of the site."""
    if not app.config["TOLLGATE"].is_public:
        app.register_blueprint(gallery.bp)
    app.register_blueprint(pages.bp)
