"""The pages that are about the site itself: landing, legal texts, the theme, and the gallery of components."""

from __future__ import annotations

from flask import Blueprint, abort, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from config import Config
from web import filters

bp = Blueprint("pages", __name__)

THEME_COOKIE_SECONDS = 365 * 24 * 3600


@bp.get("/")
def index() -> str:
    """Say in one line what the product does for the reader."""
    return render_template("pages/index.html")


@bp.post("/theme")
def theme() -> Response:
    """Remember whether the visitor wants the light or the dark theme, or the device's."""
    chosen = request.form.get("theme", "")
    if chosen not in (*filters.THEMES, "auto"):
        abort(400, "Choose light, dark or auto.")
    config: Config = current_app.config["TOLLGATE"]
    response = make_response(redirect("/", code=303))
    if chosen == "auto":
        response.delete_cookie("theme")
    else:
        response.set_cookie(
            "theme", chosen, max_age=THEME_COOKIE_SECONDS, secure=config.is_https, httponly=True, samesite="Lax"
        )
    return response
