"""Payment methods and setup intents."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import cards, errors
from stripe_sandbox.engine import methods
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/payment_methods")
def create(world: World, params: Document) -> Document:
    return from_data(world, params)


def from_data(world: World, data: Document) -> Document:
    """Make a payment method from the fields of a request; the sandbox knows cards."""
    kind = data.get("type")
    if not kind:
        raise errors.parameter_missing("type")
    if kind != "card":
        raise errors.invalid(f"The sandbox knows payment methods of type card only; it was asked for {kind}.", "type")
    given = data.get("card") or {}
    billing = data.get("billing_details") or {}
    more = {
        "billing": billing,
        "metadata": check_metadata(data.get("metadata")),
        "allow_redisplay": data.get("allow_redisplay", "unspecified"),
    }
    if given.get("token"):
        if given["token"] not in cards.BY_TOKEN:
            raise errors.no_such("token", given["token"], param="card[token]")
        return methods.new_card(world, cards.BY_TOKEN[given["token"]], **more)
    for name in ("number", "exp_month", "exp_year"):
        if not given.get(name):
            raise errors.parameter_missing(f"card[{name}]")
    card = cards.find_by_number(given["number"])
    check_expiry(world, given["exp_month"], given["exp_year"])
    return methods.new_card(
        world,
        card,
        exp_month=given["exp_month"],
        exp_year=full_year(given["exp_year"]),
        cvc_given=bool(given.get("cvc")),
        **more,
    )


def full_year(year: int) -> int:
    return year + 2000 if year < 100 else year


def check_expiry(world: World, month: int, year: int) -> None:
    """Raise Stripe's card errors for a month or year that cannot be, or is over."""
    if not 1 <= month <= 12:
        raise errors.card_error(
            "Your card's expiration month is invalid.", code="invalid_expiry_month", keep=False, param="exp_month"
        )
    today = cards.month_of(world.now)
    if not today <= full_year(year) * 12 + month - 1 < today + 50 * 12:
        raise errors.card_error(
            "Your card's expiration year is invalid.", code="invalid_expiry_year", keep=False, param="exp_year"
        )


@route("GET", "/v1/payment_methods/{method}")
def retrieve(world: World, params: Document, method: str) -> Document:
    return methods.resolve(world, method) if method in cards.BY_TOKEN else world.get("payment_method", method)


@route("POST", "/v1/payment_methods/{method}")
def update(world: World, params: Document, method: str) -> Document:
    document = world.get("payment_method", method)
    if document["customer"] is None:
        raise errors.invalid(
            "You must save this PaymentMethod to a customer before you can update it.",
            code="payment_method_unexpected_state",
        )
    card = params.get("card") or {}
    if card.get("exp_month") or card.get("exp_year"):
        month = card.get("exp_month", document["card"]["exp_month"])
        year = full_year(card.get("exp_year", document["card"]["exp_year"]))
        check_expiry(world, month, year)
        document["card"].update(exp_month=month, exp_year=year)
    billing = params.get("billing_details") or {}
    if "address" in billing:
        document["billing_details"]["address"] = {**methods.NO_ADDRESS, **(billing["address"] or {})}
    set_fields(document["billing_details"], billing, ("email", "name", "phone", "tax_id"))
    set_fields(document, params, ("allow_redisplay",))
    merge_metadata(document, params)
    return world.save(document, "payment_method.updated")


@route("POST", "/v1/payment_methods/{method}/attach")
def attach(world: World, params: Document, method: str) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    document = methods.resolve(world, method) if method in cards.BY_TOKEN else world.get("payment_method", method)
    return methods.attach(world, document, customer)


@route("POST", "/v1/payment_methods/{method}/detach")
def detach(world: World, params: Document, method: str) -> Document:
    return methods.detach(world, world.get("payment_method", method))


@route("GET", "/v1/payment_methods")
def list_all(world: World, params: Document) -> Document:
    where = {"customer": params.get("customer"), "type": params.get("type")}
    if params.get("customer"):
        world.get("customer", params["customer"], param="customer")
    return page(world, "payment_method", params, "/v1/payment_methods", where)


@route("POST", "/v1/setup_intents")
def create_setup(world: World, params: Document) -> Document:
    customer = world.get("customer", params["customer"], param="customer") if params.get("customer") else None
    world.follow_clock_of(customer)
    wanted = params.get("automatic_payment_methods")
    intent = methods.new_setup_intent(
        world,
        customer=customer["id"] if customer else None,
        metadata=check_metadata(params.get("metadata")),
        description=params.get("description"),
        usage=params.get("usage", "off_session"),
        automatic_payment_methods={
            "allow_redirects": (wanted or {}).get("allow_redirects", "always"),
            "enabled": (wanted or {}).get("enabled", True),
        },
    )
    method = _chosen(world, params)
    if method is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
        world.save(intent)
    return _confirm(world, intent, params) if params.get("confirm") else intent


def _chosen(world: World, params: Document) -> Document | None:
    if params.get("payment_method_data"):
        return from_data(world, params["payment_method_data"])
    return methods.resolve(world, params["payment_method"]) if params.get("payment_method") else None


def _confirm(world: World, intent: Document, params: Document) -> Document:
    if params.get("return_url"):
        intent["_return_url"] = params["return_url"]
    method = _chosen(world, params) or world.find("payment_method", intent["payment_method"])
    if method is None:
        raise errors.invalid(
            "You cannot confirm this SetupIntent because it's missing a payment method. Update the SetupIntent with a "
            "payment method and then confirm it again.",
            code="setup_intent_unexpected_state",
        )
    return methods.confirm_setup(world, intent, method)


@route("GET", "/v1/setup_intents/{intent}")
def retrieve_setup(world: World, params: Document, intent: str) -> Document:
    return world.get("setup_intent", intent)


@route("POST", "/v1/setup_intents/{intent}")
def update_setup(world: World, params: Document, intent: str) -> Document:
    document = world.get("setup_intent", intent)
    set_fields(document, params, ("description",))
    if params.get("customer"):
        document["customer"] = world.get("customer", params["customer"], param="customer")["id"]
    method = _chosen(world, params)
    if method is not None:
        document.update(payment_method=method["id"], status="requires_confirmation")
    merge_metadata(document, params)
    return world.save(document)


@route("POST", "/v1/setup_intents/{intent}/confirm")
def confirm_setup(world: World, params: Document, intent: str) -> Document:
    document = world.get("setup_intent", intent)
    if document["status"] in ("succeeded", "canceled"):
        raise _unexpected(document, "confirm")
    return _confirm(world, document, params)


@route("POST", "/v1/setup_intents/{intent}/cancel")
def cancel_setup(world: World, params: Document, intent: str) -> Document:
    document = world.get("setup_intent", intent)
    if document["status"] in ("succeeded", "canceled"):
        raise _unexpected(document, "cancel")
    document.update(status="canceled", cancellation_reason=params.get("cancellation_reason"), next_action=None)
    world.save(document)
    world.emit("setup_intent.canceled", document)
    return document


def _unexpected(intent: Document, verb: str) -> errors.StripeError:
    return errors.StripeError(
        f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
    )


@route("GET", "/v1/setup_intents")
def list_setups(world: World, params: Document) -> Document:
    names = ("customer", "payment_method")
    return page(world, "setup_intent", params, "/v1/setup_intents", {name: params.get(name) for name in names})


@route("GET", "/v1/setup_attempts")
def list_attempts(world: World, params: Document) -> Document:
    world.get("setup_intent", params["setup_intent"], param="setup_intent")
    return page(world, "setup_attempt", params, "/v1/setup_attempts", {"setup_intent": params["setup_intent"]})
