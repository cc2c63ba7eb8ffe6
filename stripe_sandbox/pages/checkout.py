"""Hosted Checkout and its 3-D Secure page."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, g, redirect, render_template, request
from werkzeug.wrappers import Response

from stripe_sandbox import errors
from stripe_sandbox.engine import checkout, completion, methods
from stripe_sandbox.engine.wording import money
from stripe_sandbox.pages import access, card_form, order
from stripe_sandbox.pages.countries import COUNTRIES, TAX_IDS
from stripe_sandbox.world import World

blueprint = Blueprint("checkout", __name__, url_prefix="/checkout/c/pay")
Document = dict[str, Any]
Answer = str | Response | tuple[str, int]
SHOP = "Sandbox shop"
FRAMED = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors http://127.0.0.1:* http://localhost:*"
)
FIELDS = (
    *("email", "phone", "promotion_code", "billing_name", "saved_card", "terms", "tax_id_value"),
    *("address_line1", "address_city", "address_country", "address_postal_code"),
)


@blueprint.url_value_preprocessor
def _note_embedded(_endpoint: str | None, values: dict[str, str] | None) -> None:
    with access.world() as world:
        session = world.find("checkout.session", (values or {}).get("session_id"))
        g.embedded = session is not None and _is_embedded(session)


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
    form = {name: value.strip() for name, value in request.form.items()}
    if form.get("test_card"):
        with access.world() as world:
            session = access.get_or_404(world, "checkout.session", session_id)
            return _page(world, session, form=card_form.fill_in(form))

    def act(world: World) -> None:
        session = access.get_or_404(world, "checkout.session", session_id)
        checkout.ensure_open(world, session)
        _act(world, session, form)

    return _answer(session_id, access.perform(act), form)


def _answer(session_id: str, error: errors.StripeError | None, form: dict[str, str] | None = None) -> Answer:
    """Go on to what comes next, or show what was refused beside what had been typed."""
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        if error is None:
            return redirect(_next(session), 303)
        return _page(world, session, form=form, error=error), 422 if session["status"] == "open" else 410


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
    _fill_custom_fields(session, form)
    session["_save_card"] = bool(_may_save(session) and form.get("save_card"))
    checkout.submit(world, session, method, contact)
    _keep_card(world, session)


def _keep_card(world: World, session: Document) -> None:
    """Attach the card that a buyer asked to save, once the session is complete."""
    customer, method = world.find("customer", session["customer"]), world.find("payment_method", session["_method"])
    if session["status"] == "complete" and session.get("_save_card") and customer and method:
        methods.attach(world, method, customer)


def _fill_custom_fields(session: Document, form: dict[str, str]) -> None:
    for field in session["custom_fields"] or []:
        name, inner = f"custom_{field['key']}", field[field["type"]]
        given = form.get(name) or None
        if given is None and not field["optional"]:
            raise errors.invalid(f"Fill in: {field['label']['custom']}.", name)
        if given is not None:
            _check_custom(field, given, name)
        inner["value"] = given


def _check_custom(field: Document, given: str, name: str) -> None:
    label, inner = field["label"]["custom"], field[field["type"]]
    if field["type"] == "dropdown":
        if given not in [option["value"] for option in inner["options"]]:
            raise errors.invalid(f"Choose one of the answers: {label}.", name)
        return
    if field["type"] == "numeric" and not re.fullmatch(r"[0-9]+", given):
        raise errors.invalid(f"Use digits only: {label}.", name)
    if not (inner["minimum_length"] or 0) <= len(given) <= (inner["maximum_length"] or 255):
        raise errors.invalid(f"That is too short or too long: {label}.", name)


def _next(session: Document) -> str:
    here = f"/checkout/c/pay/{session['id']}"
    if session["status"] == "complete":
        # Within a frame the closing page tells the page around it where to go on.
        return here if _is_embedded(session) else _success_url(session) or here
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
    for name in ("line1", "city", "country"):
        if session.get("billing_address_collection") == "required" and not address[name]:
            raise errors.invalid("Enter your billing address.", f"address_{name}")
    if form.get("tax_id_value"):
        if form.get("tax_id_type") not in dict(TAX_IDS) or not form["tax_id_type"]:
            raise errors.invalid("Choose what kind of tax ID this is.", "tax_id_value")
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
    card, month, year = card_form.read(world, form)
    again = "always" if _may_save(session) and form.get("save_card") else "limited"
    return methods.new_card(world, card, exp_month=month, exp_year=year, billing=contact, allow_redisplay=again)


def _page(
    world: World, session: Document, *, form: dict[str, str] | None = None, error: errors.StripeError | None = None
) -> str:
    if session["status"] != "open":
        return render_template(
            "checkout/closed.html", session=session, onward=_success_url(session), embedded=_is_embedded(session)
        )
    form = form or {}
    customer = world.find("customer", session["customer"])
    saved = _saved_cards(world, session, customer)
    fields = (*FIELDS, *(f"custom_{field['key']}" for field in session["custom_fields"] or []))
    wrong = card_form.wrong_field(error, known=fields)
    newly = bool(form.get("card_number")) or wrong in (card_form.NUMBER, card_form.EXPIRY, card_form.CVC)
    return render_template(
        "checkout/show.html",
        session=session,
        shop=SHOP,
        embedded=_is_embedded(session),
        saves_card=(session["_payment_intent_data"] or {}).get("setup_future_usage") == "off_session",
        order=order.summarise(world, session),
        needs_card=checkout.needs_card(world, session),
        button=button(world, session),
        known_email=(customer or {}).get("email") or session["customer_email"],
        saved_cards=saved,
        chosen=form.get("saved_card") or (None if newly or not saved else saved[0]["id"]),
        may_save=_may_save(session),
        terms=(session["consent_collection"] or {}).get("terms_of_service") == "required",
        countries=COUNTRIES,
        tax_id_types=TAX_IDS,
        choices_of=_choices_of,
        form=form,
        error=error,
        wrong=wrong,
        **card_form.offers(),
    )


def _success_url(session: Document) -> str:
    return str(session["success_url"] or session["return_url"] or "").replace("{CHECKOUT_SESSION_ID}", session["id"])


def _is_embedded(session: Document) -> bool:
    return bool(session["ui_mode"] == "embedded_page")


@blueprint.after_request
def _let_shops_frame_it(response: Response) -> Response:
    """Let the page of an embedded session stand in a frame of a shop on this machine, and no other page."""
    if (response.mimetype == "text/html") and g.get("embedded"):
        response.headers["Content-Security-Policy"] = FRAMED
    return response


def _choices_of(field: Document) -> list[tuple[str, str]]:
    return [("", ""), *((option["value"], option["label"]) for option in field["dropdown"]["options"])]


def _may_save(session: Document) -> bool:
    options = session.get("saved_payment_method_options") or {}
    return session["mode"] == "payment" and options.get("payment_method_save") == "enabled"


def button(world: World, session: Document) -> str:
    """Return the words on the button that completes a session."""
    if session["mode"] == "setup":
        return "Save card"
    if session["mode"] == "subscription":
        return "Start trial" if completion.trial_end_of(world, session) else "Subscribe"
    verb = {"book": "Book", "donate": "Donate"}.get(session["submit_type"] or "", "Pay")
    return f"{verb} {money(checkout.due_now(world, session), session['currency'])}"


def _saved_cards(world: World, session: Document, customer: Document | None) -> list[Document]:
    """Return the customer's cards that may be shown again: those whose `allow_redisplay` the session lets through."""
    if customer is None or session["mode"] == "setup":
        return []
    allowed = (session.get("saved_payment_method_options") or {}).get("allow_redisplay_filters") or ["always"]
    found = world.select("payment_method", {"customer": customer["id"]})
    return [one for one in found if one["type"] == "card" and one["allow_redisplay"] in allowed]


@blueprint.get("/<session_id>/challenge")
def challenge(session_id: str) -> Answer:
    """Play the bank: ask the cardholder whether it is them."""
    with access.world() as world:
        session = access.get_or_404(world, "checkout.session", session_id)
        if session["status"] != "open" or not session["_challenge"]:
            return redirect(_next(session) if session["status"] == "complete" else f"/checkout/c/pay/{session_id}", 303)
        due = checkout.due_now(world, session)
        amount = money(due, session["currency"] or "usd") if due and session["mode"] != "setup" else ""
        method = world.find("payment_method", session["_method"]) or {}
        return render_template("checkout/challenge.html", shop=SHOP, card=method.get("card", {}), amount=amount)


@blueprint.post("/<session_id>/challenge")
def answer_challenge(session_id: str) -> Answer:
    """Tell the session what the bank was told."""

    def act(world: World) -> None:
        session = access.get_or_404(world, "checkout.session", session_id)
        if session["_challenge"]:
            checkout.answer_challenge(world, session, passed=request.form.get("action") == "complete")
            _keep_card(world, session)

    return _answer(session_id, access.perform(act))
