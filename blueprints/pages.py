"""The pages about the site itself: landing, legal texts, and the visitor's choice of colours."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

import clock
from billing import catalog
from config import Config
from web import filters, gates, navigation, redirects

bp = Blueprint("pages", __name__)

THEME_COOKIE_SECONDS = 365 * 24 * 3600


@bp.get("/")
@gates.public
def index() -> str:
    """Say in one line what the product does for the reader."""
    current = catalog.current()
    return render_template(
        "pages/index.html",
        start_url=_start_url(),
        picture=_picture(),
        free_plan=current.free_plan,
        packs=[(filters.credits(p.credits), _amount(p.price)) for p in current.packs],
        plans=[(f"{p.name}, {filters.credits(p.credits)}", _amount(p.prices[0])) for p in current.plans if p.prices],
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
    endpoint = "reports.new" if current_user.is_authenticated else "auth.register"
    return url_for(endpoint) if navigation.has_page(endpoint) else url_for("pricing.index")


def _amount(price: catalog.Price) -> str:
    return filters.money(price.amount_cents, price.currency)


def _picture() -> SimpleNamespace:
    """Return an example account for the picture of the product; its figures add up like a real one's."""
    now = clock.now()
    return SimpleNamespace(
        total=60,
        sources=[
            SimpleNamespace(kind="plan", remaining=32, granted=50, expires_at=now + timedelta(days=12)),
            SimpleNamespace(kind="purchase", remaining=28, granted=30, expires_at=None),
        ],
        entries=[
            SimpleNamespace(title="CV checked", detail="2 pages", at=now - timedelta(minutes=4), amount=-2),
            SimpleNamespace(title="30 credits bought", detail="$20.00", at=now - timedelta(hours=3), amount=30),
            SimpleNamespace(title="Pro renewed", detail="50 credits", at=now - timedelta(days=18), amount=50),
        ],
        failure=[
            SimpleNamespace(title="CV checked", detail="second try", at=now - timedelta(minutes=1), amount=-2),
            SimpleNamespace(
                title="Check did not finish", detail="nothing charged", at=now - timedelta(minutes=2), amount=0
            ),
        ],
        statement=[["CV checked, 2 pages", filters.signed(-2), 60], ["30 credits bought", "+30", 62]],
    )
