"""Prorations: the credit for time that was paid for and will not be used, and the charge for the rest of a period.

Counted by the second and rounded to the cent once per line, halves away from zero. In flexible billing a credit is a
share of what was really billed for the period, after discounts; in classic billing of what the item costs now
(https://docs.stripe.com/billing/subscriptions/prorations).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import invoice_items, pricing, subscriptions, wording

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def net_amount(world: World, subscription: Document, items: list[Document], item: Document) -> int:
    """Return what a whole period of an item costs after the subscription's running discounts, in cents."""
    customer = world.get("customer", subscription["customer"])
    running = subscriptions.running_discounts(world, subscription, customer)
    lines = []
    for one in items:
        price = world.get("price", one["price"])
        amount = 0 if subscriptions.is_metered(price) else pricing.amount(price, one["quantity"])
        lines.append({"amount": amount, "discountable": True, "_product": price["product"], "_item": one["id"]})
    coupons = [(discount["id"], world.get("coupon", discount["source"]["coupon"])) for discount in running]
    pricing.discount_lines(lines, coupons)
    line = next(line for line in lines if line["_item"] == item["id"])
    return int(line["amount"] - sum(part["amount"] for part in line["discount_amounts"]))


def credit(world: World, subscription: Document, item: Document, at: int) -> Document | None:
    """Return the credit for an item's time from `at` to the end of its period, or None when nothing was billed."""
    price = world.get("price", item["price"])
    if subscriptions.is_metered(price):
        return None
    end = item["current_period_end"]
    if subscription["billing_mode"]["type"] == "flexible":
        billed = item["_billed"]
        if billed is None:
            return None
        paid, start, end = billed["net"], billed["start"], billed["end"]
        source = {"invoice": billed["invoice"], "invoice_line_items": [billed["line"]]} if billed.get("line") else None
    else:
        paid = net_amount(world, subscription, subscriptions.items_of(subscription), item)
        start = subscriptions.span_of(subscription["billing_cycle_anchor"], price, at)[0]
        source = None
    at = max(at, start)
    amount = share(paid, end - at, end - start)
    if amount == 0:
        return None
    product = world.get("product", price["product"])
    return {
        "amount": -amount,
        "description": wording.unused(product, item["quantity"], at),
        "item": item["id"],
        "period": {"start": at, "end": end},
        "price": price["id"],
        "quantity": item["quantity"],
        "credited_items": source,
    }


def charge(
    world: World, subscription: Document, items: list[Document], item: Document, *, at: int, anchor: int
) -> Document | None:
    """Return the charge for an item of the new list from `at` to the end of its period, or None for a metered one."""
    price = world.get("price", item["price"])
    if subscriptions.is_metered(price):
        return None
    whole = subscriptions.span_of(anchor, price, at)
    end = item["current_period_end"]
    if end <= at:
        return None
    amount = share(net_amount(world, subscription, items, item), end - at, whole[1] - whole[0])
    product = world.get("product", price["product"])
    return {
        "amount": amount,
        "description": wording.remaining(product, item["quantity"], at),
        "item": item["id"],
        "period": {"start": at, "end": end},
        "price": price["id"],
        "quantity": item["quantity"],
        "credited_items": None,
    }


def share(amount: int, part: int, whole: int) -> int:
    """Return the share of an amount that a part of a period has, in whole cents."""
    if whole <= 0 or part <= 0:
        return 0
    return pricing.rounded(Decimal(amount) * min(part, whole) / whole)


def make_item(world: World, subscription: Document, proration: Document) -> Document:
    """Turn a proration into a pending invoice item, which the next invoice of the subscription takes."""
    customer = world.get("customer", subscription["customer"])
    return invoice_items.create(
        world,
        customer,
        price=world.get("price", proration["price"]),
        quantity=proration["quantity"],
        amount=proration["amount"],
        description=proration["description"],
        subscription=subscription,
        subscription_item=proration["item"],
        proration=True,
        period=dict(proration["period"]),
        net_amount=proration["amount"],
        proration_details={"discount_amounts": []},
        _credited_items=proration["credited_items"],
    )
