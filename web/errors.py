"""Answer every error from the table in web/answers.py: a page for people, problem details for programs.

A visitor who only wanted to look is sent to the page that solves it, with
a message, and back afterwards; whoever sent a form sees a page, so that the browser's Back still holds what was typed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog
from flask import Flask, current_app, flash, g, redirect, render_template, request, url_for
from flask_login import AnonymousUserMixin, current_user
from flask_wtf.csrf import CSRFError
from markupsafe import escape
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import BadRequestKeyError, HTTPException, SecurityError
from werkzeug.wrappers import Response

from billing import catalog
from billing import errors as billing_errors
from ledger import errors as ledger_errors
from web import api_access, navigation, problems, redirects, refusals, request_ids
from web.answers import ANSWERS, HOME, HTTP_ANSWERS, LOG_IN, STALE_FORM, Action, Answer

log = structlog.get_logger("tollgate.errors")

RETRY_AFTER_SECONDS = 5


def init_app(app: Flask) -> None:
    """Answer every error of the app from the table."""
    for kind in (refusals.Refusal, billing_errors.BillingError, ledger_errors.LedgerError, catalog.UnknownOffer):
        app.register_error_handler(kind, answer)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(away, answer_database_away)
    app.register_error_handler(HTTPException, answer_http)
    app.register_error_handler(CSRFError, answer_stale_form)
    app.extensions["answers"] = dict(ANSWERS)


def add(app: Flask, rows: Mapping[type[Exception], Answer]) -> None:
    """Add rows to the table of an app, for a product's own errors."""
    table: dict[type[Exception], Answer] = app.extensions["answers"]
    for kind, row in rows.items():
        table[kind] = row
        app.register_error_handler(kind, answer)


def table() -> dict[type[Exception], Answer]:
    """Return this app's table."""
    answers: dict[type[Exception], Answer] = current_app.extensions["answers"]
    return answers


def answer_for(error: Exception) -> Answer:
    """Return the row for an error: its own, or that of the nearest class above it."""
    rows = table()
    return next(rows[kind] for kind in type(error).__mro__ if kind in rows)


def answer(error: Exception) -> Response:
    """Answer an error of the domain or of a gate."""
    row = answer_for(error)
    if row.status >= 500:
        _log(error)
    text = row.text(error)
    if problems.wants_problem(request):
        facts = {**row.facts(error), **_where_to_solve(row)}
        made = problems.response(row.status, row.title, kind=row.kind, detail=text, facts=facts)
        if row.challenge is not None and request.path.startswith(api_access.PATH):
            made.headers["WWW-Authenticate"] = row.challenge
        return _retryable(made, error)
    url = _action_url(row.action)
    if row.sends_on and url is not None and request.method in {"GET", "HEAD"}:
        flash(f"{row.title}." if row.status == 401 else text, "warning")
        return redirect(url, 303)
    missing = error.needed - error.balance if isinstance(error, ledger_errors.NotEnoughCredits) else 0
    return _retryable(_page(row.status, row.title, text, action=row.action, missing_credits=missing), error)


def _log(error: Exception) -> None:
    facts = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, billing_errors.StripeError):
        # Stripe's support, and its log of requests in the Dashboard, ask for this id.
        facts |= {"code": error.code or "", "stripe_request_id": error.request_id or ""}
    if isinstance(error, billing_errors.StripeKeyRefused):
        log.critical("Stripe refuses the key", **facts)
    else:
        log.error("service failed", **facts)


def answer_http(error: HTTPException) -> Response:
    """Answer 404, 405, 413, 429, 500 and their kin; redirects and ready-made responses pass untouched."""
    if error.code is None or error.code < 400 or error.response is not None:
        return Response.force_type(error.get_response(), request.environ)
    title, text = HTTP_ANSWERS.get(error.code, (error.name, "Please try again."))
    if error.code < 500:
        text = _own_words(error) or text
    made: Response
    if problems.wants_problem(request):
        made = problems.response(error.code, title, kind=None, detail=text, facts={})
    else:
        made = _page(error.code, title, text, action=HOME)
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in (given := error.get_response().headers):
            made.headers[name] = given[name]
    return _retryable(made)


def answer_stale_form(error: CSRFError) -> Response:
    """Answer a form without the token of this session; a program is told the word that helps its author."""
    title, text = STALE_FORM
    if problems.wants_problem(request):
        return problems.response(400, title, kind=None, detail=str(error.description), facts={})
    return _page(400, title, text, action=HOME if current_user.is_authenticated else LOG_IN)


def answer_database_away(error: Exception) -> Response:
    """Answer 503 when the database cannot be reached or is too busy; what it said goes to the log only."""
    log.error("database away", error=type(error).__name__, message=str(error))
    title, text = HTTP_ANSWERS[503]
    if problems.wants_problem(request):
        return _retryable(problems.response(503, title, kind=None, detail=text, facts={}))
    return _retryable(_page(503, title, text, action=HOME))


def _own_words(error: HTTPException) -> str | None:
    if isinstance(error, (BadRequestKeyError, SecurityError)) or error.description == type(error).description:
        return None
    # Flask-Limiter describes a 429 by its rule, "30 per 1 minute", which says nothing to a visitor.
    return None if error.code == 429 else error.description


def _page(status: int, title: str, text: str, *, action: Action | None, missing_credits: int = 0) -> Response:
    """Render the error page; if that fails too, or the request named another host, a bare one that needs nothing."""
    if isinstance(request.routing_exception, SecurityError):
        return Response(_bare_page(title, text), status=status, mimetype="text/html")  # no address can be built
    if status >= 500:
        g._login_user = AnonymousUserMixin()  # who it was stands in the database
    facts = {"status": status, "title": title, "text": text, "request_id": request_ids.current()}
    if missing_credits:
        facts |= {"missing_credits": missing_credits, "back": _page_to_return_to()}
    try:
        url = _action_url(action)
        label = action.label if action is not None and url is not None else None
        html = render_template("errors/error.html", **facts, action_label=label, action_url=url)
    except Exception as failure:
        log.warning("error page failed", error=type(failure).__name__, message=str(failure))
        html = _bare_page(title, text)
    return Response(html, status=status, mimetype="text/html")


def _bare_page(title: str, text: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><main><h1>{escape(title)}</h1><p>{escape(text)}</p>"
        f"<p>Request {escape(request_ids.current())}</p></main></body></html>"
    )


def _where_to_solve(row: Answer) -> dict[str, str]:
    url = _action_url(row.action)
    if url is None:
        return {}
    base: str = current_app.config["TOLLGATE"].app_base_url
    return {"solve_at": f"{base}{url}"}


def _action_url(action: Action | None) -> str | None:
    if action is None:
        return None
    endpoint = next((name for name in action.endpoints if navigation.has_page(name)), None)
    if endpoint is None:
        return None
    return url_for(endpoint, next=_page_to_return_to()) if action.returns else url_for(endpoint)


def _page_to_return_to() -> str | None:
    """Return the page that the visitor stood on: the one asked for, or the one with the form; None for programs."""
    if problems.wants_problem(request):
        return None
    if request.method in {"GET", "HEAD"}:
        page = request.full_path.rstrip("?")
    else:
        came_from = urlsplit(request.referrer or "")
        page = came_from.path if came_from.netloc == request.host else ""
    return page if redirects.is_local(page) else None


def _retryable(response: Response, error: Exception | None = None) -> Response:
    """Say when to come back, where coming back helps; Flask-Limiter knows it better and writes over it."""
    if response.status_code in {429, 503}:
        seconds = math.ceil(getattr(error, "retry_after", 0.0)) or RETRY_AFTER_SECONDS
        response.headers.setdefault("Retry-After", str(seconds))
    return response
