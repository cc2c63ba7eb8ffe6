"""Payment intents, charges and refunds."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import cards, errors
from stripe_sandbox.engine import methods, payments, refunds
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import payment_methods, route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, require_one, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
MAX_AMOUNT = 99_999_999
MINIMUM = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "cad": 50, "aud": 50}
PLAIN = (
    "description",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
    "capture_method",
)
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


@route("POST", "/v1/payment_intents")
def create_intent(world: World, params: Document) -> Document:
    currency = params["currency"].lower()
    check_amount(params["amount"], currency)
    customer = None
    if params.get("customer"):
        customer = world.get("customer", params["customer"], param="customer")
        world.follow_clock_of(customer)
    for name in ("off_session", "error_on_requires_action", "return_url"):
        if params.get(name) and not params.get("confirm"):
            raise errors.invalid(f"`{name}` can only be used when `confirm` is true.", name)
    intent = payments.new_intent(
        world,
        amount=params["amount"],
        currency=currency,
        customer=customer["id"] if customer else None,
        metadata=check_metadata(params.get("metadata")),
        automatic_payment_methods=_automatic(params),
        confirmation_method=params.get("confirmation_method", "automatic"),
        **{name: params[name] for name in PLAIN if params.get(name)},
    )
    method = _chosen(world, params, intent)
    if method is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
        world.save(intent)
    return _confirm(world, intent, params) if params.get("confirm") else intent


def check_amount(amount: int, currency: str) -> None:
    if amount < 1:
        raise errors.invalid(
            "This value must be greater than or equal to 1.", "amount", code="parameter_invalid_integer"
        )
    if amount < MINIMUM.get(currency, 1):
        raise errors.invalid(
            "Amount must be at least 50 cents"
            if currency == "usd"
            else "Amount is below the minimum for this currency",
            "amount",
            code="amount_too_small",
        )
    if amount > MAX_AMOUNT:
        raise errors.invalid("Amount must be no more than $999,999.99", "amount", code="amount_too_large")


def _automatic(params: Document) -> Document | None:
    wanted = params.get("automatic_payment_methods")
    if wanted and not wanted["enabled"]:
        return None
    return {"allow_redirects": (wanted or {}).get("allow_redirects", "always"), "enabled": True}


def _chosen(world: World, params: Document, intent: Document) -> Document | None:
    """Return the payment method that a request names or describes; raises when it is somebody else's."""
    if params.get("payment_method_data"):
        return payment_methods.from_data(world, params["payment_method_data"])
    if not params.get("payment_method"):
        return None
    method = methods.resolve(world, params["payment_method"])
    if method.get("_detached"):
        raise errors.invalid(payments.DISCARDED, "payment_method")
    if method["customer"] and method["customer"] != intent["customer"]:
        raise errors.invalid(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must attach it to a "
            "Customer first."
            if intent["customer"] is None
            else f"The payment method {method['id']} belongs to another customer.",
            "payment_method",
        )
    return method


def _confirm(world: World, intent: Document, params: Document) -> Document:
    if params.get("return_url"):
        intent["_return_url"] = params["return_url"]
    set_fields(intent, params, ("setup_future_usage", "receipt_email", "shipping"))
    method = _chosen(world, params, intent) or world.find("payment_method", intent["payment_method"])
    if method is None:
        raise errors.invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update "
            "the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with "
            "a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
        )
    off_session = bool(params.get("off_session"))
    if params.get("error_on_requires_action") and payments.needs_challenge(method) and not off_session:
        raise errors.card_error(
            cards.AUTHENTICATION_REQUIRED.message,
            code="authentication_required",
            decline_code="authentication_required",
        )
    customer = world.find("customer", intent["customer"])
    payments.confirm(world, intent, method, off_session=off_session)
    if customer is not None and intent["setup_future_usage"] and intent["status"] == "succeeded":
        methods.attach(world, method, customer)
    return intent


@route("GET", "/v1/payment_intents/{intent}")
def retrieve_intent(world: World, params: Document, intent: str) -> Document:
    return world.get("payment_intent", intent)


@route("POST", "/v1/payment_intents/{intent}")
def update_intent(world: World, params: Document, intent: str) -> Document:
    document = world.get("payment_intent", intent)
    if document["status"] in ("succeeded", "canceled", "requires_capture"):
        allowed = {"metadata", "description", "receipt_email"}
        changed = next((name for name in params if name not in allowed), None)
        if changed:
            raise errors.StripeError(
                f"This PaymentIntent's {changed} could not be updated because it has a status of "
                f"{document['status']}. You may only update the amount of a PaymentIntent with one of the following "
                "statuses: requires_payment_method, requires_confirmation, requires_action.",
                code="payment_intent_unexpected_state",
            )
    if "amount" in params:
        check_amount(params["amount"], document["currency"])
        document["amount"] = params["amount"]
    if params.get("currency"):
        document["currency"] = params["currency"].lower()
    if params.get("customer"):
        document["customer"] = world.get("customer", params["customer"], param="customer")["id"]
    set_fields(document, params, PLAIN)
    merge_metadata(document, params)
    method = _chosen(world, params, document)
    if method is not None:
        document.update(payment_method=method["id"], status="requires_confirmation")
    return world.save(document)


@route("POST", "/v1/payment_intents/{intent}/confirm")
def confirm_intent(world: World, params: Document, intent: str) -> Document:
    document = world.get("payment_intent", intent)
    if document["status"] not in CONFIRMABLE:
        raise _unexpected(document, "confirm", CONFIRMABLE)
    return _confirm(world, document, params)


@route("POST", "/v1/payment_intents/{intent}/capture")
def capture_intent(world: World, params: Document, intent: str) -> Document:
    document = world.get("payment_intent", intent)
    if document["status"] != "requires_capture":
        raise _unexpected(document, "capture", ("requires_capture",))
    amount: int = params["amount_to_capture"] if "amount_to_capture" in params else document["amount_capturable"]
    if not 1 <= amount <= document["amount_capturable"]:
        raise errors.invalid(
            f"The `amount_to_capture` must be between 1 and {document['amount_capturable']}.", "amount_to_capture"
        )
    return payments.capture(world, document, amount)


@route("POST", "/v1/payment_intents/{intent}/cancel")
def cancel_intent(world: World, params: Document, intent: str) -> Document:
    document = world.get("payment_intent", intent)
    if document["status"] in ("succeeded", "canceled"):
        raise _unexpected(document, "cancel", (*CONFIRMABLE, "requires_capture"))
    return payments.cancel(world, document, params.get("cancellation_reason"))


def _unexpected(intent: Document, verb: str, allowed: tuple[str, ...]) -> errors.StripeError:
    return errors.StripeError(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
        f"with one of the following statuses may be {verb}{'ed' if verb != 'capture' else 'd'}: "
        f"{', '.join(allowed)}.",
        code="payment_intent_unexpected_state",
    )


@route("GET", "/v1/payment_intents")
def list_intents(world: World, params: Document) -> Document:
    return page(world, "payment_intent", params, "/v1/payment_intents", {"customer": params.get("customer")})


@route("GET", "/v1/charges/{charge}")
def retrieve_charge(world: World, params: Document, charge: str) -> Document:
    return world.get("charge", charge)


@route("POST", "/v1/charges/{charge}")
def update_charge(world: World, params: Document, charge: str) -> Document:
    document = world.get("charge", charge)
    set_fields(document, params, ("description", "receipt_email", "shipping", "transfer_group"))
    if params.get("fraud_details"):
        document["fraud_details"] = {**(document["fraud_details"] or {}), **params["fraud_details"]}
    merge_metadata(document, params)
    return world.save(document, "charge.updated")


@route("GET", "/v1/charges")
def list_charges(world: World, params: Document) -> Document:
    names = ("customer", "payment_intent", "transfer_group")
    return page(world, "charge", params, "/v1/charges", {name: params.get(name) for name in names})


@route("POST", "/v1/charges/{charge}/capture")
def capture_charge(world: World, params: Document, charge: str) -> Document:
    document = world.get("charge", charge)
    intent = world.get("payment_intent", document["payment_intent"])
    if intent["status"] != "requires_capture":
        raise errors.StripeError(f"Charge {charge} has already been captured.", code="charge_already_captured")
    capture_intent(world, {"amount_to_capture": params["amount"]} if "amount" in params else {}, intent["id"])
    return document


@route("POST", "/v1/refunds")
def create_refund(world: World, params: Document) -> Document:
    if not params.get("charge") and not params.get("payment_intent"):
        raise errors.invalid(
            "One of the following params should be provided for this request: payment_intent or charge."
        )
    require_one(params, "charge", "payment_intent")
    if params.get("charge"):
        charge = world.get("charge", params["charge"], param="charge")
    else:
        intent = world.get("payment_intent", params["payment_intent"], param="payment_intent")
        if intent["status"] not in ("succeeded", "requires_capture"):
            raise errors.invalid(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.", "payment_intent"
            )
        charge = world.get("charge", intent["latest_charge"])
    world.follow_clock_of(world.find("customer", charge["customer"]))
    return refunds.create(
        world,
        charge,
        amount=params.get("amount"),
        reason=params.get("reason"),
        metadata=check_metadata(params.get("metadata")),
    )


@route("GET", "/v1/refunds/{refund}")
def retrieve_refund(world: World, params: Document, refund: str) -> Document:
    return world.get("refund", refund)


@route("POST", "/v1/refunds/{refund}")
def update_refund(world: World, params: Document, refund: str) -> Document:
    document = world.get("refund", refund)
    merge_metadata(document, params)
    return world.save(document, "refund.updated")


@route("POST", "/v1/refunds/{refund}/cancel")
def cancel_refund(world: World, params: Document, refund: str) -> Document:
    return refunds.cancel(world, world.get("refund", refund))


@route("GET", "/v1/refunds")
def list_refunds(world: World, params: Document) -> Document:
    names = ("charge", "payment_intent")
    return page(world, "refund", params, "/v1/refunds", {name: params.get(name) for name in names})


@route("GET", "/v1/charges/{charge}/refunds")
def list_charge_refunds(world: World, params: Document, charge: str) -> Document:
    world.get("charge", charge)
    made = list(world.select("refund", {"charge": charge}))
    return page_of(made, params, f"/v1/charges/{charge}/refunds")
