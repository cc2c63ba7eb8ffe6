"""Pages a second: ours against a bare Flask page that runs the same queries and sends the same bytes.

A second row compares with a page as people write it: the same selects through an ORM session, the texts in a template.
Ours sends most of its selects past the session (docs/adr/0017-pages-read-rows-and-not-objects.md); whoever listens to
the engine's events, as the recorder here does, is told of each, so both rows count all of them.

Ours is looked at again and again while nothing in it changes, so that its rendering is found; one that has changed, or
is seen for the first time, is rendered. See docs/adr/0016-a-page-is-kept-by-what-it-shows.md.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import clock
import database
from accounts import people, sessions
from bench import load, servers
from extensions import db
from ledger import granting, spending

PATHS = {"landing": "/", "dashboard": "/dashboard", "pricing": "/pricing", "billing": "/billing"}


def run(*, quick: bool) -> list[dict[str, Any]]:
    """Measure the pages of a signed-in account with some history, on each database that is there."""
    rows = []
    with servers.databases() as databases:
        for name, url in databases.items():
            app = servers.migrated_app(url)
            cookie = _sign_in(app)
            for page, path in PATHS.items():
                rows += _measure(f"{page} page, {name}", url, app, path, cookie, quick=quick)
    return rows


def _measure(name: str, url: str, app: Flask, path: str, cookie: str, *, quick: bool) -> list[dict[str, Any]]:
    queries, body = _record(app, path, cookie)
    seconds, rounds = (0.7, 4) if quick else (1.0, 15)
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "page.json"
        recorded.write_text(json.dumps({"queries": queries, "body": body, "path": path, "cookie": cookie}))
        bare_environment = {**servers.settings(url), "BARE_PAGE": str(recorded)}
        with (
            servers.gunicorn("app:create_app()", servers.settings(url)) as our_server,
            servers.gunicorn("bench.bare:page()", bare_environment) as bare_server,
            servers.gunicorn("bench.bare:usual_page()", bare_environment) as usual_server,
        ):
            ask, bare_ask = load.request("GET", path, headers={"Cookie": cookie}), load.request("GET", "/page")
            ours, bare, usual = load.interleaved(
                rounds,
                lambda: load.measure(our_server, _forever(ask), seconds=seconds),
                lambda: load.measure(bare_server, _forever(bare_ask), seconds=seconds),
                lambda: load.measure(usual_server, _forever(bare_ask), seconds=seconds),
            )
    note = f"{len(queries)} queries, {len(body.encode()):,} bytes of HTML on both sides"
    return [
        load.row(name, ours, bare, unit="pages/s", note=f"{note}; bare: the driver, ready bytes"),
        load.row(
            f"{name}, beside a usual one",
            ours,
            usual,
            unit="pages/s",
            note=f"{note}; bare: the same selects, all by an ORM session, one flat template, no sign-in",
        ),
    ]


def _sign_in(app: Flask) -> str:
    """Make somebody with a month of activity; return the cookie of a browser that is signed in."""
    with app.app_context():
        token = database.write(_make_person)
    client = app.test_client()
    with client.session_transaction(base_url="http://127.0.0.1") as session:
        session["_user_id"], session["_fresh"] = token, True
    client.get("/dashboard", base_url="http://127.0.0.1")
    found = client.get_cookie("session", domain="127.0.0.1")
    if found is None:
        raise LookupError("signing in set no cookie")
    return f"session={found.value}"


def _make_person(session: Session) -> str:
    user = people.create_user(session, email="bench@example.com", password_hash=None, confirmed_at=clock.now())
    account_id = people.personal_account(session, user.id).id
    granting.grant(session, account_id, 100, kind="purchase", source="charge:bench", note="Bought 100 credits")
    for number in range(30):
        spending.spend(session, account_id, 1, idempotency_key=f"bench:{number}", reason="CV report, 1 page")
    return sessions.start(session, user.id, is_remembered=True)


def _record(app: Flask, path: str, cookie: str) -> tuple[list[tuple[str, Any]], str]:
    """Return the queries that a page runs, as the driver gets them, and its HTML."""
    queries: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            queries.append((statement, _plain(parameters)))

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        answer = app.test_client(use_cookies=False).get(path, headers={"Cookie": cookie}, base_url="http://127.0.0.1")
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answered {answer.status_code}")
    return queries, answer.get_data(as_text=True)


def _plain(parameters: Any) -> Any:
    if isinstance(parameters, dict):
        return {name: _plain(value) for name, value in parameters.items()}
    if isinstance(parameters, (list, tuple)):
        return [_plain(value) for value in parameters]
    return parameters if isinstance(parameters, (str, int, float, type(None))) else str(parameters)


def _forever(data: bytes) -> Iterator[bytes]:
    while True:
        yield data
