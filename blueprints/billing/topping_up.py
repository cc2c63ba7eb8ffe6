"""Buy a pack with the saved card by one click, and see what has become of it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import abort, current_app, flash, redirect, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response

from accounts.models import ADMIN
from billing import card_charges, catalog, checkout, errors, saved_cards, top_ups
from billing.saved_cards import Card
from blueprints.billing.base import bp
from config import Config
from extensions import db, limiter
from ledger import statement
from web import fragments, gates, idempotency, redirects
from web.current import current_account, find_current_account


@dataclass(frozen=True)
class OneClick:
    """A pack that can be bought with the saved card by one click."""

    pack: catalog.Pack
    card: Card


def buyer() -> str:
    """Return what purchases by one click are counted by: the account."""
    return f"account:{current_account().id}"


@bp.post("/billing/top-up/<price_key>")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour; 6 per minute", key_func=buyer)
def buy_now(price_key: str) -> Response:
    """Charge the saved card for a pack; where the bank wants to see its customer, go to Stripe's page instead."""
    top_ups.pack_on_sale(price_key)
    account_id, back = current_account().id, redirects.asked_next("")
    try:
        row = card_charges.start(
            account_id,
            price_key,
            card_id=request.form.get("card", ""),
            amount_cents=request.form.get("amount_cents", 0, type=int),
            form_key=idempotency.key(),
            another_than=request.form.get("another_than", ""),
        )
    except errors.BoughtJustNow as bought:
        flash("You bought this a moment ago, so nothing more was charged.", "warning")
        asking = url_for("billing.top_up", top_up_id=bought.top_up_id, next=back or None, another="yes")
        return redirect(asking, 303)
    except errors.OfferChanged:
        flash("Your card or the price is another one by now. Nothing was charged; look again.", "warning")
        return redirect(url_for("billing.order", price_key=price_key), 303)
    if row.status == "challenged":
        flash("Your bank wants to see you for this payment. Nothing was charged yet.", "warning")
        return redirect(checkout.start(account_id, price_key, base_url=_base_url()), 303)
    return redirect(url_for("billing.top_up", top_up_id=row.public_id, next=back or None), 303)


@bp.get("/billing/top-up/<top_up_id>")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def top_up(top_up_id: str) -> str:
    """Tell the truth about a top-up of one's own: bought, being confirmed, declined, given up."""
    account_id = current_account().id
    row = top_ups.find(db.session(), account_id, top_up_id)
    if row is None:
        abort(404)
    row = card_charges.look_again(row)
    on_sale = {pack.price.key: pack for pack in catalog.current().packs_for_sale}
    return render_template(
        "billing/top_up.html",
        top_up=row,
        pack=on_sale.get(row.price_key),
        saved_card=saved_cards.find(db.session(), account_id) if "another" in request.args else None,
        balance=statement.balance(db.session(), account_id),
        back=redirects.asked_next(""),
    )


def one_click(credits: int = 0) -> OneClick | None:
    """Return the smallest pack that brings at least so many credits, and the card it would be charged to.

    None for whoever has no saved card or may not buy, and when no pack is large enough.
    """
    account = find_current_account()
    if not gates.may(role=ADMIN):
        return None
    card = saved_cards.find(db.session(), account.id) if account else None
    large_enough = [pack for pack in catalog.current().packs_for_sale if pack.credits >= credits]
    if card is None or not large_enough:
        return None
    return OneClick(min(large_enough, key=lambda pack: pack.credits), card)


@bp.record_once
def _let_templates_offer_it(state: BlueprintSetupState) -> None:
    state.app.jinja_env.globals.update(one_click=fragments.passing(one_click), card_words=saved_cards.in_words)


def _base_url() -> str:
    config: Config = current_app.config["TOLLGATE"]
    return config.app_base_url
