"""Checkout sessions: what they cost, and what exists once somebody has paid.

A subscription and its invoice come into being only when the session completes; a refused card leaves the session open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import (
    completion,
    discounts,
    drafting,
    invoicing,
    methods,
    payments,
    pricing,
    tasks,
)
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
NO_COUPON_YET = "di_preview"  # Stands in the lines of an open session, whose discount is not redeemed yet.


def price_items(world: World, session: Document) -> Document:
    """Work out the amounts of a session and of each line item from prices, trial and discount."""
    trial = completion.trial_end_of(world, session) is not None
    lines = []
    for item in session["_line_items"]:
        price = world.get("price", item["price"])
        free = trial and price["type"] == "recurring"
        item["amount_subtotal"] = 0 if free or _is_metered(price) else pricing.amount(price, item["quantity"])
        lines.append({"amount": item["amount_subtotal"], "discountable": True, "_product": price["product"]})
    pricing.discount_lines(lines, [(NO_COUPON_YET, coupon) for coupon in _coupons(world, session)])
    for item, line in zip(session["_line_items"], lines, strict=True):
        item["amount_discount"] = sum(part["amount"] for part in line["discount_amounts"])
        item["amount_total"] = item["amount_subtotal"] - item["amount_discount"]
    subtotal = sum(item["amount_subtotal"] for item in session["_line_items"])
    off = sum(item["amount_discount"] for item in session["_line_items"])
    session.update(
        amount_subtotal=subtotal,
        amount_total=subtotal - off,
        total_details={"amount_discount": off, "amount_shipping": 0, "amount_tax": 0},
    )
    return session


def _is_metered(price: Document) -> bool:
    return bool(price["recurring"] and price["recurring"]["usage_type"] == "metered")


def _coupons(world: World, session: Document) -> list[Document]:
    return [discounts.coupon_of(world, wanted)[0] for wanted in session["discounts"] or [] if any(wanted.values())]


def due_now(world: World, session: Document) -> int:
    """Return the cents to take from the card now: in subscription mode the customer's credit counts."""
    total = session["amount_total"] or 0
    customer = world.find("customer", session["customer"])
    if session["mode"] == "subscription" and customer is not None:
        due = int(max(total + customer["balance"], 0))
        return due if due >= drafting.minimum(session["currency"]) else 0  # Too small to charge: it will be owed.
    return int(total)


def needs_card(world: World, session: Document) -> bool:
    """Tell whether a payment method must be given to complete a session."""
    if session["mode"] == "setup" or due_now(world, session) > 0:
        return True
    return bool(session["mode"] == "subscription" and session["payment_method_collection"] == "always")


def apply_code(world: World, session: Document, typed: str) -> Document:
    """Apply a promotion code that somebody typed to an open session; raises with the words for its page."""
    found = [
        code
        for code in world.select("promotion_code", {"code": typed.strip().lower()})
        if discounts.is_active(world, code)
    ]
    if not found or not session["allow_promotion_codes"]:
        raise errors.invalid("This code is invalid.", "promotion_code")
    code = next((one for one in found if one["customer"] == session["customer"]), found[0])
    coupon = world.get("coupon", code["promotion"]["coupon"])
    customer = world.find("customer", session["customer"])
    problem = discounts.refusal(
        world, coupon, code, customer=customer, currency=session["currency"], amount=session["amount_subtotal"]
    )
    if problem:
        raise errors.invalid(problem, "promotion_code")
    session["discounts"] = [{"coupon": None, "promotion_code": code["id"]}]
    price_items(world, session)
    return world.save(session)


def remove_code(world: World, session: Document) -> Document:
    if session["allow_promotion_codes"]:
        session["discounts"] = []
        price_items(world, session)
        world.save(session)
    return session


def submit(world: World, session: Document, method: Document | None, contact: Document) -> Document:
    """Pay or set up as the page's form asks; the session is then complete, or waits for its challenge.

    `contact` has `email`, `name` and optionally `phone`, `address`, `tax_ids`. Raises Stripe's card error when the
    card is refused, which is to be kept; the session stays open.
    """
    ensure_open(world, session)
    session["_contact"] = contact
    session["_method"] = method["id"] if method else None
    amount = due_now(world, session)
    if method is None:
        return completion.complete(world, session, None)
    if amount == 0 or session["mode"] == "setup":
        return _set_up(world, session, method)
    intent = _intent(world, session, amount)
    asks = payments.needs_challenge(method)
    if not asks and payments.decline_of(method, challenged=False, off_session=False) is None:
        completion.settle_customer(world, session, intent)
    payments.confirm(world, intent, method)
    return _after(world, session, intent)


def answer_challenge(world: World, session: Document, *, passed: bool) -> Document:
    """Carry on with a session whose buyer has answered the bank; raises the card error when they did not pass."""
    ensure_open(world, session)
    intent_id = session["_challenge"]
    session["_challenge"] = None
    world.save(session)
    setup = world.find("setup_intent", intent_id)
    if setup is not None:
        if passed:
            completion.settle_customer(world, session, setup)
        methods.answer_setup_challenge(world, setup, passed=passed)
        return _after(world, session, setup)
    intent = world.get("payment_intent", intent_id)
    method = world.get("payment_method", intent["payment_method"])
    if passed and payments.decline_of(method, challenged=True, off_session=False) is None:
        completion.settle_customer(world, session, intent)
    payments.answer_challenge(world, intent, passed=passed)
    return _after(world, session, intent)


def ensure_open(world: World, session: Document) -> None:
    if session["status"] == "open" and session["expires_at"] <= world.now:
        expire(world, session)
    if session["status"] == "expired":
        raise errors.StripeError("This Checkout Session has expired.", code="checkout_session_expired", keep=True)
    if session["status"] != "open":
        raise errors.invalid("You've already completed this Checkout Session.")


def _intent(world: World, session: Document, amount: int) -> Document:
    wanted = session["_payment_intent_data"] or {}
    intent = world.find("payment_intent", session["_intent"])
    if intent is not None and intent["status"] not in ("succeeded", "canceled"):
        if intent["amount"] != amount:
            intent["amount"] = amount
            world.save(intent)
        return intent
    saves = "off_session" if session["mode"] == "subscription" else wanted.get("setup_future_usage")
    names = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix", "transfer_group")
    more = {name: wanted[name] for name in names if wanted.get(name)}
    if session["mode"] == "subscription":
        more["description"] = invoicing.DESCRIPTIONS["subscription_create"]
    if wanted.get("capture_method"):
        more["capture_method"] = wanted["capture_method"]
    intent = payments.new_intent(
        world,
        amount=amount,
        currency=session["currency"],
        customer=session["customer"],
        metadata=wanted.get("metadata"),
        setup_future_usage=saves,
        **more,
    )
    session["_intent"] = intent["id"]
    if session["mode"] == "payment":
        session["payment_intent"] = intent["id"]
    world.save(session)
    return intent


def _set_up(world: World, session: Document, method: Document) -> Document:
    wanted = session["_setup_intent_data"] or {}
    setup = world.find("setup_intent", session["_intent"])
    if setup is None:
        setup = methods.new_setup_intent(
            world,
            customer=session["customer"],
            metadata=wanted.get("metadata"),
            description=wanted.get("description"),
        )
        session["_intent"] = setup["id"]
        if session["mode"] == "setup":
            session["setup_intent"] = setup["id"]
        world.save(session)
    if not method["_behaviour"].startswith(("sca_", "decline:")):
        completion.settle_customer(world, session, setup)
    methods.confirm_setup(world, setup, method)
    return _after(world, session, setup)


def _after(world: World, session: Document, intent: Document) -> Document:
    if intent["status"] == "requires_action":
        session["_challenge"] = intent["id"]
        return world.save(session)
    return completion.complete(world, session, intent)


def expire(world: World, session: Document) -> Document:
    """Close an open session for good."""
    session.update(status="expired", url=None)
    world.unschedule("checkout.expire", session)
    world.save(session)
    world.emit("checkout.session.expired", session)
    return session


@tasks.task("checkout.expire")
def expire_when_due(world: World, session: Document) -> None:
    if session["status"] == "open":
        expire(world, session)


def new_item(world: World, price: Document, *, quantity: int | None, **fields: Any) -> Document:
    """Return a session's line item; its amounts are worked out with the session's."""
    product = world.get("product", price["product"])
    item = objects.new(
        world,
        "item",
        amount_discount=0,
        amount_subtotal=0,
        amount_tax=0,
        amount_total=0,
        currency=price["currency"],
        description=product["name"],
        metadata={},
        price=price["id"],
        quantity=quantity,
    )
    item.update(fields)
    return item


@rendering.embeds("item")
def _embed_price(world: World, shown: Document, stored: Document) -> None:
    if isinstance(shown["price"], str):
        shown["price"] = rendering.render(world, world.get("price", shown["price"]))


@rendering.on_demand("checkout.session", "line_items")
def _show_items(world: World, session: Document) -> Document:
    shown = [rendering.render(world, item) for item in session["_line_items"]]
    return rendering.listing(f"/v1/checkout/sessions/{session['id']}/line_items", shown[:100])
