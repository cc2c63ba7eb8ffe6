"""Let every page say what billing has to say about the visitor's account."""

from __future__ import annotations

from flask import Flask

from accounts.models import ADMIN
from billing import standing
from billing.standing import Notice
from web import gates
from web.current import find_current_account


def init_app(app: Flask) -> None:
    """Let templates ask `billing_notice()`."""
    app.jinja_env.globals.update(billing_notice=current)


def current() -> Notice | None:
    """Return the notice of the signed-in person's account; it stands on a row that the request has read anyway.

    Members have none: what is to be done is for the account's owner and admins.
    """
    account = find_current_account()
    if account is None or account.billing_notice is None or not gates.may(role=ADMIN):
        return None
    return standing.notice_of(account)
