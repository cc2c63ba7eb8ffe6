"""Metered usage: what meter events add up to, and the lines that bill it once a period is over."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import drafting, pricing, subscriptions, wording

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def total(world: World, meter: Document, customer_id: str, start: int, end: int) -> Decimal:
    """Return what a customer's events of a meter come to from `start` up to, not including, `end`.

    `sum` adds the values, `count` counts the events, `last` takes the latest one.
    """
    formula = meter["default_aggregation"]["formula"]
    where = {"event_name": meter["event_name"], "customer": customer_id}
    counted = [
        (event["timestamp"], Decimal(str(event["_value"])))
        for event in world.select("billing.meter_event", where, ascending=True)
        if start <= event["timestamp"] < end and not event.get("_canceled")
    ]
    if formula == "count":
        return Decimal(len(counted))
    if formula == "last":
        return max(counted, key=lambda pair: pair[0])[1] if counted else Decimal(0)
    return sum((value for _, value in counted), Decimal(0))


def line_for(world: World, subscription: Document, item: Document, period: tuple[int, int]) -> Document | None:
    """Return the line that bills a metered item for what was used in a period; None for a licensed item."""
    price = world.get("price", item["price"])
    if not subscriptions.is_metered(price):
        return None
    meter = world.find("billing.meter", price["recurring"]["meter"])
    used = total(world, meter, subscription["customer"], *period) if meter else Decimal(0)
    product = world.get("product", price["product"])
    trialing = subscription["status"] == "trialing"
    return drafting.new_line(
        world,
        amount=0 if trialing else pricing.amount(price, used),
        currency=subscription["currency"],
        description=wording.describe_usage(price, product, used),
        period=period,
        parent=subscriptions.item_parent(subscription, item),
        price=price,
        quantity=int(used),
        quantity_decimal=format(used.normalize(), "f"),
        metadata=dict(subscription["metadata"]),
    )
