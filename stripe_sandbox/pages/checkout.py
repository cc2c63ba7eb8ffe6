"""Hosted Checkout and its 3-D Secure page."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, redirect, render_template, request
from werkzeug.wrappers import Response

from stripe_sandbox import cards, errors
from stripe_sandbox.engine import checkout, completion, methods
from stripe_sandbox.engine.wording import money
from stripe_sandbox.pages import access
from stripe_sandbox.routes import payment_methods
from stripe_sandbox.world import World

blueprint = Blueprint("checkout", __name__, url_prefix="/checkout/c/pay")
Document = dict[str, Any]
Answer = str | Response | tuple[str, int]


@blueprint.get("/<session_id>")
def show(session_id: str) -> Answer:
    """Show what is bought and the form that pays for it."""
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        with access.attempt():
            checkout.ensure_open(world, session)
        if session["status"] == "open" and session["_challenge"]:
            return redirect(f"{request.path}/challenge", 303)
        return _page(world, session)


@blueprint.post("/<session_id>")
def submit(session_id: str) -> Answer:
    """Pay, apply a promotion code, or take it away - as the pressed button says."""
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        form = {name: value.strip() for name, value in request.form.items()}
        with access.attempt() as outcome:
            checkout.ensure_open(world, session)
            _act(world, session, form)
        if outcome.error is not None:
            return _page(world, session, form=form, error=outcome.error), 422 if session["status"] == "open" else 410
        return redirect(_next(session), 303)


def _act(world: World, session: Document, form: dict[str, str]) -> None:
    action = form.get("action", "pay")
    if action == "remove_code":
        checkout.remove_code(world, session)
        return
    if action == "apply_code" or (form.get("promotion_code") and not session["discounts"]):
        checkout.apply_code(world, session, form.get("promotion_code", ""))
    if action == "apply_code":
        return
    contact = _contact(world, session, form)
    method = _method(world, session, form, contact) if checkout.needs_card(world, session) else None
    checkout.submit(world, session, method, contact)


def _next(session: Document) -> str:
    here = f"/checkout/c/pay/{session['id']}"
    if session["status"] == "complete":
        return str(session["success_url"] or here).replace("{CHECKOUT_SESSION_ID}", session["id"])
    return f"{here}/challenge" if session["_challenge"] else here


def _contact(world: World, session: Document, form: dict[str, str]) -> Document:
    customer = world.find("customer", session["customer"]) or {}
    email = customer.get("email") or session["customer_email"] or form.get("email", "")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise errors.invalid("Enter your e-mail address.", "email")
    consent = session["consent_collection"] or {}
    if consent.get("terms_of_service") == "required" and not form.get("terms"):
        raise errors.invalid("Agree to the terms of service to continue.", "terms")
    contact: Document = {"email": email, "name": form.get("billing_name") or customer.get("name")}
    address = {
        name: form.get(f"address_{name}") or None
        for name in ("line1", "line2", "city", "state", "postal_code", "country")
    }
    if any(address.values()):
        contact["address"] = address
    if form.get("tax_id_value") and form.get("tax_id_type"):
        contact["tax_ids"] = [{"type": form["tax_id_type"], "value": form["tax_id_value"]}]
    if form.get("phone"):
        contact["phone"] = form["phone"]
    return contact


def _method(world: World, session: Document, form: dict[str, str], contact: Document) -> Document:
    """Return the saved card that was chosen, or a new one from the form's fields."""
    if form.get("saved_card"):
        method = world.get("payment_method", form["saved_card"], param="saved_card")
        if method["customer"] != session["customer"]:
            raise errors.no_such("payment_method", form["saved_card"], param="saved_card")
        return method
    card, month, year = read_card(world, form)
    return methods.new_card(world, card, exp_month=month, exp_year=year, billing=contact, allow_redisplay="limited")


def read_card(world: World, form: dict[str, str]) -> tuple[cards.Card, int, int]:
    """Return the test card and expiry that a form's `card_number`, `card_expiry` and `card_cvc` mean.

    Raises Stripe's card errors, whose `param` is the field's name.
    """
    number = form.get("card_number", "")
    try:
        card = cards.find_by_number(number)
    except errors.StripeError as error:
        error.param = "card_number"
        if error.code == "incorrect_number":
            short = len(re.sub(r"\D", "", number)) < 12
            error.message = "Your card number is incomplete." if short else "Your card number is invalid."
        raise
    match = re.fullmatch(r"(\d{1,2})\s*/\s*(\d{2}|\d{4})", form.get("card_expiry", ""))
    if match is None:
        raise errors.invalid("Your card's expiration date is incomplete.", "card_expiry")
    month, year = int(match.group(1)), payment_methods.full_year(int(match.group(2)))
    try:
        payment_methods.check_expiry(world, month, year)
    except errors.StripeError as error:
        error.param = "card_expiry"
        error.message = "Your card's expiration date is in the past." if 1 <= month <= 12 else error.message
        raise
    if not re.fullmatch(r"\d{3}" if card.brand != "amex" else r"\d{3,4}", form.get("card_cvc", "")):
        raise errors.invalid("Your card's security code is incomplete.", "card_cvc")
    return card, month, year


def _page(
    world: World, session: Document, *, form: dict[str, str] | None = None, error: errors.StripeError | None = None
) -> str:
    if session["status"] != "open":
        return render_template("checkout/closed.html", session=session)
    customer = world.find("customer", session["customer"])
    safe = {name: value for name, value in (form or {}).items() if not name.startswith("card_")}
    return render_template(
        "checkout/show.html",
        session=session,
        customer=customer,
        items=[_shown_item(world, item) for item in session["_line_items"]],
        due=money(checkout.due_now(world, session), session["currency"] or "usd"),
        needs_card=checkout.needs_card(world, session),
        subtotal=money(session["amount_subtotal"] or 0, session["currency"] or "usd"),
        discount=_discount(session),
        trial_end=completion.trial_end_of(world, session),
        button=button(world, session),
        known_email=(customer or {}).get("email") or session["customer_email"],
        saved_cards=_saved_cards(world, customer),
        form=safe,
        error=error,
    )


def _shown_item(world: World, item: Document) -> Document:
    price = world.get("price", item["price"])
    product = world.get("product", price["product"])
    each = ""
    if price["recurring"]:
        count, interval = price["recurring"]["interval_count"], price["recurring"]["interval"]
        each = f"every {count} {interval}s" if count > 1 else f"per {interval}"
    return {
        "name": product["name"],
        "description": product["description"],
        "quantity": item["quantity"],
        "amount": money(item["amount_subtotal"], item["currency"]),
        "unit": money(price["unit_amount"] or 0, item["currency"]),
        "every": each,
    }


def _discount(session: Document) -> str | None:
    off = (session["total_details"] or {}).get("amount_discount")
    return money(-off, session["currency"]) if off else None


def button(world: World, session: Document) -> str:
    """Return the words on the button that completes a session."""
    if session["mode"] == "setup":
        return "Save card"
    if session["mode"] == "subscription":
        return "Start trial" if completion.trial_end_of(world, session) else "Subscribe"
    verb = {"book": "Book", "donate": "Donate"}.get(session["submit_type"] or "", "Pay")
    return f"{verb} {money(checkout.due_now(world, session), session['currency'])}"


def _saved_cards(world: World, customer: Document | None) -> list[Document]:
    if customer is None:
        return []
    return [one for one in world.select("payment_method", {"customer": customer["id"]}) if one["type"] == "card"]


@blueprint.get("/<session_id>/challenge")
def challenge(session_id: str) -> Answer:
    """Play the bank: ask the cardholder whether it is them."""
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        if session["status"] != "open" or not session["_challenge"]:
            return redirect(_next(session) if session["status"] == "complete" else f"/checkout/c/pay/{session_id}", 303)
        amount = money(checkout.due_now(world, session), session["currency"] or "usd")
        return render_template("checkout/challenge.html", session=session, amount=amount)


@blueprint.post("/<session_id>/challenge")
def answer_challenge(session_id: str) -> Answer:
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        if not session["_challenge"]:
            return redirect(f"/checkout/c/pay/{session_id}", 303)
        with access.attempt() as outcome:
            checkout.answer_challenge(world, session, passed=request.form.get("action") == "complete")
        if outcome.error is not None:
            return _page(world, session, error=outcome.error), 422
        return redirect(_next(session), 303)
