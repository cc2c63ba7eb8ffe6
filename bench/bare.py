"""The bare minimum that ours is measured against: plain Flask views on the bare database driver.

Beside them a page as people write it: the same selects through an ORM session, and the same text through a template.
"""

from __future__ import annotations

import html
import json
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
import stripe
from flask import Flask, Response, render_template, request
from sqlalchemy.orm import Session

SECONDS_OF_TOLERANCE = 300
_local = threading.local()


def connection(url: str) -> Any:
    """Return this thread's own connection through the bare driver, as durable as the app's."""
    if not hasattr(_local, "connection"):
        if url.startswith("sqlite"):
            _local.connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=10)
            _local.connection.execute("PRAGMA journal_mode=WAL")
            _local.connection.execute("PRAGMA synchronous=FULL")
        else:
            _local.connection = psycopg.connect(url, autocommit=True)
    return _local.connection


def ingest() -> Flask:
    """A view that verifies a webhook's signature and inserts one row."""
    app, url, secret = Flask(__name__), os.environ["DATABASE_URL"], os.environ["STRIPE_WEBHOOK_SECRETS"]
    is_sqlite = url.startswith("sqlite")
    mark = "?" if is_sqlite else "%s"
    insert = f"INSERT INTO bare_events (id, payload) VALUES ({mark}, {mark})"  # noqa: S608
    connection(url).execute("CREATE TABLE IF NOT EXISTS bare_events (id TEXT PRIMARY KEY, payload TEXT NOT NULL)")

    @app.post("/webhooks/stripe")
    def webhook() -> Response:
        raw = request.get_data()
        stripe.WebhookSignature.verify_header(raw, request.headers["Stripe-Signature"], secret, SECONDS_OF_TOLERANCE)
        event = json.loads(raw)
        database = connection(url)
        if is_sqlite:
            database.execute("BEGIN IMMEDIATE")
        database.execute(insert, (event["id"], raw.decode()))
        if is_sqlite:
            database.execute("COMMIT")
        return Response(status=200)

    return app


def page() -> Flask:
    """A view that runs recorded queries and answers with recorded bytes, read from the file in BARE_PAGE."""
    app, url = Flask(__name__), os.environ["DATABASE_URL"]
    recorded = json.loads(Path(os.environ["BARE_PAGE"]).read_text())
    body = recorded["body"].encode()

    @app.get("/page")
    def show() -> Response:
        database = connection(url)
        for sql, parameters in recorded["queries"]:
            database.execute(sql, parameters).fetchall()
        return Response(body, content_type="text/html; charset=utf-8")

    return app


def usual_page() -> Flask:
    """A view as people write it: the page's own selects through an ORM session, its texts in one flat template.

    The selects are the very statement objects that our page sends, composed once, with the same parameters, as many and
    in the same order; what differs is that here the session runs them, and there a cursor of the driver (prepared.py).
    They name columns, as ours do; most people would select objects, which costs more. Nothing else happens: nobody is
    signed in, no form has a token, nothing is logged, no header is added, and the template has neither macros nor
    layouts. Raises RuntimeError unless the selects are as many as the recorded queries.
    """
    recorded = json.loads(Path(os.environ["BARE_PAGE"]).read_text())
    selects = _selects_of(recorded["path"], recorded["cookie"])
    if len(selects) != len(recorded["queries"]):
        raise RuntimeError(f"{len(selects)} selects beside {len(recorded['queries'])} recorded queries")
    app, engine = Flask(__name__), sa.create_engine(os.environ["DATABASE_URL"])
    texts, source = _as_template(recorded["body"])
    app.jinja_env.keep_trailing_newline = True
    app.jinja_env.autoescape = True
    template = app.jinja_env.from_string(source)

    @app.get("/page")
    def show() -> str:
        with Session(engine) as session:
            for statement, parameters in selects:
                session.execute(statement, parameters).all()
        return render_template(template, texts=texts)

    return app


def _selects_of(path: str, cookie: str) -> list[tuple[Any, Any]]:
    """Return the statements that our page sends, as SQLAlchemy gets them."""
    from app import create_app
    from extensions import db

    ours, selects = create_app(), []

    def note(_connection: Any, statement: Any, multiple: Any, parameters: Any, _options: Any) -> None:
        selects.append((statement, multiple[0] if multiple else parameters))

    with ours.app_context():
        sa.event.listen(db.engine, "before_execute", note)
        page = ours.test_client(use_cookies=False).get(path, headers={"Cookie": cookie}, base_url="http://127.0.0.1")
        sa.event.remove(db.engine, "before_execute", note)
        db.session.remove()
        db.engine.dispose()
    if page.status_code != 200:
        raise RuntimeError(f"{path} answered {page.status_code}")
    return selects


def _as_template(body: str) -> tuple[list[str], str]:
    """Return a page's texts, and the page as a template that has an expression where each of them was."""
    texts: list[str] = []

    def taken_out(match: re.Match[str]) -> str:
        texts.append(html.unescape(match[1]))
        return f">{{{{ texts[{len(texts) - 1}] }}}}<"

    return texts, re.sub(r">([^<>]*\S[^<>]*)<", taken_out, body)
