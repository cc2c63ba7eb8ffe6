"""How programs sign in: `Authorization: Bearer tg_live_...` on paths below /api/, for the account of the key.

A program is told from a browser where the request begins: it says itself who it is, or brings no session at all. No
cookie counts for it, so it needs no CSRF token and no look at the site that it came from; see docs/api.md.
"""

from __future__ import annotations

import re

from flask import Request, g
from flask_login import current_user
from sqlalchemy.exc import OperationalError

import database
from accounts import api_keys, people, rows
from accounts.models import OWNER
from accounts.rows import PersonRow
from extensions import db, limiter
from web.current import Acting, act, current_account

PATH = "/api/"
FEATURE = "api"
PER_MINUTE = 120
BEARER = re.compile(rf"(?i:bearer) +({api_keys.MARK}[0-9a-f]{{64}})")


def is_program(request: Request, *, cookie: str) -> bool:
    """Tell whether nothing in a request was added by a browser of its own accord that could sign anybody in."""
    if not request.path.startswith(PATH):
        return False
    return brings_key(request) or cookie not in request.cookies


def brings_key(request: Request) -> bool:
    """Tell whether a request to the API says itself who it is, rightly or not.

    Only a Bearer token does: browsers add Basic by themselves, where a proxy in front asks for a password.
    """
    return request.path.startswith(PATH) and request.environ.get("HTTP_AUTHORIZATION", "")[:6].lower() == "bearer"


def load(request: Request) -> PersonRow | None:
    """Return the person that the request's key stands on, and note its account; None without a good key."""
    given = BEARER.fullmatch(request.environ.get("HTTP_AUTHORIZATION", "")) if brings_key(request) else None
    if given is None:
        return None
    found = api_keys.find(db.session(), given[1])
    if found is not None and api_keys.needs_touch(found[0]):
        _touch(found[0].id)
        found = api_keys.find(db.session(), given[1])
    if found is None:
        return None
    key, person, account, role = found
    g.api_key_id = key.id
    owner = person.email if role == OWNER else people.owner_email(db.session(), account.id)
    act(Acting(rows.of_account(account), role, owner, is_own=role == OWNER))
    return rows.of_person(person)


def caller() -> str:
    """Return what requests are counted by: the key, else the person and the account they act for."""
    if "api_key_id" in g:
        return f"key:{g.api_key_id}"
    return f"person:{current_user.id}:{current_account().id}"


# All views of the API share it: the limit is the key's, not the view's.
limited = limiter.shared_limit(f"{PER_MINUTE} per minute", scope="api", key_func=caller)


def _touch(key_id: int) -> None:
    try:
        database.write(api_keys.touch, key_id)
    except OperationalError:
        # Knowing when a key was last used is not worth a failed request.
        db.session.rollback()
