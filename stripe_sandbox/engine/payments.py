"""Taking money: what a card does when it is charged or set up, and what that leaves behind.

Callers decide what a refused card means for them; this module leaves the failed charge, the payment intent's error
and the events, and raises Stripe's card error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stripe_sandbox import cards, errors, ids, objects
from stripe_sandbox.engine import balance
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]

# Told of each payment intent that has succeeded or failed; invoices listen here.
ON_SUCCESS: list[Callable[[World, Document], None]] = []
ON_FAILURE: list[Callable[[World, Document], None]] = []
# Told of each charge that has succeeded; disputes listen here.
ON_CHARGE: list[Callable[[World, Document, str], None]] = []
DISCARDED = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was detached "
    "from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it to a "
    "Customer first."
)


def needs_challenge(method: Document) -> bool:
    """Tell whether a card's bank asks its holder to authenticate a payment made in their presence."""
    behaviour = method["_behaviour"]
    if behaviour in ("sca_always", "sca_decline"):
        return True
    return bool(behaviour == "sca_setup" and not method.get("_authenticated"))


def decline_of(method: Document, *, challenged: bool, off_session: bool) -> cards.Decline | None:
    """Return why a charge on a card is refused, or None when it goes through."""
    behaviour = method["_behaviour"]
    if behaviour.startswith("decline:"):
        return cards.DECLINES[behaviour.removeprefix("decline:")]
    if behaviour == "decline_charge" or (behaviour == "sca_decline" and challenged):
        return cards.GENERIC
    if off_session and needs_challenge(method):
        return cards.AUTHENTICATION_REQUIRED
    return None


def new_intent(
    world: World,
    *,
    amount: int,
    currency: str,
    customer: str | None = None,
    metadata: dict[str, str] | None = None,
    **fields: Any,
) -> Document:
    """Create a payment intent and say so."""
    intent_id = ids.new("payment_intent")
    intent = objects.new(
        world,
        "payment_intent",
        id=intent_id,
        amount=amount,
        amount_capturable=0,
        amount_received=0,
        capture_method="automatic_async",
        client_secret=f"{intent_id}_secret_{ids.token(24)}",
        confirmation_method="automatic",
        currency=currency,
        customer=customer,
        metadata=metadata or {},
        payment_method_options={
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        payment_method_types=["card"],
        status="requires_payment_method",
    )
    intent.update(fields)
    return world.add(intent, "payment_intent.created")


def confirm(
    world: World, intent: Document, method: Document, *, off_session: bool = False, challenged: bool = False
) -> Document:
    """Try to take the money of an intent from a card; returns the intent, now in its next status.

    Raises Stripe's card error when the card is refused; what the attempt left behind is to be kept.
    """
    intent["payment_method"] = method["id"]
    decline = decline_of(method, challenged=challenged, off_session=off_session)
    if decline is not None and not (needs_challenge(method) and not off_session and not challenged):
        raise _fail(world, intent, method, decline)
    if not challenged and not off_session and needs_challenge(method):
        return _ask_for_challenge(world, intent, method)
    return _succeed(world, intent, method)


def answer_challenge(world: World, intent: Document, *, passed: bool) -> Document:
    """Carry on with an intent whose cardholder has answered the bank; raises the card error when they failed."""
    method = world.get("payment_method", intent["payment_method"])
    if not passed:
        raise _fail_authentication(world, intent, method)
    if method["_behaviour"] == "sca_setup" and intent["setup_future_usage"]:
        method["_authenticated"] = True
        world.save(method)
    return confirm(world, intent, method, challenged=True)


def _ask_for_challenge(world: World, intent: Document, method: Document) -> Document:
    intent["status"] = "requires_action"
    intent["last_payment_error"] = None
    intent["next_action"] = challenge_action(world, intent)
    world.save(intent)
    world.emit("payment_intent.requires_action", intent)
    return intent


def challenge_action(world: World, intent: Document) -> Document:
    """Return the `next_action` that sends a cardholder to the sandbox's bank page, or tells Stripe.js to ask."""
    if intent.get("_return_url"):
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {
                "return_url": intent["_return_url"],
                "url": f"{world.sandbox.base_url}/challenge/{intent['id']}",
            },
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {
            "type": "three_d_secure_redirect",
            "stripe_js": f"{world.sandbox.base_url}/challenge/{intent['id']}",
        },
    }


def _succeed(world: World, intent: Document, method: Document) -> Document:
    manual = intent["capture_method"] == "manual"
    charge = _new_charge(world, intent, method, captured=not manual)
    intent.update(latest_charge=charge["id"], last_payment_error=None, next_action=None)
    if method["_behaviour"] == "sca_setup" and intent["setup_future_usage"]:
        method["_authenticated"] = True
        world.save(method)
    if manual:
        intent.update(status="requires_capture", amount_capturable=intent["amount"])
        world.emit("charge.succeeded", charge)
        world.save(intent)
        world.emit("payment_intent.amount_capturable_updated", intent)
        return intent
    _settle(world, charge)
    world.emit("charge.succeeded", charge)
    intent.update(status="succeeded", amount_received=intent["amount"])
    world.save(intent)
    world.emit("payment_intent.succeeded", intent)
    _tell_charged(world, charge, method)
    for tell in ON_SUCCESS:
        tell(world, intent)
    return intent


def capture(world: World, intent: Document, amount: int) -> Document:
    """Take what an intent with manual capture has reserved, or less of it."""
    charge = world.get("charge", intent["latest_charge"])
    charge.update(captured=True, amount_captured=amount)
    if amount < charge["amount"]:
        charge["amount_refunded"] = charge["amount"] - amount
    _settle(world, charge)
    world.emit("charge.captured", charge)
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    world.save(intent)
    world.emit("payment_intent.succeeded", intent)
    _tell_charged(world, charge, world.get("payment_method", intent["payment_method"]))
    for tell in ON_SUCCESS:
        tell(world, intent)
    return intent


def _settle(world: World, charge: Document) -> None:
    taken = charge["amount_captured"]
    at_once = charge["_behaviour"] == "bypass_pending"
    fee = balance.card_fee(taken)
    booked = balance.book(world, "charge", charge, taken, fee=fee, description=charge["description"], at_once=at_once)
    charge["balance_transaction"] = booked["id"]
    world.save(charge)


def _tell_charged(world: World, charge: Document, method: Document) -> None:
    for tell in ON_CHARGE:
        tell(world, charge, method["_behaviour"])


def _new_charge(
    world: World, intent: Document, method: Document, *, captured: bool, decline: cards.Decline | None = None
) -> Document:
    amount, failed = intent["amount"], decline is not None
    charge_id = ids.new("charge")
    return world.add(
        objects.new(
            world,
            "charge",
            id=charge_id,
            amount=amount,
            amount_captured=amount if captured and not failed else 0,
            amount_refunded=0,
            billing_details=rendering.public(method["billing_details"]),
            calculated_statement_descriptor="TOLLGATE SANDBOX",
            captured=captured and not failed,
            currency=intent["currency"],
            customer=intent["customer"],
            description=intent["description"],
            disputed=False,
            failure_code=decline.code if decline else None,
            failure_message=decline.message if decline else None,
            fraud_details={},
            metadata=dict(intent["metadata"]),
            outcome=_outcome(decline),
            paid=not failed,
            payment_intent=intent["id"],
            payment_method=method["id"],
            payment_method_details={"card": _card_as_charged(method, amount), "type": "card"},
            radar_options={},
            receipt_email=intent["receipt_email"],
            receipt_url=None if failed else f"{world.sandbox.base_url}/receipts/{charge_id}",
            refunded=False,
            shipping=intent["shipping"],
            statement_descriptor=intent["statement_descriptor"],
            statement_descriptor_suffix=intent["statement_descriptor_suffix"],
            status="failed" if failed else "succeeded",
            transfer_group=intent["transfer_group"],
            _behaviour=method["_behaviour"],
        )
    )


def _card_as_charged(method: Document, amount: int) -> Document:
    card = method["card"]
    copied = {
        name: card[name]
        for name in ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    }
    return {
        **copied,
        "amount_authorized": amount,
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": ids.token(15),
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }


def _outcome(decline: cards.Decline | None) -> Document:
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 12,
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    return {
        "advice_code": "try_again_later",
        "network_advice_code": None,
        "network_decline_code": "01",
        "network_status": "declined_by_network",
        "reason": decline.decline_code or decline.code,
        "risk_level": "normal",
        "risk_score": 41,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _fail(world: World, intent: Document, method: Document, decline: cards.Decline) -> errors.StripeError:
    charge = _new_charge(world, intent, method, captured=True, decline=decline)
    error = errors.card_error(
        decline.message, code=decline.code, decline_code=decline.decline_code, charge=charge["id"]
    )
    _note_failure(world, intent, method, error, charge)
    return error


def _fail_authentication(world: World, intent: Document, method: Document) -> errors.StripeError:
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    error = errors.card_error(message, code="payment_intent_authentication_failure")
    _note_failure(world, intent, method, error, None)
    return error


def _note_failure(
    world: World, intent: Document, method: Document, error: errors.StripeError, charge: Document | None
) -> None:
    shown = error.body()["error"]
    shown["payment_method"] = rendering.render(world, method)
    if charge is not None:
        intent["latest_charge"] = charge["id"]
        world.emit("charge.failed", charge)
    intent.update(status="requires_payment_method", next_action=None, payment_method=None, last_payment_error=shown)
    world.save(intent)
    world.emit("payment_intent.payment_failed", intent)
    error.facts["payment_method"] = shown["payment_method"]
    for tell in ON_FAILURE:
        tell(world, intent)
    error.facts["payment_intent"] = rendering.render(world, intent)


def cancel(world: World, intent: Document, reason: str | None) -> Document:
    """Cancel an intent, and give back what a manual capture had reserved."""
    if intent["status"] == "requires_capture":
        charge = world.get("charge", intent["latest_charge"])
        charge.update(amount_refunded=charge["amount"], refunded=True)
        world.save(charge)
        world.emit("charge.refunded", charge)
    intent.update(
        status="canceled", canceled_at=world.now, cancellation_reason=reason, amount_capturable=0, next_action=None
    )
    world.save(intent)
    world.emit("payment_intent.canceled", intent)
    return intent
