"""The site map: one blueprint per area of the site."""

from __future__ import annotations

from flask import Flask

from blueprints import auth, billing, dashboard, devmail, gallery, health, pages, pricing, problems, reports, webhooks


def init_app(app: Flask) -> None:
    """Register every blueprint of the site."""
    if not app.config["TOLLGATE"].is_public:
        app.register_blueprint(gallery.bp)
    app.register_blueprint(pages.bp)
    app.register_blueprint(auth.bp)
    app.register_blueprint(billing.bp)
    app.register_blueprint(dashboard.bp)
    if devmail.is_available(app.config["TOLLGATE"]):
        app.register_blueprint(devmail.bp)
    app.register_blueprint(health.bp)
    app.register_blueprint(pricing.bp)
    app.register_blueprint(problems.bp)
    reports.init_app(app)
    app.register_blueprint(webhooks.bp)
