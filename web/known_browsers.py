"""Browsers in which a person has logged in, or set a password by mail: strangers who guess cannot make them wait.

A signed cookie says whose browser it is and carries a number by which its own guesses are counted. It opens nothing.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import current_app, request
from werkzeug.wrappers import Response

from accounts import login_tries
from config import Config
from web import tokens
from web.tokens import TokenInvalid

PURPOSE = "known-browser"
LIFETIME = timedelta(days=180)


def subject(email: str) -> str:
    """Return what a try to log in counts by: this browser where it is the person's own, else the address typed."""
    whose, nonce = _read()
    address = login_tries.by_address(email)
    return login_tries.by_browser(nonce) if whose == address else address


def remember(response: Response, email: str) -> None:
    """Mark this browser as one of the person with this address; it keeps its number, so that no count begins anew."""
    config: Config = current_app.config["TOLLGATE"]
    address, (whose, nonce) = login_tries.by_address(email), _read()
    number = nonce if whose == address else secrets.token_urlsafe(16)
    response.set_cookie(
        _name(config),
        tokens.sign(PURPOSE, f"{address}:{number}"),
        max_age=LIFETIME,
        secure=config.is_https,
        httponly=True,
        samesite="Lax",
    )


def forget(response: Response) -> None:
    """Take the mark off this browser."""
    response.delete_cookie(_name(current_app.config["TOLLGATE"]))


def _read() -> tuple[str, str]:
    cookie = request.cookies.get(_name(current_app.config["TOLLGATE"]), "")
    try:
        whose, _, nonce = tokens.read(PURPOSE, cookie, within=LIFETIME).partition(":")
    except TokenInvalid:
        return "", ""
    return whose, nonce


def _name(config: Config) -> str:
    return "__Host-known" if config.is_https else "known"
