"""Logs that a machine can search and that hold no secret: one JSON object a line, plain words on a terminal."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import structlog
from flask import Flask, Response, g, has_request_context, request
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from config import Config
from web import request_ids

REDACTED = "[redacted]"
SECRET_NAMES = re.compile(r"password|secret|token|authorization|cookie|api_?key|signature|nonce|csrf", re.I)
SECRET_VALUES = re.compile(
    r"\b(?:sk|rk|pk)_(?:test|live)_\w+"
    r"|\bwhsec_\w+"
    r"|\btg_live_\w+"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of a database's address
    r"|(?i:(?<=token=)|(?<=password=)|(?<=secret=)|(?<=bearer )|(?<=basic ))[^\s&\"',;]+"
)
# Every secret value has one of these in it, and most of what is logged has none: a tenth of the time.
SIGNS_OF_SECRETS = re.compile(r"[_:=y ]")
QUIET_ROUTES = frozenset({"webhooks.stripe", "static", "health.alive", "health.ready"})

# At INFO these tell of every call and step, and Stripe's SDK names the addresses of checkouts.
CHATTY = ("stripe", "alembic")


def init_app(app: Flask) -> None:
    """Set up logging for the process, and log each request by its route, which holds no token, and not by its path."""
    config: Config = app.config["TOLLGATE"]
    set_up(level=config.log_level, is_terminal=sys.stderr.isatty())

    # First of all that comes before a page, so that one which is refused there is timed too.
    app.before_request_funcs[None].insert(0, _start_clock)
    # Bound here, once: one that is not is put together anew for every line, which takes as long as the line itself.
    app.after_request(partial(_log_request, structlog.get_logger("tollgate.requests").bind()))


def set_up(*, level: str, is_terminal: bool) -> None:
    """Send the process's logs to standard error, redacted; libraries that use `logging` come out the same way.

    Our own lines do not go through `logging`, which costs as much again for each request.
    """
    renderer: Processor = structlog.processors.JSONRenderer()
    if is_terminal:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    shared: list[Processor] = [
        name_request,
        structlog.stdlib.add_logger_name,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
        # What these add is ours.
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    root = logging.getLogger()
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=_OurLines,
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = next((h for h in root.handlers if isinstance(h, _LinesOfLibraries)), None) or _LinesOfLibraries()
    handler.setFormatter(formatter)
    root.addHandler(handler)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def name_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the name of the request that a line belongs to, if it belongs to one."""
    if has_request_context():
        event["request_id"] = request_ids.current()
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace secrets, by the name they are logged under and by what they look like, at any depth."""
    return {name: REDACTED if _is_secret(name) else redacted(value) for name, value in event.items()}


def redacted(value: Any) -> Any:
    """Return a value without its secrets; what is not plain is turned into words first."""
    if isinstance(value, dict):
        return {k: REDACTED if _is_secret(str(k)) else redacted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redacted(v) for v in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return SECRET_VALUES.sub(REDACTED, text) if SIGNS_OF_SECRETS.search(text) else text


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    return SECRET_NAMES.search(name) is not None


class _OurLines:
    """A logger of structlog's: every line, whatever its level, goes to standard error."""

    def __init__(self, name: str = "tollgate") -> None:
        self.name = name

    def __getattr__(self, _level: str) -> Callable[[str], None]:
        return _write


class _LinesOfLibraries(logging.Handler):
    """What `logging` is given, formatted as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(self.format(record))
        except Exception:  # a log line must never fail a request
            self.handleError(record)


def _write(line: str) -> None:
    # What standard error is at the moment: test runners replace it. Whoever reads it may be gone.
    with _one_line_at_a_time, suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


_one_line_at_a_time = threading.Lock()


def _start_clock() -> None:
    g.request_started = time.perf_counter()


def _log_request(log: FilteringBoundLogger, response: Response) -> Response:
    if request.endpoint not in QUIET_ROUTES:
        log.info(
            "request",
            method=request.method,
            route=request.url_rule.rule if request.url_rule else None,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - g.request_started) * 1000, 1),
        )
    return response
