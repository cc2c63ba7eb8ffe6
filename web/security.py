"""Flask-Security's settings: it hashes passwords, knows users and roles, and signs people in; the pages are ours.

Why the pages are ours is in docs/adr/0004-sign-up-without-telling.md.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from flask_security import Security, SQLAlchemyUserDatastore

import clock
from accounts import passwords
from accounts.models import Role, User
from config import Config
from extensions import db
from web import sessions

# OWASP's minimum for argon2id, https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
ARGON2 = {"argon2__type": "ID", "argon2__memory_cost": 19456, "argon2__time_cost": 2, "argon2__parallelism": 1}


def init_app(app: Flask) -> None:
    """Set up sign-in, sessions and their cookies."""
    config: Config = app.config["TOLLGATE"]
    app.config.update(
        # The names that Flask-Security's own pages (second factor, passkeys) would have in our blueprint.
        SECURITY_BLUEPRINT_NAME="auth",
        SECURITY_PASSWORD_SALT=config.security_password_salt,
        SECURITY_PASSWORD_HASH="argon2",  # noqa: S106 - the name of an algorithm
        SECURITY_PASSWORD_SCHEMES=["argon2"],
        SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS=ARGON2,
        SECURITY_PASSWORD_LENGTH_MIN=passwords.MIN_LENGTH,
        SECURITY_PASSWORD_NORMALIZE_FORM="NFKC",  # noqa: S106
        SECURITY_DATETIME_FACTORY=clock.now,
        SECURITY_RETURN_GENERIC_RESPONSES=True,
        SECURITY_API_ENABLED_METHODS=["session"],
        SECURITY_FRESHNESS=timedelta(minutes=10),
        SECURITY_CLI_USERS_NAME=None,
        SECURITY_CLI_ROLES_NAME=None,
        SECURITY_CACHE_CONTROL=None,
        SECURITY_JOIN_USER_ROLES=False,
    )
    security = Security()
    security.init_app(app, SQLAlchemyUserDatastore(db, User, Role), register_blueprint=False)
    # Flask-Principal would look up the visitor for every file and webhook; gates.py asks when a view wants to know.
    security.principal.identity_loaders.clear()
    sessions.init_app(app, security.login_manager)
