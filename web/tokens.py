"""Signed links: what a mailed link may do is written in it, signed with SECRET_KEY, and runs out by the app's clock."""

from __future__ import annotations

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


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    keys = [*current_app.config["SECRET_KEY_FALLBACKS"], current_app.config["SECRET_KEY"]]
    return URLSafeTimedSerializer(keys, salt=f"tollgate.{purpose}", signer=ClockSigner)
