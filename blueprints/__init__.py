"""The site map: one blueprint per area of the site."""

from __future__ import annotations

from flask import Flask

from blueprints import (
    admin,
    api,
    api_keys,
    auth,
    billing,
    dashboard,
    devmail,
    gallery,
    health,
    pages,
    pricing,
    problems,
    projects,
    reports,
    settings,
    support,
    team,
    webhooks,
)


def init_app(app: Flask) -> None:
    """Register every blueprint of the site."""
    if not app.config["TOLLGATE"].is_public:
        app.register_blueprint(gallery.bp)
    app.register_blueprint(pages.bp)
    app.register_blueprint(admin.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(auth.bp)
    app.register_blueprint(billing.bp)
    app.register_blueprint(dashboard.bp)
    if devmail.is_available(app.config["TOLLGATE"]):
        app.register_blueprint(devmail.bp)
    app.register_blueprint(health.bp)
    app.register_blueprint(pricing.bp)
    app.register_blueprint(problems.bp)
    api_keys.init_app(app)
    projects.init_app(app)
    reports.init_app(app)
    app.register_blueprint(settings.bp)
    app.register_blueprint(support.bp)
    team.init_app(app)
    app.register_blueprint(webhooks.bp)
