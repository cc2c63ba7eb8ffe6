"""Signing in and out: the cookie carries a random secret, everything else about a session is a row that can end.

Flask-Login's own remember cookie is never set: "remember me" is a row that lives longer and a cookie that outlives
the browser window. A copied cookie stops working with its row: at log-out, after a new password, when revoked.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, g, request, session
from flask_login import LoginManager, current_user, user_logged_in, user_logged_out
from flask_security import login_user, logout_user
from flask_security.utils import set_request_attr
from sqlalchemy.exc import OperationalError

import database
import failpoints
from accounts import sessions
from accounts.models import User, UserSession
from accounts.rows import PersonRow
from accounts.sessions import Live
from config import Config
from extensions import db
from web import api_access, current


def init_app(app: Flask, login_manager: LoginManager) -> None:
    """Make Flask-Login keep its sessions in our table, and harden the cookie that names them."""
    config: Config = app.config["TOLLGATE"]
    app.config.update(
        SESSION_COOKIE_NAME="__Host-session" if config.is_https else "session",
        SESSION_COOKIE_SECURE=config.is_https,
        SESSION_COOKIE_HTTPONLY=True,
        # Strict would drop the cookie when Stripe sends people back to us.
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=sessions.REMEMBERED_LIFETIME,
    )
    # It would set the remember cookie that we do without, and make every file differ by visitor by looking for it.
    app.after_request_funcs[None].remove(login_manager._update_remember_cookie)
    login_manager.session_protection = None
    # What it would compare: a hash of address and browser, made for every visitor whether it is compared or not.
    login_manager._session_identifier_generator = str
    login_manager.user_loader(_load)
    login_manager.request_loader(api_access.load)
    user_logged_in.connect(_on_login, app)
    user_logged_out.connect(_on_logout, app)


def sign_in(user: User, *, remember: bool = False) -> None:
    """Open a new session for this browser; whatever it held before is dropped, so nothing can be planted in it."""
    login_user(user, remember=remember, authn_via=["password"])


def sign_out() -> None:
    """End this browser's session, here and in the table."""
    logout_user()


def current_session() -> UserSession | None:
    """Return the row of the session that this request belongs to."""
    if not current_user.is_authenticated or "user_session_id" not in g:
        return None
    return db.session.get(UserSession, g.user_session_id)


def is_recent() -> bool:
    """Tell whether the password was given lately in this browser; never for programs, which give none."""
    return bool(g.get("is_recent_session", False))


def confirm() -> None:
    """Note that the signed-in person has just given their password again in this browser."""
    database.write(sessions.confirm, g.user_session_id)
    g.is_recent_session = True


def _load(token: str) -> PersonRow | None:
    found = sessions.find(db.session(), token)
    if found is not None and sessions.needs_touch(found):
        _touch(found.id)
        found = sessions.find(db.session(), token)
    if found is None:
        return None
    _note(found)
    set_request_attr("fs_authn_via", "session")
    set_request_attr("fs_paa", session.get("fs_paa", 0))
    return found.person


def _note(found: Live) -> None:
    """Keep what came with the session, for whoever asks next."""
    g.user_session_id = found.id
    g.is_recent_session = sessions.is_recent(found)
    current.note_personal(found.account)


def _touch(session_id: int) -> None:
    try:
        database.write(sessions.touch, session_id)
    except OperationalError:
        # Knowing when somebody was last here is not worth a failed page.
        db.session.rollback()


def _on_login(_app: Flask, user: User, **_: Any) -> None:
    remember = session.get("_remember") == "set"
    user_id = user.id
    token = database.write(
        sessions.start,
        user_id,
        is_remembered=remember,
        address=request.remote_addr or "",
        user_agent=request.user_agent.string,
    )
    failpoints.hit("session.committed")
    _forget_everything()
    session.permanent = remember
    session["_user_id"] = token
    session["_fresh"] = True
    found = sessions.find(db.session(), token)
    if found is not None:
        _note(found)
        g._login_user = found.person


def _on_logout(_app: Flask, **_: Any) -> None:
    session_id = g.pop("user_session_id", None)
    g.pop("is_recent_session", None)
    if session_id is not None:
        database.write(sessions.revoke, session_id)
    _forget_everything()


def _forget_everything() -> None:
    session.clear()
    # Flask-WTF keeps this request's token beside the session; both must change together.
    g.pop("csrf_token", None)
    # And what was found out about whoever was here before.
    g.pop("acting", None)
    g.pop("gate_facts", None)
