"""Invoice items: amounts that wait for the customer's next invoice, or are put on a draft."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox import objects
from stripe_sandbox.engine import drafting, pricing

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def create(
    world: World,
    customer: Document,
    *,
    price: Document | None = None,
    quantity: int = 1,
    amount: int | None = None,
    currency: str | None = None,
    description: str | None = None,
    subscription: Document | None = None,
    subscription_item: str | None = None,
    proration: bool = False,
    event: str | None = "invoiceitem.created",
    **fields: Any,
) -> Document:
    """Create an invoice item for a price or an amount in cents; it is pending until an invoice takes it."""
    product = world.get("product", price["product"]) if price else None
    cents = pricing.amount(price, quantity) if price and amount is None else int(amount or 0)
    unit = price["unit_amount_decimal"] if price else str(Decimal(cents) / quantity if quantity else 0)
    item = objects.new(
        world,
        "invoiceitem",
        amount=cents,
        currency=price["currency"] if price else currency,
        customer=customer["id"],
        date=world.now,
        description=description or (product["name"] if product else None),
        discountable=not proration,
        discounts=[],
        metadata={},
        parent=_parent(subscription, subscription_item),
        period={"end": world.now, "start": world.now},
        pricing={
            "price_details": {"price": price["id"], "product": price["product"]} if price else None,
            "type": "price_details",
            "unit_amount_decimal": unit,
        },
        proration=proration,
        quantity=quantity,
        quantity_decimal=str(quantity),
        tax_rates=[],
        test_clock=customer["test_clock"],
        _pending=True,
    )
    item.update(fields)
    return world.add(item, event)


def _parent(subscription: Document | None, item: str | None) -> Document | None:
    if subscription is None:
        return None
    details = {"subscription": subscription["id"], "subscription_item": item}
    return {"subscription_details": details, "type": "subscription_details"}


def line_for(world: World, item: Document) -> Document:
    """Return the invoice line for an invoice item; drafting an invoice with it makes the item pending no more."""
    price = world.find("price", ((item["pricing"] or {}).get("price_details") or {}).get("price"))
    details = (item["parent"] or {}).get("subscription_details") or {}
    return drafting.new_line(
        world,
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        discountable=item["discountable"],
        metadata=dict(item["metadata"] or {}),
        parent={
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": item["proration"],
                "proration_details": {"credited_items": item.get("_credited_items")},
                "subscription": details.get("subscription"),
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        period=(item["period"]["start"], item["period"]["end"]),
        price=price,
        quantity=item["quantity"],
    )


def pending_of(world: World, subscription: Document) -> list[Document]:
    """Return lines for the pending items that the next invoice of a subscription takes: its own, and its customer's."""
    waiting = world.select("invoiceitem", {"customer": subscription["customer"], "pending": True}, ascending=True)
    return [
        line_for(world, item)
        for item in waiting
        if item["currency"] == subscription["currency"]
        and ((item["parent"] or {}).get("subscription_details") or {}).get("subscription") in (None, subscription["id"])
    ]


def pending_lines(world: World, customer: Document, *, currency: str) -> list[Document]:
    """Return lines for a customer's pending items in a currency; the invoice that is drafted with them takes them."""
    waiting = list(world.select("invoiceitem", {"customer": customer["id"], "pending": True}, ascending=True))
    return [line_for(world, item) for item in waiting if item["currency"] == currency]
