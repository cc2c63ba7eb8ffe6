"""The pages for people: hosted Checkout, the Customer Portal, invoices, the bank's challenge, and the dashboard.

Each module has a blueprint named `blueprint`; all of them work without JavaScript, and none of them stores a card
number.
"""

from __future__ import annotations

import importlib
import pkgutil

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from stripe_sandbox.pages import card_offers, words

PROBLEMS = {
    404: ("There is nothing here", "The address is wrong, or the sandbox has been reset since it was made."),
    405: ("That cannot be done here", "Go back, and use the buttons of the page."),
    413: ("That is too much", "The form is larger than the sandbox reads."),
}


def register(app: Flask) -> None:
    """Register the blueprint of every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        found = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(found, "blueprint"):
            app.register_blueprint(found.blueprint)
    app.jinja_env.globals.update(tone_of=words.tone_of, brand_name=card_offers.brand, kind_name=words.kind_name)
    app.jinja_env.filters.update(moment=words.moment, day=words.day, money=words.amount, path_of=words.path_of)
    app.after_request(_harden)
    for status in PROBLEMS:
        app.register_error_handler(status, _explain)


def _explain(problem: HTTPException) -> tuple[str, int] | HTTPException:
    """Say on a page of the sandbox's own what went wrong; the API has its own errors."""
    if request.path.startswith(("/v1/", "/v2/", "/sandbox/", "/assets/")):
        return problem
    status = problem.code or 500
    title, said = PROBLEMS[status]
    return render_template("problem.html", title=title, words=said), status


def _harden(response: Response) -> Response:
    """Let pages load their own files only, and never be framed or kept."""
    if response.mimetype == "text/html":
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
            "base-uri 'none'; frame-ancestors 'none'",
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
    return response
