"""Values that a form carries to its own confirmation: signed for one account and purpose, and good for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import current_app
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from werkzeug.exceptions import BadRequest

from config import Config
from web.current import current_account


def seal(purpose: str, values: list[Any]) -> str:
    """Return a token with some JSON values, for a hidden field of the signed-in account's form."""
    return _serializer(purpose).dumps([current_account().public_id, *values])


def unseal(purpose: str, token: str, *, lifetime: timedelta) -> list[Any]:
    """Return the values of a token; raise BadRequest, in words, when it is forged, too old or of another account."""
    try:
        account, *values = _serializer(purpose).loads(token, max_age=int(lifetime.total_seconds()))
    except SignatureExpired as error:
        raise BadRequest("This page was open for too long. Open it again to see the amounts of today.") from error
    except (BadSignature, ValueError, TypeError) as error:
        raise BadRequest("The form is not one of ours. Open the page again.") from error
    if account != current_account().public_id:
        raise BadRequest("This form was opened by another account. Open the page again.")
    return list(values)


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    config: Config = current_app.config["TOLLGATE"]
    # itsdangerous signs with the last key and accepts all.
    return URLSafeTimedSerializer([*reversed(config.secret_key_fallbacks), config.secret_key], salt=f"sealed:{purpose}")
