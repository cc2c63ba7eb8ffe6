"""The Customer Portal: its home, cards and details; what is done to subscriptions is in `portal_subscriptions`."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, abort, redirect, request

from stripe_sandbox import errors
from stripe_sandbox.engine import customers, methods, subscriptions
from stripe_sandbox.pages import access, card_form, challenge, invoices, portal_visit
from stripe_sandbox.pages.countries import COUNTRIES, TAX_IDS
from stripe_sandbox.routes import customers as customer_routes
from stripe_sandbox.world import World

blueprint = Blueprint("portal", __name__, url_prefix="/p/session/<session_id>")
Document = dict[str, Any]
# Home -----------------------------------------------------------------------------------------------------------------


@blueprint.get("")
def enter(session_id: str) -> Any:
    """Show the home page, or go straight to what the session's flow is about."""
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        target = _deep_link(visit)
        return redirect(target, 303) if target else home_page(visit)


def _deep_link(visit: portal_visit.Visit) -> str | None:
    flow = visit.session["flow"] or {}
    kind = flow.get("type")
    if kind == "payment_method_update":
        return f"{visit.home}/cards/add"
    if kind == "customer_update":
        return f"{visit.home}/details"
    details = flow.get(kind) or {}
    if not details:
        return None
    here = f"{visit.home}/subscriptions/{details['subscription']}"
    if kind == "subscription_cancel":
        return f"{here}/cancel"
    if kind == "subscription_pause":
        return f"{here}/pause"
    if kind == "subscription_update":
        return f"{here}/change"
    if kind == "subscription_update_confirm":
        item = details["items"][0]
        return f"{here}/change/confirm?price={item['price'] or ''}&quantity={item['quantity'] or ''}"
    return None


@blueprint.get("/home")
def home(session_id: str) -> Any:
    with access.world() as world:
        return home_page(portal_visit.Visit(world, session_id))


def home_page(visit: portal_visit.Visit, error: errors.StripeError | None = None) -> Any:
    """Show the plan, the cards, the details and the invoices."""
    world, customer_id = visit.world, visit.customer["id"]
    live = [
        one for one in world.select("subscription", {"customer": customer_id}) if one["status"] in subscriptions.LIVE
    ]
    made = [one for one in world.select("invoice", {"customer": customer_id}) if one["status"] != "draft"]
    cards = [one for one in world.select("payment_method", {"customer": customer_id}) if one["type"] == "card"]
    return visit.show(
        "home",
        error=error,
        subscriptions=[portal_visit.in_words(visit, one) for one in live],
        invoices=made[:24],
        cards=cards,
        default=_default_card(visit, live),
        tax_ids=list(world.select("tax_id", {"customer": customer_id})),
    )


def _default_card(visit: portal_visit.Visit, live: list[Document]) -> str | None:
    preferred = [one["default_payment_method"] for one in live]
    method = methods.default_for(visit.world, visit.customer, *preferred)
    return method["id"] if method else None


@blueprint.get("/confirmed")
def confirmed(session_id: str) -> Any:
    """Show the confirmation that the session's flow asks for."""
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        then = (visit.session["flow"] or {}).get("after_completion") or {}
        return visit.show("confirmed", message=(then.get("hosted_confirmation") or {}).get("custom_message"))


# Cards ----------------------------------------------------------------------------------------------------------------


@blueprint.get("/cards/add")
def new_card(session_id: str) -> Any:
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        visit.need("payment_method_update")
        return _card_page(visit)


def _card_page(
    visit: portal_visit.Visit, form: dict[str, str] | None = None, error: errors.StripeError | None = None
) -> Any:
    wrong = card_form.wrong_field(error)
    return visit.show("card", form=form or {}, error=error, wrong=wrong, **card_form.offers())


@blueprint.post("/cards/add")
def add_card(session_id: str) -> Any:
    """Save a card, by default for renewals; a bank that asks is asked next."""
    form = portal_visit.form()
    if form.get("test_card"):
        with access.world() as world:
            return _card_page(portal_visit.Visit(world, session_id), card_form.fill_in(form))

    def act(world: World) -> None:
        visit = portal_visit.Visit(world, session_id)
        visit.need("payment_method_update")
        card, month, year = card_form.read(world, form)
        billing = {"name": form.get("billing_name") or None, "email": visit.customer["email"]}
        method = methods.new_card(world, card, exp_month=month, exp_year=year, billing=billing)
        setup = methods.new_setup_intent(world, customer=visit.customer["id"])
        visit.session["_setup"], visit.session["_as_default"] = setup["id"], "not_default" not in form
        world.save(visit.session)
        methods.confirm_setup(world, setup, method)
        _use(visit, setup)

    error = access.perform(act)
    with access.world() as world:
        return _card_saved(portal_visit.Visit(world, session_id), error, form)


def _use(visit: portal_visit.Visit, setup: Document) -> None:
    if setup["status"] == "succeeded" and visit.session.get("_as_default"):
        method = visit.world.get("payment_method", setup["payment_method"])
        invoices.keep_for_renewals(visit.world, method, visit.customer["id"])


def _card_saved(visit: portal_visit.Visit, error: errors.StripeError | None, form: dict[str, str]) -> Any:
    if error is not None:
        return _card_page(visit, form, error)
    setup = visit.world.find("setup_intent", visit.session.get("_setup"))
    if setup is not None and setup["status"] == "requires_action":
        return redirect(f"{visit.home}/cards/challenge", 303)
    return visit.after("card")


@blueprint.get("/cards/challenge")
def card_challenge(session_id: str) -> Any:
    """Ask the cardholder for the bank."""
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        setup = world.find("setup_intent", visit.session.get("_setup"))
        if setup is None or setup["status"] != "requires_action":
            return redirect(f"{visit.home}/home", 303)
        return challenge.page(world, setup)


@blueprint.post("/cards/challenge")
def answer_card_challenge(session_id: str) -> Any:
    def act(world: World) -> None:
        visit = portal_visit.Visit(world, session_id)
        setup = world.find("setup_intent", visit.session.get("_setup"))
        if setup is not None and setup["status"] == "requires_action":
            challenge.respond(world, setup, passed=request.form.get("action") == "complete")
            _use(visit, setup)

    error = access.perform(act)
    with access.world() as world:
        return _card_saved(portal_visit.Visit(world, session_id), error, {})


@blueprint.post("/cards/<method_id>")
def change_card(session_id: str, method_id: str) -> Any:
    """Charge renewals to a card, or remove it."""
    removing = request.form.get("action") == "remove"

    def act(world: World) -> None:
        visit = portal_visit.Visit(world, session_id)
        visit.need("payment_method_update")
        method = access.get_or_404(world, "payment_method", method_id)
        if method["customer"] != visit.customer["id"]:
            abort(404)
        if not removing:
            invoices.keep_for_renewals(world, method, visit.customer["id"])
            return
        if _is_last_of_live(visit, method):
            raise errors.invalid("Add another card first: a running subscription is charged to this one.")
        methods.detach(world, method)

    error = access.perform(act)
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        if error is not None:
            return home_page(visit, error)
        return redirect(f"{visit.home}/home?done={'removed' if removing else 'default'}", 303)


def _is_last_of_live(visit: portal_visit.Visit, method: Document) -> bool:
    mine = {"customer": visit.customer["id"]}
    others = [one for one in visit.world.select("payment_method", mine) if one["id"] != method["id"]]
    runs = any(one["status"] in subscriptions.RENEWING for one in visit.world.select("subscription", mine))
    return runs and not others


# Details --------------------------------------------------------------------------------------------------------------


@blueprint.get("/details")
def details(session_id: str) -> Any:
    with access.world() as world:
        return _details_page(portal_visit.Visit(world, session_id))


def _details_page(
    visit: portal_visit.Visit, form: dict[str, str] | None = None, error: errors.StripeError | None = None
) -> Any:
    allowed = visit.need("customer_update")["allowed_updates"]
    address = visit.customer["address"] or {}
    known = {name: visit.customer[name] or "" for name in ("name", "email", "phone")}
    known |= {f"address_{name}": value or "" for name, value in address.items()}
    wrong = error.param if error and error.param in ("email", "tax_id_value") else None
    return visit.show(
        "details",
        form={**known, **(form or {})},
        error=error,
        wrong=wrong,
        allowed=allowed,
        countries=COUNTRIES,
        tax_id_types=TAX_IDS,
        tax_ids=list(visit.world.select("tax_id", {"customer": visit.customer["id"]})),
    )


@blueprint.post("/details")
def save_details(session_id: str) -> Any:
    """Save what the configuration lets a customer change."""
    form = portal_visit.form()

    def act(world: World) -> None:
        visit = portal_visit.Visit(world, session_id)
        allowed = visit.need("customer_update")["allowed_updates"]
        _save_details(visit, form, allowed)
        if "tax_id" in allowed:
            _save_tax_ids(visit, form)

    error = access.perform(act)
    with access.world() as world:
        visit = portal_visit.Visit(world, session_id)
        return _details_page(visit, form, error) if error else visit.after("details")


def _save_details(visit: portal_visit.Visit, form: dict[str, str], allowed: list[str]) -> None:
    params: Document = {name: form[name][:500] for name in ("name", "phone") if name in allowed and name in form}
    if "email" in allowed and "email" in form:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", form["email"]):
            raise errors.invalid("Enter your e-mail address.", "email")
        params["email"] = form["email"]
    if "address" in allowed:
        given = {name: form.get(f"address_{name}", "")[:500] for name in methods.NO_ADDRESS}
        params["address"] = {name: value for name, value in given.items() if value} or ""
    customer_routes.update(visit.world, params, visit.customer["id"])


def _save_tax_ids(visit: portal_visit.Visit, form: dict[str, str]) -> None:
    for known in list(visit.world.select("tax_id", {"customer": visit.customer["id"]})):
        if form.get(f"remove_{known['id']}"):
            visit.world.delete(known, "customer.tax_id.deleted")
    if not form.get("tax_id_value"):
        return
    if not form.get("tax_id_type") or form["tax_id_type"] not in dict(TAX_IDS):
        raise errors.invalid("Choose what kind of tax ID this is.", "tax_id_value")
    customers.add_tax_id(visit.world, visit.customer, form["tax_id_type"], form["tax_id_value"][:50])
