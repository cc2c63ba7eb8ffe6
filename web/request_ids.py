"""A name for each request, so that what a visitor reads to support can be found in the logs."""

from __future__ import annotations

import re
import secrets
from typing import Any

from flask import Flask, has_request_context, request, request_started

from config import Config

HEADER = "X-Request-Id"
KEY = "tollgate.request_id"
ACCEPTABLE = re.compile(r"[A-Za-z0-9_-]{8,64}")


def init_app(app: Flask) -> None:
    """Let a proxy of ours name the requests.

    A name given from outside counts only behind one: others could forge or repeat one. The signal comes before every
    `before_request`, so that a request refused early has its name too. web/headers.py tells the name to the caller,
    web/logging.py to the logs.
    """
    config: Config = app.config["TOLLGATE"]
    if config.trusted_proxy_count > 0:
        request_started.connect(_take_given_name, app)


def current() -> str:
    """Return the name of this request. Outside of a request it is empty."""
    return of(request.environ) if has_request_context() else ""


def of(environ: dict[str, Any]) -> str:
    """Return the name of a request; one is made when it has none yet."""
    name: str = environ.get(KEY) or environ.setdefault(KEY, secrets.token_hex(8))
    return name


def _take_given_name(_app: Flask, **_: object) -> None:
    given = request.headers.get(HEADER, "")
    if ACCEPTABLE.fullmatch(given):
        request.environ[KEY] = given
