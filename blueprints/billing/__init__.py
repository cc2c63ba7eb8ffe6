"""Paying: the order page, the way to Stripe's pages and back, and what the account has paid for."""

from __future__ import annotations

from flask import abort, current_app, flash, redirect, render_template, request, url_for
from flask_limiter.util import get_remote_address
from werkzeug.wrappers import Response

from accounts.models import ADMIN
from billing import catalog, checkout, errors, outcomes, saved_cards
from blueprints.billing import (
    auto_top_up,
    cancelling,
    changing,
    embedded,
    metering,
    overview,
    papers,
    pausing,
    portal,
    redeeming,
    statements,
    topping_up,
)
from blueprints.billing.base import bp
from config import Config
from extensions import db, limiter
from ledger import statement
from web import gates, navigation, redirects
from web.current import current_account, find_current_account

__all__ = [
    "auto_top_up",
    "bp",
    "cancelling",
    "changing",
    "embedded",
    "metering",
    "overview",
    "papers",
    "pausing",
    "portal",
    "redeeming",
    "statements",
    "topping_up",
]


def buyer() -> str:
    """Return what checkouts are counted by: the account, or the address of somebody who is not signed in."""
    account = find_current_account()
    return f"account:{account.id}" if account else get_remote_address()


@bp.get("/pricing/checkout/<price_key>")
@gates.requires(role=ADMIN)
def order(price_key: str) -> str | Response:
    """Show what is about to be bought, and one button: where people land who had to sign up first."""
    try:
        offer = checkout.describe(db.session(), current_account().id, price_key)
    except errors.AlreadySubscribed:
        return redirect(url_for("billing.index"))
    return render_template(
        "billing/order.html",
        offer=offer,
        thing=catalog.current().offer(price_key),
        next=redirects.asked_next(""),
        saved_card=saved_cards.find(db.session(), current_account().id) if offer.mode == "payment" else None,
    )


@bp.post("/pricing/checkout/<price_key>")
@gates.public
@limiter.limit("30 per hour; 6 per minute", key_func=buyer)
def start_checkout(price_key: str) -> Response:
    """Send the person to Stripe's Checkout for a catalogue key; whoever is not signed in signs up first."""
    catalog.current().for_sale(price_key)
    account, wanted = find_current_account(), redirects.asked_next("") or None
    if account is None:
        order_page = url_for("billing.order", price_key=price_key, next=wanted)
        return redirect(url_for("auth.register", next=order_page), 303)
    gates.ensure(gates.Demands(role=ADMIN))
    if request.form.get("account", account.public_id) not in ("", account.public_id):
        flash(
            "You act for another account since that page was opened. Nothing was charged; look again.",
            "warning",
        )
        return redirect(url_for("billing.order", price_key=price_key, next=wanted), 303)
    try:
        ui = "hosted" if request.form.get("ui") == "hosted" else _config().checkout_ui
        url = checkout.start(account.id, price_key, base_url=_config().app_base_url, ui=ui, next_path=wanted)
    except errors.AlreadySubscribed:
        return redirect(url_for("billing.index"), 303)
    except errors.AlreadyPaid as paid:
        return redirect(url_for("billing.success", session_id=paid.stripe_session_id), 303)
    return redirect(url, 303)


@bp.get("/billing/success")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def success() -> str:
    """Tell the truth about a checkout of one's own: paid, being confirmed, not paid.

    It asks Stripe the same way as the worker does and grants nothing by itself, so that opening it again, or by
    somebody else, changes nothing.
    """
    account_id = current_account().id
    session_id = request.args.get("session_id", "")
    intent = checkout.find_intent(db.session(), account_id, session_id)
    if intent is None:
        abort(404)
    is_fresh = outcomes.bring_in_line(session_id)
    db.session.refresh(intent)
    current = catalog.current()
    return render_template(
        "billing/success.html",
        outcome=outcomes.of(db.session(), intent, is_fresh=is_fresh),
        price=current.price(intent.price_key) if current.has_price(intent.price_key) else None,
        free_plan=current.free_plan,
        balance=statement.balance(db.session(), account_id),
        next=redirects.safe_next(intent.next_path, ""),
        label_of=navigation.label_of,
    )


def _config() -> Config:
    config: Config = current_app.config["TOLLGATE"]
    return config
