"""The bare minimum that ours is measured against: plain Flask views on the bare database driver.

Beside them a page as people write it: the same queries through SQLAlchemy, and the same text through a template.
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
    """A view that sends recorded queries through SQLAlchemy and puts each text of the page into a template.

    The template has neither macros nor layouts, and nobody is signed in.
    """
    app, engine = Flask(__name__), sa.create_engine(os.environ["DATABASE_URL"])
    recorded = json.loads(Path(os.environ["BARE_PAGE"]).read_text())
    queries = [(sql, tuple(given) if isinstance(given, list) else given) for sql, given in recorded["queries"]]
    texts, source = _as_template(recorded["body"])
    app.jinja_env.keep_trailing_newline = True
    app.jinja_env.autoescape = True
    template = app.jinja_env.from_string(source)

    @app.get("/page")
    def show() -> str:
        with engine.connect() as database:
            for sql, parameters in queries:
                database.exec_driver_sql(sql, parameters).fetchall()
        return render_template(template, texts=texts)

    return app


def _as_template(body: str) -> tuple[list[str], str]:
    """Return a page's texts, and the page as a template that has an expression where each of them was."""
    texts: list[str] = []

    def taken_out(match: re.Match[str]) -> str:
        texts.append(html.unescape(match[1]))
        return f">{{{{ texts[{len(texts) - 1}] }}}}<"

    return texts, re.sub(r">([^<>]*\S[^<>]*)<", taken_out, body)
