"""Subscriptions: what they are made of, their appointments, their first invoice, and their end.

What happens later lives beside it: renewals in `cycles`, failed payments in `dunning`, plan changes in `changes`,
pauses in `pausing`, phases in `schedules`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import (
    account_settings,
    discounts,
    drafting,
    invoice_items,
    invoicing,
    periods,
    pricing,
    wording,
)

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
LIVE = ("active", "past_due", "trialing", "unpaid", "paused", "incomplete")
RENEWING = ("active", "past_due", "trialing", "unpaid")
TASKS = (
    "cycle",
    "cancel",
    "trial_notice",
    "expire",
    "upcoming",
    "resume_collection",
    "pending_update",
    "resume_expired",
)
NOTICE_SECONDS = 3 * 86400  # customer.subscription.trial_will_end comes three days before.
INCOMPLETE_SECONDS = 23 * 3600


def new_item(
    world: World, subscription_id: str, price: Document, *, quantity: int | None, period: tuple[int, int], **fields: Any
) -> Document:
    """Return a subscription item; it lives inside its subscription.

    `_billed` remembers what the running period was really charged: `{"net", "start", "end", "invoice", "line"}`, the
    amount after discounts. Credits in flexible billing are worked out from it.
    """
    item = objects.new(
        world,
        "subscription_item",
        current_period_end=period[1],
        current_period_start=period[0],
        discounts=[],
        metadata={},
        plan=None,
        price=price["id"],
        subscription=subscription_id,
        tax_rates=[],
        _billed=None,
    )
    if not is_metered(price):
        item["quantity"] = 1 if quantity is None else quantity
    item.update(fields)
    return item


def is_metered(price: Document) -> bool:
    return bool((price["recurring"] or {}).get("usage_type") == "metered")


def new(
    world: World,
    customer: Document,
    wanted: list[Document],
    *,
    anchor: int | None = None,
    trial_end: int | None = None,
    status: str = "incomplete",
    **fields: Any,
) -> Document:
    """Return a subscription that is not kept yet; `wanted` are items as `{"price": document, "quantity", "metadata"}`.

    Without an anchor the cycle starts now, or when the trial ends. With an anchor in the future the first period
    ends there and is charged in proportion, unless `_prorates_start` is False.
    """
    subscription_id = fields.pop("id", None) or ids.new("subscription")
    anchor = anchor or trial_end or world.now
    items = []
    for entry in wanted:
        end = trial_end or span_of(anchor, entry["price"], world.now)[1]
        extra = {name: entry[name] for name in ("metadata", "tax_rates") if entry.get(name)}
        items.append(
            new_item(
                world, subscription_id, entry["price"], quantity=entry.get("quantity"), period=(world.now, end), **extra
            )
        )
    subscription = objects.new(
        world,
        "subscription",
        id=subscription_id,
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None},
        billing_cycle_anchor=anchor,
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": None},
        billing_schedules=[],
        cancel_at_period_end=False,
        cancellation_details={"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        collection_method="charge_automatically",
        currency=wanted[0]["price"]["currency"],
        customer=customer["id"],
        default_tax_rates=[],
        discounts=[],
        invoice_settings={
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": dict(drafting.SELF),
        },
        items={"object": "list", "data": items, "has_more": False, "total_count": len(items), "url": ""},
        metadata={},
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=world.now,
        status=status,
        test_clock=customer["test_clock"],
        trial_end=trial_end,
        trial_settings={"end_behavior": {"billing_cycle_anchor": "now", "missing_payment_method": "create_invoice"}},
        trial_start=world.now if trial_end else None,
        _prorates_start=True,
    )
    subscription["items"]["url"] = f"/v1/subscription_items?subscription={subscription_id}"
    subscription.update(fields)
    return subscription


def items_of(subscription: Document) -> list[Document]:
    items: list[Document] = subscription["items"]["data"]
    return items


def set_items(subscription: Document, items: list[Document]) -> None:
    subscription["items"].update(data=items, total_count=len(items))


def span_of(anchor: int, price: Document, moment: int) -> tuple[int, int]:
    """Return the whole period of a price that contains a moment, counted from an anchor."""
    recurring = price["recurring"]
    return periods.around(anchor, recurring["interval"], recurring["interval_count"], moment)


def next_due(subscription: Document) -> int:
    """Return when the earliest of the items' periods ends."""
    return min(int(item["current_period_end"]) for item in items_of(subscription))


def start(world: World, subscription: Document) -> Document:
    """Keep a new subscription, say so, and make its appointments."""
    world.add(subscription, "customer.subscription.created")
    if subscription["status"] == "incomplete":
        world.schedule("subscription.expire", subscription, world.now + INCOMPLETE_SECONDS)
    schedule(world, subscription)
    return subscription


def schedule(world: World, subscription: Document) -> None:
    """Make, move or drop the appointments of a subscription, whichever its state asks for."""
    if subscription["status"] not in LIVE:
        for name in TASKS:
            world.unschedule(f"subscription.{name}", subscription)
        return
    renews = subscription["status"] in RENEWING
    due = next_due(subscription)
    _appoint(world, subscription, "cycle", due if renews else None)
    days = account_settings.get(world.store)["upcoming_days"]
    upcoming = due - days * 86400
    tells = renews and days and not subscription["cancel_at"] and subscription.get("_upcoming_told") != due
    _appoint(world, subscription, "upcoming", max(upcoming, world.now) if tells and upcoming > world.now else None)
    if subscription["status"] == "trialing" and not subscription.get("_notified"):
        _appoint(world, subscription, "trial_notice", max(subscription["trial_end"] - NOTICE_SECONDS, world.now))
    else:
        _appoint(world, subscription, "trial_notice", None)
    _appoint(world, subscription, "cancel", subscription["cancel_at"])
    paused = subscription["pause_collection"] or {}
    _appoint(world, subscription, "resume_collection", paused.get("resumes_at"))


def _appoint(world: World, subscription: Document, name: str, at: int | None) -> None:
    if at is None:
        world.unschedule(f"subscription.{name}", subscription)
    else:
        world.schedule(f"subscription.{name}", subscription, at)


def line_for(world: World, subscription: Document, item: Document) -> Document | None:
    """Return the invoice line for an item's current period in advance, or None when there is none to be made.

    Metered prices are billed afterwards (see `usage`). A first period that is shorter than a whole one is charged by
    the second.
    """
    price = world.get("price", item["price"])
    if is_metered(price):
        return None
    product = world.get("product", price["product"])
    trialing = subscription["status"] == "trialing"
    amount = 0 if trialing else pricing.amount(price, item["quantity"])
    words = f"Trial period for {product['name']}" if trialing else wording.describe(price, product, item["quantity"])
    start, end = item["current_period_start"], item["current_period_end"]
    whole = span_of(subscription["billing_cycle_anchor"], price, start)
    partial = not trialing and (start, end) != whole and end - start < whole[1] - whole[0]
    if partial:
        if end == subscription["billing_cycle_anchor"] and not subscription.get("_prorates_start", True):
            return None
        amount = pricing.rounded(Decimal(amount) * (end - start) / (whole[1] - whole[0]))
        words = wording.remaining(product, item["quantity"], start)
    return drafting.new_line(
        world,
        amount=amount,
        currency=subscription["currency"],
        description=words,
        period=(start, end),
        parent=item_parent(subscription, item, proration=partial),
        price=price,
        quantity=item["quantity"],
        metadata=dict(subscription["metadata"]),
    )


def item_parent(subscription: Document, item: Document, *, proration: bool = False) -> Document:
    return {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": proration,
            "proration_details": {"credited_items": None},
            "subscription": subscription["id"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }


def draft_invoice(
    world: World,
    subscription: Document,
    lines: list[Document],
    *,
    billing_reason: str,
    period: tuple[int, int] | None = None,
    pending: bool = False,
    **fields: Any,
) -> Document:
    """Draft an invoice of a subscription with its running discounts; `pending` adds the invoice items that wait.

    The subscription's `latest_invoice` is set and what its items were billed is noted on them; saving it is the
    caller's.
    """
    customer = world.get("customer", subscription["customer"])
    waiting = invoice_items.pending_of(world, subscription) if pending else []
    applied = running_discounts(world, subscription, customer)
    invoice = drafting.draft(
        world,
        customer,
        [*waiting, *lines],
        billing_reason=billing_reason,
        currency=subscription["currency"],
        subscription=subscription,
        discounts=applied,
        period=period,
        **{
            "collection_method": subscription["collection_method"],
            "description": subscription["invoice_settings"]["description"],
            "footer": subscription["invoice_settings"]["footer"],
            "custom_fields": subscription["invoice_settings"]["custom_fields"],
            **fields,
        },
    )
    if subscription["collection_method"] == "send_invoice":
        invoice["_days_until_due"] = subscription["days_until_due"]
    taken = {part["discount"] for part in invoice["total_discount_amounts"] if part["amount"]}
    discounts.used(world, [discount for discount in applied if discount["id"] in taken])
    subscription["latest_invoice"] = invoice["id"]
    note_billed(subscription, invoice)
    return invoice


def running_discounts(world: World, subscription: Document, customer: Document) -> list[Document]:
    """Return the discounts that apply to a subscription's invoice now: its own, or else its customer's."""
    from_customer = [customer["discount"]] if customer["discount"] else []
    return discounts.running(world, subscription["discounts"] or from_customer)


def note_billed(subscription: Document, invoice: Document) -> None:
    """Remember on each item what an invoice charges for its current period."""
    for item in items_of(subscription):
        for line in invoice["_lines"]:
            details = line["parent"]["subscription_item_details"] or {}
            if details.get("subscription_item") == item["id"] and line["period"]["end"] == item["current_period_end"]:
                off = sum(part["amount"] for part in line["discount_amounts"])
                item["_billed"] = {"net": line["amount"] - off, **line["period"]}
                item["_billed"].update(invoice=invoice["id"], line=line["id"])
            made = (line["parent"]["invoice_item_details"] or {}).get("invoice_item")
            if made and item["_billed"] and item["_billed"].get("invoice_item") == made:
                item["_billed"].update(invoice=invoice["id"], line=line["id"])


def first_invoice(
    world: World,
    subscription: Document,
    *,
    extra_lines: list[Document] | None = None,
    pending: bool = True,
    **fields: Any,
) -> Document | None:
    """Draft and finalise the invoice that starts a subscription; None when there is nothing to put on it.

    It takes the customer's `pending` invoice items with it, which is how setup fees were billed before
    `add_invoice_items`; Checkout, which has shown its total already, leaves them waiting.
    """
    invoice = draft_first(world, subscription, extra_lines=extra_lines, pending=pending, **fields)
    if invoice is not None:
        world.save(subscription)
        invoicing.finalize(world, invoice)
    return invoice


def draft_first(
    world: World,
    subscription: Document,
    *,
    extra_lines: list[Document] | None = None,
    pending: bool = True,
    **fields: Any,
) -> Document | None:
    """Draft a subscription's first invoice; None when there is nothing to put on it."""
    lines = [line for item in items_of(subscription) if (line := line_for(world, subscription, item))]
    lines.extend(invoice_items.pending_of(world, subscription) if pending else [])
    metered = any(is_metered(world.get("price", item["price"])) for item in items_of(subscription))
    if not lines and not extra_lines and not metered:
        return None
    return draft_invoice(
        world, subscription, [*lines, *(extra_lines or [])], **{"billing_reason": "subscription_create", **fields}
    )


def end(world: World, subscription: Document, *, reason: str | None = None, last: Document | None = None) -> Document:
    """End a subscription now, for good; its unpaid invoices, but for the `last` one, are collected no further."""
    awaited = world.find("invoice", (subscription.get("_awaiting") or {}).get("invoice"))
    subscription.update(status="canceled", ended_at=world.now, pending_update=None, pause_collection=None)
    subscription["_awaiting"] = None  # What waited for a payment will not happen any more.
    subscription.pop("status_details", None)
    if subscription["canceled_at"] is None:
        subscription["canceled_at"] = world.now
    details = subscription["cancellation_details"]
    details["reason"] = reason or details["reason"] or "cancellation_requested"
    for discount in discounts.running(world, subscription["discounts"]):
        discounts.end(world, discount)
    world.save(subscription)
    schedule(world, subscription)
    for invoice in world.select("invoice", {"subscription": subscription["id"], "status": ["open", "draft"]}):
        if last is None or invoice["id"] != last["id"]:
            invoicing.stop_collecting(world, invoice)
    if awaited is not None and awaited["status"] == "open":
        invoicing.void(world, awaited)
    world.emit("customer.subscription.deleted", subscription)
    managed = world.find("subscription_schedule", subscription["schedule"])
    for tell in ON_END:
        tell(world, subscription, managed)
    return subscription


# Told of a subscription that has ended and of the schedule that managed it, if any; schedules listen here.
ON_END: list[Any] = []


def find_by_item(world: World, item_id: str) -> tuple[Document, Document]:
    """Return a subscription and its item by the item's id; raises Stripe's "No such subscription_item"."""
    for subscription in world.select("subscription", {"item": item_id}):
        for item in items_of(subscription):
            if item["id"] == item_id:
                return subscription, item
    raise errors.no_such("subscription_item", item_id)
