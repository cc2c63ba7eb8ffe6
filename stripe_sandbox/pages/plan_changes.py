"""Changing the plan in the Customer Portal: what is offered, what it costs, and making the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.engine import pricing, subscriptions
from stripe_sandbox.engine.wording import money
from stripe_sandbox.pages import order
from stripe_sandbox.routes import previews, subscription_changes, subscription_schedules

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
LENGTHS = {"day": 1, "week": 7, "month": 30, "year": 365}


@dataclass
class Change:
    """A change that somebody chose: the `price` and `quantity` of an item, and whether it waits (`later`)."""

    item: Document
    price: Document
    product: Document
    quantity: int
    behaviour: str
    later: bool

    @property
    def words(self) -> str:
        name = self.product["name"]
        return name if self.quantity == 1 else f"{self.quantity} × {name}"

    @property
    def costs(self) -> str:
        return order.price_words(self.price, self.quantity)


def may_change_quantity(settings: Document) -> bool:
    return "quantity" in settings["default_allowed_updates"]


def offered(world: World, subscription: Document, settings: Document) -> list[Document]:
    """Return the plans that the configuration offers, the present one marked."""
    present = subscriptions.items_of(subscription)[0]["price"]
    found = []
    for allowed in settings["products"]:
        product = world.find("product", allowed["product"])
        for price in (world.find("price", one) for one in allowed["prices"]):
            if product is None or price is None or not price["active"]:
                continue
            current = price["id"] == present
            if current or "price" in settings["default_allowed_updates"]:
                words = order.price_words(price)
                found.append({"price": price, "product": product, "words": words, "current": current})
    return found


def read(world: World, subscription: Document, settings: Document, wanted: dict[str, str]) -> Change:
    """Return the change that a form or address means; raises with the words for its page."""
    item = subscriptions.items_of(subscription)[0]
    price_id = wanted.get("price") or item["price"]
    known = {price for allowed in settings["products"] for price in allowed["prices"]}
    if price_id not in known and price_id != item["price"]:
        raise errors.invalid("This plan is not offered here.", "price")
    price = world.get("price", price_id, param="price")
    before = item.get("quantity") or 1
    try:
        quantity = int(wanted.get("quantity") or before)
    except ValueError:
        quantity = 0
    if not 1 <= quantity <= 999_999:
        raise errors.invalid("Enter a quantity from 1 to 999999.", "quantity")
    if quantity != before and not may_change_quantity(settings):
        quantity = before
    if (price_id, quantity) == (item["price"], before):
        raise errors.invalid("This is your plan already.", "price")
    product = world.get("product", price["product"])
    later = _waits(world, item, price, quantity, settings)
    return Change(item, price, product, quantity, settings["proration_behavior"], later)


def _waits(world: World, item: Document, price: Document, quantity: int, settings: Document) -> bool:
    """Tell whether the configuration lets this change wait for the end of the period."""
    kinds = {condition["type"] for condition in settings["schedule_at_period_end"]["conditions"]}
    before = world.get("price", item["price"])
    if _days(price) < _days(before):
        return "shortening_interval" in kinds
    cheaper = pricing.amount(price, quantity) < pricing.amount(before, item.get("quantity") or 1)
    return cheaper and "decreasing_item_amount" in kinds


def _days(price: Document) -> int:
    return LENGTHS[price["recurring"]["interval"]] * int(price["recurring"]["interval_count"])


def _params(change: Change) -> Document:
    item = {"id": change.item["id"], "price": change.price["id"], "quantity": change.quantity}
    return {"items": [item], "proration_behavior": change.behaviour}


def preview(world: World, subscription: Document, change: Change) -> Document:
    """Return what a change costs: its lines, what is paid today, and what follows from when."""
    due = subscriptions.next_due(subscription)
    if change.later:
        then = f"{change.costs} from {order.date(due)}"
        nothing = money(0, change.price["currency"])
        return {"lines": [], "today": nothing, "pays": False, "then": then, "owed": "", "words": ""}
    params = {"subscription": subscription["id"], "subscription_details": _params(change)}
    invoice = previews.create_preview(world, params)
    lines = [{"words": one["description"], "amount": _money(one["amount"], invoice)} for one in invoice["_lines"]]
    restarts = _days(change.price) != _days(world.get("price", change.item["price"]))
    at_once = change.behaviour == "always_invoice" or (restarts and subscription["status"] != "trialing")
    today = invoice["amount_due"] if at_once else 0
    owed = "" if at_once else f"{_money(invoice['amount_due'], invoice)} on {order.date(due)}"
    return {
        "lines": lines,
        "today": _money(today, invoice),
        "pays": today > 0,
        "then": change.costs,
        "owed": owed,
        "words": "the invoice that is paid now" if at_once else "your next invoice",
    }


def _money(amount: int, invoice: Document) -> str:
    return money(amount, invoice["currency"])


def make(world: World, subscription: Document, change: Change) -> None:
    """Change a subscription, or plan its change; raises Stripe's card error when the card does not pay for it."""
    if change.later:
        _plan(world, subscription, change)
        return
    params = {**_params(change), "payment_behavior": "error_if_incomplete"}
    subscription_changes.update(world, params, subscription["id"])


def _plan(world: World, subscription: Document, change: Change) -> None:
    """Let a schedule carry the change out when the period ends."""
    schedule = subscription_schedules.create(world, {"from_subscription": subscription["id"]})
    present = schedule["phases"][0]
    quantity = change.item.get("quantity") or 1
    now = {"price": change.item["price"], "quantity": quantity}
    then = {"price": change.price["id"], "quantity": change.quantity}
    phases: list[Document] = [
        {"items": [now], "start_date": present["start_date"], "end_date": present["end_date"]},
        {"items": [then], "duration": {"interval": change.price["recurring"]["interval"], "interval_count": 1}},
    ]
    subscription_schedules.update(world, {"end_behavior": "release", "phases": phases}, schedule["id"])
