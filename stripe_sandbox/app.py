"""The Flask application: the API under /v1, and the pages for people."""

from __future__ import annotations

import socket
import urllib.parse
from typing import Any

from flask import Flask, Response, current_app, request

from stripe_sandbox import api, control, engine, pages, routes
from stripe_sandbox.sandbox import Sandbox

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

engine.load()
routes.load()


def create_app(sandbox: Sandbox | None = None, **settings: Any) -> Flask:
    """Return the WSGI application of a sandbox; without one, of a new sandbox made with `settings`."""
    app = Flask("stripe_sandbox", static_url_path="/assets")
    app.config["MAX_CONTENT_LENGTH"] = 8 * 1024 * 1024
    app.extensions["sandbox"] = sandbox = sandbox or Sandbox(**settings)
    # A page elsewhere that resolves its own name to this machine must not get to read what is here.
    app.config["TRUSTED_HOSTS"] = [*LOOPBACK, urllib.parse.urlsplit(sandbox.base_url).hostname]
    app.before_request(refuse_foreign_forms)
    app.add_url_rule(
        "/v1/<path:path>",
        view_func=call_api,
        methods=["GET", "POST", "DELETE"],
        endpoint="api",
        provide_automatic_options=False,
    )
    app.add_url_rule(
        "/v2/<path:path>",
        view_func=call_api,
        methods=["GET", "POST", "DELETE"],
        endpoint="api2",
        provide_automatic_options=False,
    )
    app.register_blueprint(control.blueprint)
    pages.register(app)
    return app


def refuse_foreign_forms() -> tuple[str, int] | None:
    """Refuse a form that another site's page sends: buttons on these pages are pressed here or not at all."""
    origin = request.headers.get("Origin")
    if request.method != "POST" or request.path.startswith(("/v1/", "/v2/", "/sandbox/")):
        return None
    if origin not in (None, request.host_url.rstrip("/")) or request.headers.get("Sec-Fetch-Site") == "cross-site":
        return "This form was sent by another site's page. Open the sandbox's own page and try again.", 403
    return None


def current() -> Sandbox:
    """Return the sandbox of the application that serves the current request."""
    sandbox: Sandbox = current_app.extensions["sandbox"]
    return sandbox


def call_api(path: str) -> Response:
    """Hand an API request to `api.handle` as it came."""
    answer = api.handle(
        current(),
        api.Request(
            method=request.method,
            path=request.path,
            query=request.query_string,
            body=request.get_data(),
            headers={name.lower(): value for name, value in request.headers.items()},
        ),
    )
    connection = request.environ.get("gunicorn.socket")
    if answer.status == api.UNREACHABLE and connection is not None:
        connection.shutdown(socket.SHUT_RDWR)  # To the client the server has gone away in the middle.
    return Response(answer.body, status=answer.status, headers=answer.headers)
