"""Errors for programs: problem details as RFC 9457 writes them, and who gets those instead of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Request, Response, current_app, json

from config import Config
from web import request_ids

MEDIA_TYPE = "application/problem+json"
# Only programs call these, whatever they say they accept.
PROGRAM_PATHS = ("/api/", "/webhooks/")
NO_TYPE = "about:blank"


def wants_problem(request: Request) -> bool:
    """Tell whether the caller is a program: by its path, or because it prefers JSON to HTML."""
    if request.path.startswith(PROGRAM_PATHS):
        return True
    offered = ["text/html", "application/json", MEDIA_TYPE]
    return request.accept_mimetypes.best_match(offered, default="text/html") != "text/html"


def response(status: int, title: str, *, kind: str | None, detail: str, facts: Mapping[str, Any]) -> Response:
    """Return a problem; `kind` is the name of its page under /problems, None when the status says it all."""
    config: Config = current_app.config["TOLLGATE"]
    body = {
        **facts,
        "type": f"{config.app_base_url}/problems/{kind}" if kind else NO_TYPE,
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_ids.current(),
    }
    return Response(json.dumps(body), status=status, mimetype=MEDIA_TYPE)
