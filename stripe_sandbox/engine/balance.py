"""The account's own money: balance transactions, fees, and what is available or pending."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox import objects
from stripe_sandbox.engine import pricing

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
DAYS_PENDING = 2
REPORTING = {"charge": "charge", "refund": "refund", "adjustment": "dispute", "refund_failure": "refund_failure"}


def card_fee(amount: int) -> int:
    """Return Stripe's standard fee on a card charge in the United States: 2.9 % and 30 cents."""
    return pricing.rounded(Decimal(amount) * Decimal("0.029")) + 30


def book(
    world: World,
    type: str,  # noqa: A002 - Stripe's word
    source: Document,
    amount: int,
    *,
    fee: int = 0,
    description: str | None = None,
    at_once: bool = False,
) -> Document:
    """Book a movement of the account's balance; `amount` and `fee` in cents, negative amounts take money away."""
    available_on = world.now if at_once else world.now + DAYS_PENDING * 86400
    details = [{"amount": fee, "application": None, "currency": source["currency"], "type": "stripe_fee"}]
    for detail in details:
        detail["description"] = "Stripe processing fees" if type == "charge" else "Dispute fee"
    return world.add(
        objects.new(
            world,
            "balance_transaction",
            amount=amount,
            available_on=available_on,
            balance_type="payments",
            currency=source["currency"],
            description=description,
            fee=fee,
            fee_details=details if fee else [],
            net=amount - fee,
            reporting_category=REPORTING.get(type, type),
            source=source["id"],
            status="available" if at_once else "pending",
            type=type,
        )
    )


def totals(world: World) -> dict[str, dict[str, int]]:
    """Return `{"available": {currency: cents}, "pending": {...}}` as of now."""
    found: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for transaction in world.select("balance_transaction"):
        where = found["available" if transaction["available_on"] <= world.now else "pending"]
        where[transaction["currency"]] = where.get(transaction["currency"], 0) + transaction["net"]
    return found
