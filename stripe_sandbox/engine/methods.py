"""Payment methods and setup intents: saving a card for later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stripe_sandbox import cards, errors, ids, objects
from stripe_sandbox.engine import payments
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
NO_ADDRESS = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}


def new_card(
    world: World,
    card: cards.Card,
    *,
    exp_month: int | None = None,
    exp_year: int | None = None,
    billing: Document | None = None,
    metadata: dict[str, str] | None = None,
    allow_redisplay: str = "unspecified",
    cvc_given: bool = True,
) -> Document:
    """Create a payment method from a test card: brand, last four, behaviour and expiry are kept, the number is not."""
    today = datetime.fromtimestamp(world.now, UTC)
    details = cards.describe(
        card, exp_month=exp_month or today.month, exp_year=exp_year or today.year + 1, cvc_given=cvc_given
    )
    given = billing or {}
    return world.add(
        objects.new(
            world,
            "payment_method",
            allow_redisplay=allow_redisplay,
            billing_details={
                "address": {**NO_ADDRESS, **(given.get("address") or {})},
                "email": given.get("email"),
                "name": given.get("name"),
                "phone": given.get("phone"),
                "tax_id": given.get("tax_id"),
            },
            card=details,
            customer=None,
            metadata=metadata or {},
            type="card",
            _behaviour=card.behaviour,
        )
    )


def resolve(world: World, wanted: str, *, param: str = "payment_method") -> Document:
    """Return a payment method by id; a token such as `pm_card_visa` makes a fresh one."""
    if wanted in cards.BY_TOKEN:
        return new_card(world, cards.BY_TOKEN[wanted])
    return world.get("payment_method", wanted, param=param)


def attach(world: World, method: Document, customer: Document) -> Document:
    """Attach a method to a customer; raises when it belongs to somebody else or its bank refuses it."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"] is not None or method.get("_detached"):
        raise errors.invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again."
            if method.get("_detached")
            else "The payment method you provided has already been attached to a customer.",
            None if method.get("_detached") else "payment_method",
        )
    if method["_behaviour"].startswith("decline:"):
        decline = cards.DECLINES[method["_behaviour"].removeprefix("decline:")]
        raise errors.card_error(decline.message, code=decline.code, decline_code=decline.decline_code, keep=False)
    method["customer"] = customer["id"]
    world.save(method)
    world.emit("payment_method.attached", method)
    return method


def detach(world: World, method: Document) -> Document:
    """Detach a method from its customer, for good; whatever used it by default no longer does."""
    if method["customer"] is None:
        raise errors.invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    customer = world.find("customer", method["customer"])
    former = {"customer": method["customer"]}
    method.update(customer=None, _detached=True)
    world.save(method)
    world.emit("payment_method.detached", method, former)
    if customer is not None and customer["invoice_settings"]["default_payment_method"] == method["id"]:
        customer["invoice_settings"]["default_payment_method"] = None
        world.save(customer, "customer.updated")
    for subscription in list(world.select("subscription", {"customer": former["customer"]})):
        if subscription["default_payment_method"] == method["id"]:
            subscription["default_payment_method"] = None
            world.save(subscription, "customer.subscription.updated")
    return method


def default_for(world: World, customer: Document, *preferred: str | None) -> Document | None:
    """Return the method to charge: the first preferred one, else the customer's default for invoices, else None."""
    for wanted in (*preferred, customer["invoice_settings"]["default_payment_method"], customer["default_source"]):
        method = world.find("payment_method", wanted)
        if method is not None and method["customer"] == customer["id"]:
            return method
    return None


def _keep_for_later(world: World, intent: Document) -> None:
    """Attach the card of a payment that was made to be used again."""
    customer, method = (
        world.find("customer", intent["customer"]),
        world.find("payment_method", intent["payment_method"]),
    )
    if intent["setup_future_usage"] and customer and method and method["customer"] is None:
        attach(world, method, customer)


payments.ON_SUCCESS.append(_keep_for_later)
# Told of each setup intent that has succeeded; subscriptions that wait for a card listen here.
ON_SETUP: list[Callable[[World, Document], None]] = []


def new_setup_intent(
    world: World, *, customer: str | None = None, metadata: dict[str, str] | None = None, **fields: Any
) -> Document:
    """Create a setup intent and say so."""
    intent_id = ids.new("setup_intent")
    intent = objects.new(
        world,
        "setup_intent",
        id=intent_id,
        client_secret=f"{intent_id}_secret_{ids.token(24)}",
        customer=customer,
        metadata=metadata or {},
        payment_method_options={
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        payment_method_types=["card"],
        status="requires_payment_method",
        usage="off_session",
    )
    intent.update(fields)
    return world.add(intent, "setup_intent.created")


def confirm_setup(world: World, intent: Document, method: Document, *, challenged: bool = False) -> Document:
    """Try to save a card; returns the intent in its next status, or raises Stripe's card error, which is to be kept."""
    intent["payment_method"] = method["id"]
    asks = method["_behaviour"].startswith("sca_") and not challenged
    declined = method["_behaviour"].startswith("decline:") or (method["_behaviour"] == "sca_decline" and challenged)
    if declined:
        decline = payments.decline_of(method, challenged=challenged, off_session=False) or cards.GENERIC
        raise _fail_setup(world, intent, method, decline.message, decline.code, decline.decline_code)
    if asks:
        intent.update(status="requires_action", next_action=payments.challenge_action(world, intent))
        world.save(intent)
        world.emit("setup_intent.requires_action", intent)
        return intent
    method["_authenticated"] = True
    world.save(method)
    note_attempt(world, intent, method, "succeeded")
    intent.update(status="succeeded", next_action=None, last_setup_error=None)
    customer = world.find("customer", intent["customer"])
    if customer is not None:
        attach(world, method, customer)
    world.save(intent)
    world.emit("setup_intent.succeeded", intent)
    for tell in ON_SETUP:
        tell(world, intent)
    return intent


def note_attempt(
    world: World, intent: Document, method: Document, status: str, *, error: Document | None = None
) -> None:
    """Keep the attempt at setting up a card, as the intent's latest."""
    card = {name: method["card"][name] for name in ("brand", "checks", "country", "exp_month", "exp_year")}
    card.update({name: method["card"][name] for name in ("fingerprint", "funding", "last4")})
    attempt = objects.new(
        world,
        "setup_attempt",
        customer=intent["customer"],
        payment_method=method["id"],
        payment_method_details={"card": {**card, "three_d_secure": None, "wallet": None}, "type": "card"},
        setup_error=error and {**error, "payment_method": rendering.render(world, method)},
        setup_intent=intent["id"],
        status=status,
        usage=intent["usage"],
    )
    world.add(attempt)
    intent["latest_attempt"] = attempt["id"]


def answer_setup_challenge(world: World, intent: Document, *, passed: bool) -> Document:
    """Carry on with a setup intent whose card's holder has answered the bank."""
    method = world.get("payment_method", intent["payment_method"])
    if passed:
        return confirm_setup(world, intent, method, challenged=True)
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    raise _fail_setup(world, intent, method, message, "setup_intent_authentication_failure", None)


def _fail_setup(
    world: World, intent: Document, method: Document, message: str, code: str, decline_code: str | None
) -> errors.StripeError:
    error = errors.card_error(message, code=code, decline_code=decline_code)
    note_attempt(world, intent, method, "failed", error=error.body()["error"])
    shown = {**error.body()["error"], "payment_method": rendering.render(world, method)}
    intent.update(status="requires_payment_method", payment_method=None, next_action=None, last_setup_error=shown)
    world.save(intent)
    world.emit("setup_intent.setup_failed", intent)
    error.facts.update(payment_method=shown["payment_method"], setup_intent=rendering.render(world, intent))
    return error
