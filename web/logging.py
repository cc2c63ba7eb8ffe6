"""Logs that a machine can search and that hold no secret: one JSON object a line, plain words on a terminal."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any

import structlog
from flask import Flask, Response, g, request, request_started
from structlog.typing import EventDict, Processor, WrappedLogger

from config import Config

REDACTED = "[redacted]"
SECRET_NAMES = re.compile(r"password|secret|token|authorization|cookie|api_?key|signature|nonce|csrf", re.I)
SECRET_VALUES = re.compile(
    r"\b(?:sk|rk|pk)_(?:test|live)_\w+"
    r"|\bwhsec_\w+"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of a database's address
    r"|(?i:(?<=token=)|(?<=password=)|(?<=secret=)|(?<=bearer )|(?<=basic ))[^\s&\"',;]+"
)
QUIET_ROUTES = frozenset({"webhooks.stripe", "static", "health.alive", "health.ready"})

# At INFO these tell of every call and step, and Stripe's SDK names the addresses of checkouts.
CHATTY = ("stripe", "alembic")

log = structlog.stdlib.get_logger("tollgate.requests")


def init_app(app: Flask) -> None:
    """Set up logging for the process, and log each request by its route, which holds no token, and not by its path."""
    config: Config = app.config["TOLLGATE"]
    set_up(level=config.log_level, is_terminal=sys.stderr.isatty())

    request_started.connect(_start_clock, app)
    app.after_request(_log_request)


def set_up(*, level: str, is_terminal: bool) -> None:
    """Send the process's logs to standard error, redacted; libraries that use `logging` come out the same way."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Processor = structlog.processors.JSONRenderer()
    if is_terminal:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    root = logging.getLogger()
    handler = next((h for h in root.handlers if isinstance(h, _ToStandardError)), None) or _ToStandardError()
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace secrets, by the name they are logged under and by what they look like, at any depth."""
    return {name: REDACTED if SECRET_NAMES.search(name) else redacted(value) for name, value in event.items()}


def redacted(value: Any) -> Any:
    """Return a value without its secrets; what is not plain is turned into words first."""
    if isinstance(value, dict):
        return {k: REDACTED if SECRET_NAMES.search(str(k)) else redacted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(v) for v in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return SECRET_VALUES.sub(REDACTED, str(value))


class _ToStandardError(logging.Handler):
    """Writes to what standard error is at the moment, which test runners replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # a log line must never fail a request
            self.handleError(record)


def _start_clock(_app: Flask, **_: object) -> None:
    g.request_started = time.perf_counter()


def _log_request(response: Response) -> Response:
    if request.endpoint not in QUIET_ROUTES:
        log.info(
            "request",
            method=request.method,
            route=str(request.url_rule) if request.url_rule else None,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - g.request_started) * 1000, 1),
        )
    return response
