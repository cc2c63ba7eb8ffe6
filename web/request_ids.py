"""A name for each request, so that what a visitor reads to support can be found in the logs."""

from __future__ import annotations

import re
import secrets

import structlog
from flask import Flask, Response, g, has_request_context, request, request_started

from config import Config

HEADER = "X-Request-Id"
ACCEPTABLE = re.compile(r"[A-Za-z0-9_-]{8,64}")


def init_app(app: Flask) -> None:
    """Name every request, tell the name to the caller and to the logs.

    A name given from outside counts only behind a proxy of ours: others could forge or repeat one. The signal comes
    before every `before_request`, so that a request refused early has its name too.
    """
    request_started.connect(_name_request, app)
    app.after_request(_tell_name)
    app.teardown_request(_forget_name)


def current() -> str:
    """Return the name of this request; one is made when it has none yet. Outside of a request it is empty."""
    if not has_request_context():
        return ""
    if "request_id" not in g:
        g.request_id = secrets.token_hex(8)
    name: str = g.request_id
    return name


def _name_request(app: Flask, **_: object) -> None:
    config: Config = app.config["TOLLGATE"]
    given = request.headers.get(HEADER, "")
    if config.trusted_proxy_count > 0 and ACCEPTABLE.fullmatch(given):
        g.request_id = given
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=current())


def _tell_name(response: Response) -> Response:
    response.headers[HEADER] = current()
    return response


def _forget_name(_error: BaseException | None) -> None:
    structlog.contextvars.clear_contextvars()
