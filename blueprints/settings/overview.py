"""The page of the settings, and the browsers in which somebody is logged in."""

from __future__ import annotations

from flask import abort, flash, g, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

import database
from accounts import email_changes, sessions
from blueprints.settings.base import SEE_OTHER, bp
from extensions import db
from web import gates

MAX_DIGITS = 18
# What a browser says of itself, in the order in which it has to be asked: most claim to be several.
BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"))
OTHER_SYSTEMS = (("Mac OS X", "Mac"), ("CrOS", "ChromeOS"), ("Linux", "Linux"))


@bp.get("")
@gates.requires(personal=True)
def index() -> str:
    """Show what is set, and where to change it."""
    session = db.session()
    return render_template(
        "settings/index.html",
        change=email_changes.pending(session, current_user.id),
        sessions=sessions.live(session, current_user.id),
        current_id=g.get("user_session_id"),
    )


@bp.post("/sessions/end")
@gates.requires(personal=True)
def end_session() -> Response:
    """Log one other browser out."""
    given = request.form.get("session", "")
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS):
        abort(404)
    if database.write(sessions.revoke_own, current_user.id, int(given)):
        flash("That browser is logged out.", "success")
    else:
        flash("That browser was logged out before.", "message")
    return redirect(url_for("settings.index"), SEE_OTHER)


@bp.post("/sessions/end-others")
@gates.requires(personal=True)
def end_other_sessions() -> Response:
    """Log all browsers out but this one."""
    database.write(sessions.revoke_all, current_user.id, except_id=g.get("user_session_id"))
    flash("All other browsers are logged out.", "success")
    return redirect(url_for("settings.index"), SEE_OTHER)


@bp.app_template_filter("browser")
def browser(user_agent: str) -> str:
    """Say a browser by what it says of itself: "Firefox on Linux"; in general words where it says nothing known."""
    name = next((name for mark, name in BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in (*SYSTEMS, *OTHER_SYSTEMS) if mark in user_agent), None)
    return f"{name} on {system}" if system else name
