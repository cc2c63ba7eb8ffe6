"""The page of the settings."""

from __future__ import annotations

from flask import render_template
from flask_login import current_user

from accounts import email_changes
from blueprints.settings.base import bp
from extensions import db
from web import gates


@bp.get("")
@gates.requires(personal=True)
def index() -> str:
    """Show what is set, and where to change it."""
    return render_template("settings/index.html", change=email_changes.pending(db.session(), current_user.id))
