"""Who is asking: the signed-in person's account."""

from __future__ import annotations

from flask import g
from flask_login import current_user

from accounts import people
from accounts.models import Account
from extensions import db


def current_account() -> Account:
    """Return the account that the signed-in person acts for; raise AccountNotFound when nobody is signed in.

    It is read once per request, from the request's own session.
    """
    if not current_user.is_authenticated:
        raise people.AccountNotFound("nobody is signed in")
    if "current_account" not in g:
        g.current_account = people.personal_account(db.session(), current_user.id)
    found: Account = g.current_account
    return found


def find_current_account() -> Account | None:
    """Return the account that the visitor acts for, None when nobody is signed in."""
    return current_account() if current_user.is_authenticated else None
