"""Signed links: what a mailed link may do is written in it, signed with SECRET_KEY, and runs out by the app's clock."""

from __future__ import annotations

import base64
import hmac
from datetime import timedelta
from typing import Any

from flask import current_app
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

import clock


class TokenInvalid(Exception):
    """The link was altered, cut off, made for something else, or is too old."""


class ClockSigner(TimestampSigner):
    """Signs with the time of the app's clock, so that what is signed runs out by it too."""

    def get_timestamp(self) -> int:
        return int(clock.now().timestamp())


def sign(purpose: str, claim: str) -> str:
    """Return a token that says `claim`, valid for one purpose only."""
    return str(_serializer(purpose).dumps(claim))


def read(purpose: str, token: str, *, within: timedelta) -> str:
    """Return what a token says; raise TokenInvalid when it is not ours, for another purpose, or older than `within`."""
    try:
        claim: Any = _serializer(purpose).loads(token, max_age=int(within.total_seconds()))
    except BadData as error:
        raise TokenInvalid(str(error)) from error
    if not isinstance(claim, str):
        raise TokenInvalid("not a text")
    return claim


def derived(purpose: str, seed: str) -> list[str]:
    """Return the tokens that a seed gives, by today's key and by those before it.

    For links that have to be found by a stored hash: a seed and a hash at rest give nobody a token, and whoever sends
    the link makes it again.
    """
    keys = [current_app.config["SECRET_KEY"], *current_app.config["SECRET_KEY_FALLBACKS"]]
    return [_derived(key, f"tollgate.{purpose}:{seed}") for key in keys]


def _derived(key: str, message: str) -> str:
    digest = hmac.digest(key.encode(), message.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    keys = [*current_app.config["SECRET_KEY_FALLBACKS"], current_app.config["SECRET_KEY"]]
    return URLSafeTimedSerializer(keys, salt=f"tollgate.{purpose}", signer=ClockSigner)
