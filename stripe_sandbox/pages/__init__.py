"""The pages for people: hosted Checkout, the bank's challenge, and whatever else Stripe shows in a browser.

Each module has a blueprint named `blueprint`; all of them work without JavaScript, and none of them stores a card
number.
"""

from __future__ import annotations

import importlib
import pkgutil

from flask import Flask, Response


def register(app: Flask) -> None:
    """Register the blueprint of every module of this package."""
    for module in pkgutil.iter_modules(__path__):
        found = importlib.import_module(f"{__name__}.{module.name}")
        if hasattr(found, "blueprint"):
            app.register_blueprint(found.blueprint)
    app.after_request(_harden)


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
