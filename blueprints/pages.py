"""The pages about the site itself: landing, legal texts, and the visitor's choice of colours."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

import clock
from billing import catalog
from blueprints import product_picture
from config import Config
from web import current, filters, fragments, gates, navigation, redirects

bp = Blueprint("pages", __name__)

THEME_COOKIE_SECONDS = 365 * 24 * 3600


@bp.get("/")
@gates.public
def index() -> str:
    """Say in one line what the product does for the reader."""
    start_url, now = _start_url(), clock.now()
    # Made anew each hour, for the picture has dates.
    return fragments.kept_page(lambda: _landing(start_url, now), start_url, now.date(), now.hour)


def _landing(start_url: str, now: datetime) -> str:
    current = catalog.current()
    page_cost = current.costs.get("cv_page") or 1  # a catalogue of another product need not know the checker's
    return render_template(
        "pages/index.html",
        start_url=start_url,
        page_cost=page_cost,
        picture=product_picture.draw(current, now, page_cost),
        free_plan=current.free_plan,
        packs=[(filters.credits(p.credits), _amount(p.price)) for p in current.packs_for_sale],
        plans=[
            (f"{p.name}, {filters.credits(p.credits)}", _amount(p.prices[0]))
            for p in current.plans_for_sale
            if p.prices
        ],
    )


@bp.get("/terms")
@gates.public
def terms() -> str:
    """Show the terms of service: a template for those who clone this."""
    return render_template("pages/terms.html")


@bp.get("/privacy")
@gates.public
def privacy() -> str:
    """Show the privacy notice: a template for those who clone this."""
    return render_template("pages/privacy.html")


@bp.post("/theme")
@gates.public
def theme() -> Response:
    """Remember whether the visitor wants the light or the dark theme, or the device's."""
    chosen = request.form.get("theme", "")
    if chosen not in (*filters.THEMES, "auto"):
        abort(400, "Choose light, dark or auto.")
    config: Config = current_app.config["TOLLGATE"]
    response = redirect(redirects.safe_next(request.form.get("next", ""), "/"), code=303)
    if chosen == "auto":
        response.delete_cookie("theme")
    else:
        response.set_cookie(
            "theme", chosen, max_age=THEME_COOKIE_SECONDS, secure=config.is_https, httponly=True, samesite="Lax"
        )
    return response


def _start_url() -> str:
    """Return where "Check your first CV" leads: to the check, by way of the sign-up for those who are new."""
    endpoint = "reports.new" if current.person() is not None else "auth.register"
    return url_for(endpoint) if navigation.has_page(endpoint) else url_for("pricing.index")


def _amount(price: catalog.Price) -> str:
    return filters.money(price.amount_cents, price.currency)
