"""Metered usage: what meter events add up to, and the lines that bill it once a period is over."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import drafting, invoice_items, invoicing, pricing, subscriptions, wording
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
OLDEST_SECONDS, NEWEST_SECONDS = 35 * 86400, 300
CANCEL_SECONDS = 86400
REMEMBERED_SECONDS = 86400  # An identifier is refused for a day; Stripe promises no more.


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
        _is_free=trialing,
    )


def _count_again(world: World, invoice: Document) -> None:
    """Bring a draft's lines of usage to what was reported for their period until now, before it is closed."""
    for line in invoice["_lines"]:
        price = world.find("price", ((line["pricing"] or {}).get("price_details") or {}).get("price"))
        if not line["parent"]["subscription_item_details"] or price is None or not subscriptions.is_metered(price):
            continue
        meter = world.find("billing.meter", price["recurring"]["meter"])
        period = line["period"]
        used = total(world, meter, invoice["customer"], period["start"], period["end"]) if meter else Decimal(0)
        amount = 0 if line.get("_is_free") else pricing.amount(price, used)
        product = world.get("product", price["product"])
        line.update(amount=amount, subtotal=amount, quantity=int(used), quantity_decimal=format(used.normalize(), "f"))
        line["description"] = wording.describe_usage(price, product, used)


invoicing.BEFORE_FINALIZE.append(_count_again)


def start_of(item: Document) -> int:
    """Return from when an item's usage is still to be billed: its period's start, or when it was resumed."""
    return int(max(item.get("_usage_from") or 0, item["current_period_start"]))


def make_item(world: World, subscription: Document, line: Document) -> None:
    """Let a line of usage wait as an invoice item for the subscription's next invoice."""
    price = world.get("price", line["pricing"]["price_details"]["price"])
    invoice_items.create(
        world,
        world.get("customer", subscription["customer"]),
        price=price,
        amount=line["amount"],
        quantity=line["quantity"],
        description=line["description"],
        period=dict(line["period"]),
        subscription=subscription,
    )


def record(world: World, given: Document) -> Document:
    """Keep a meter event; raises when no active meter counts it, its value is no number, or it is known already."""
    meter = world.first("billing.meter", {"event_name": given["event_name"], "status": "active"})
    if meter is None:
        raise errors.StripeError(
            f"No active meter found for event name {given['event_name']}.", status=404, code="no_meter"
        )
    payload = given["payload"]
    customer = payload.get(meter["customer_mapping"]["event_payload_key"])
    if not customer:
        key = meter["customer_mapping"]["event_payload_key"]
        raise errors.invalid(f"The payload must have the customer under the key {key}.", "payload")
    world.follow_clock_of(world.get("customer", customer, param="payload"))
    at = given.get("timestamp") or world.now
    if at < world.now - OLDEST_SECONDS or at > world.now + NEWEST_SECONDS:
        raise errors.invalid(
            "The timestamp must be within the past 35 calendar days or up to 5 minutes in the future.", "timestamp"
        )
    identifier = given.get("identifier") or ids.token(32)
    known = world.first("billing.meter_event", {"identifier": identifier})
    if known is not None and known["created"] > world.now - REMEMBERED_SECONDS:
        raise errors.invalid(
            f"An event already exists with identifier {identifier}.", "identifier", code="duplicate_meter_event"
        )
    return world.add(
        objects.new(
            world,
            "billing.meter_event",
            event_name=meter["event_name"],
            identifier=identifier,
            payload=payload,
            timestamp=at,
            _customer=customer,
            _value=_value_of(meter, payload),
        )
    )


def _value_of(meter: Document, payload: Document) -> str:
    if meter["default_aggregation"]["formula"] == "count":
        return "1"
    key = meter["value_settings"]["event_payload_key"]
    try:
        value = Decimal(payload.get(key, ""))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise errors.invalid(f"The payload must have a number under the key {key}.", "payload")
    return str(payload[key])


def cancel_event(world: World, event_name: str, identifier: str) -> Document:
    """Take a meter event back within 24 hours, and return the adjustment that says so."""
    event = world.first("billing.meter_event", {"identifier": identifier, "event_name": event_name})
    if event is None:
        raise errors.no_such("billing.meter_event", identifier, param="cancel[identifier]")
    world.follow_clock_of(world.find("customer", event["_customer"]))
    if event["created"] < world.now - CANCEL_SECONDS:
        raise errors.invalid("A meter event can only be cancelled within 24 hours.", "cancel[identifier]")
    event["_canceled"] = True
    world.save(event)
    return world.add(
        objects.new(
            world,
            "billing.meter_event_adjustment",
            cancel={"identifier": identifier},
            event_name=event_name,
            status="complete",
            type="cancel",
        )
    )


@rendering.embeds("billing.meter_event")
@rendering.embeds("billing.meter_event_adjustment")
def _hide_id(world: World, shown: Document, stored: Document) -> None:
    """Meter events and their adjustments have no id at Stripe."""
    shown.pop("id", None)
