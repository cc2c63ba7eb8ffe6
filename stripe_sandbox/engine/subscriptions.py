"""Subscriptions: creating, billing each cycle, and ending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import discounts, drafting, invoicing, periods, pricing, tasks, wording
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
LIVE = ("active", "past_due", "trialing", "unpaid", "paused", "incomplete")
NOTICE_SECONDS = 3 * 86400  # customer.subscription.trial_will_end comes three days before.
INCOMPLETE_SECONDS = 23 * 3600
RETRY_DAYS = (3, 5, 7)


def new_item(
    world: World, subscription_id: str, price: Document, *, quantity: int | None, period: tuple[int, int], **fields: Any
) -> Document:
    """Return a subscription item; it lives inside its subscription."""
    metered = (price["recurring"] or {}).get("usage_type") == "metered"
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
    )
    if not metered:
        item["quantity"] = 1 if quantity is None else quantity
    item.update(fields)
    return item


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

    Without an anchor the cycle starts now, or when the trial ends.
    """
    subscription_id = fields.pop("id", None) or ids.new("subscription")
    anchor = anchor or trial_end or world.now
    items = []
    for entry in wanted:
        recurring = entry["price"]["recurring"]
        end = trial_end or periods.around(anchor, recurring["interval"], recurring["interval_count"], world.now)[1]
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
    )
    subscription["items"]["url"] = f"/v1/subscription_items?subscription={subscription_id}"
    subscription.update(fields)
    return subscription


def items_of(subscription: Document) -> list[Document]:
    items: list[Document] = subscription["items"]["data"]
    return items


def start(world: World, subscription: Document) -> Document:
    """Keep a new subscription, say so, and make its appointments."""
    world.add(subscription, "customer.subscription.created")
    if subscription["status"] == "incomplete":
        world.schedule("subscription.expire", subscription, world.now + INCOMPLETE_SECONDS)
    schedule(world, subscription)
    return subscription


def schedule(world: World, subscription: Document) -> None:
    """Make (or move) the appointments of a subscription: its next cycle, the trial's notice, a set cancellation."""
    if subscription["status"] not in LIVE:
        for name in ("cycle", "cancel", "trial_notice", "expire"):
            world.unschedule(f"subscription.{name}", subscription)
        return
    if subscription["status"] not in ("incomplete", "paused"):
        due = min(item["current_period_end"] for item in items_of(subscription))
        world.schedule("subscription.cycle", subscription, due)
    if subscription["status"] == "trialing" and not subscription.get("_notified"):
        at = max(subscription["trial_end"] - NOTICE_SECONDS, world.now)
        world.schedule("subscription.trial_notice", subscription, at)
    ends = subscription["cancel_at"]
    if ends:
        world.schedule("subscription.cancel", subscription, ends)
    else:
        world.unschedule("subscription.cancel", subscription)


def first_lines(world: World, subscription: Document) -> list[Document]:
    """Return the lines of a subscription's first invoice: nothing for a trial, else the first period in advance."""
    return [line for item in items_of(subscription) if (line := line_for(world, subscription, item))]


def line_for(world: World, subscription: Document, item: Document) -> Document | None:
    """Return the invoice line for an item's current period, or None when its price is metered."""
    price = world.get("price", item["price"])
    if price["recurring"]["usage_type"] == "metered":
        return None
    product = world.get("product", price["product"])
    trialing = subscription["status"] == "trialing"
    amount = 0 if trialing else pricing.amount(price, item["quantity"])
    words = f"Trial period for {product['name']}" if trialing else wording.describe(price, product, item["quantity"])
    return drafting.new_line(
        world,
        amount=amount,
        currency=subscription["currency"],
        description=words,
        period=(item["current_period_start"], item["current_period_end"]),
        parent=item_parent(subscription, item),
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


def first_invoice(
    world: World, subscription: Document, *, extra_lines: list[Document] | None = None, **fields: Any
) -> Document:
    """Draft and finalise the invoice that starts a subscription."""
    customer = world.get("customer", subscription["customer"])
    applied = discounts.running(world, subscription["discounts"] or _customer_discounts(customer))
    invoice = drafting.draft(
        world,
        customer,
        [*first_lines(world, subscription), *(extra_lines or [])],
        billing_reason="subscription_create",
        currency=subscription["currency"],
        subscription=subscription,
        discounts=applied,
        collection_method=subscription["collection_method"],
        default_payment_method=None,
        **fields,
    )
    discounts.used(world, applied)
    subscription["latest_invoice"] = invoice["id"]
    world.save(subscription)
    invoicing.finalize(world, invoice)
    return invoice


def _customer_discounts(customer: Document) -> list[str]:
    return [customer["discount"]] if customer["discount"] else []


@tasks.task("subscription.cycle")
def cycle(world: World, subscription: Document) -> None:
    """Start the next period of the items whose period is over, and bill it."""
    if subscription["status"] not in ("active", "trialing", "past_due", "unpaid"):
        return
    if subscription["cancel_at_period_end"] or (subscription["cancel_at"] and subscription["cancel_at"] <= world.now):
        end(world, subscription)
        return
    ended = min(item["current_period_end"] for item in items_of(subscription))
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    lines = []
    for item in items_of(subscription):
        if item["current_period_end"] <= ended:
            recurring = world.get("price", item["price"])["recurring"]
            item["current_period_start"] = ended
            item["current_period_end"] = periods.end_of(ended, subscription["billing_cycle_anchor"], recurring)
            line = line_for(world, subscription, item)
            lines.extend([line] if line else [])
    customer = world.get("customer", subscription["customer"])
    applied = discounts.running(world, subscription["discounts"] or _customer_discounts(customer))
    invoice = drafting.draft(
        world,
        customer,
        lines,
        billing_reason="subscription_cycle",
        currency=subscription["currency"],
        subscription=subscription,
        discounts=applied,
        collection_method=subscription["collection_method"],
    )
    discounts.used(world, applied)
    invoicing.schedule_finalisation(world, invoice)
    subscription["latest_invoice"] = invoice["id"]
    world.save(subscription, "customer.subscription.updated")
    schedule(world, subscription)


@tasks.task("subscription.trial_notice")
def trial_notice(world: World, subscription: Document) -> None:
    if subscription["status"] == "trialing":
        subscription["_notified"] = True
        world.save(subscription)
        world.emit("customer.subscription.trial_will_end", subscription)


@tasks.task("subscription.cancel")
def cancel_when_set(world: World, subscription: Document) -> None:
    if subscription["status"] in LIVE and subscription["cancel_at"] and subscription["cancel_at"] <= world.now:
        end(world, subscription)


@tasks.task("subscription.expire")
def expire_incomplete(world: World, subscription: Document) -> None:
    """Give up on a subscription whose first invoice was not paid within 23 hours."""
    if subscription["status"] != "incomplete":
        return
    invoice = world.find("invoice", subscription["latest_invoice"])
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(world, invoice)
    subscription.update(status="incomplete_expired", ended_at=world.now)
    world.save(subscription, "customer.subscription.updated")
    schedule(world, subscription)


def end(world: World, subscription: Document, *, reason: str | None = None) -> Document:
    """End a subscription now, for good."""
    subscription.update(status="canceled", ended_at=world.now)
    if subscription["canceled_at"] is None:
        subscription["canceled_at"] = world.now
    details = subscription["cancellation_details"]
    details["reason"] = reason or details["reason"] or "cancellation_requested"
    world.save(subscription)
    schedule(world, subscription)
    world.emit("customer.subscription.deleted", subscription)
    return subscription


def _paid(world: World, invoice: Document) -> None:
    """Bring a subscription up to date when one of its invoices is paid."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None:
        return
    if subscription["status"] == "incomplete" or (
        subscription["status"] in ("past_due", "unpaid") and subscription["latest_invoice"] == invoice["id"]
    ):
        subscription["status"] = "active"
        world.unschedule("subscription.expire", subscription)
        world.save(subscription, "customer.subscription.updated")
        schedule(world, subscription)


def _payment_failed(world: World, invoice: Document) -> None:
    """Make a subscription past due when a renewal's payment fails, and plan the next attempt or the end."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or subscription["status"] not in ("active", "past_due"):
        return
    attempts = invoice["attempt_count"]
    if subscription["status"] == "active":
        subscription["status"] = "past_due"
        world.save(subscription, "customer.subscription.updated")
    if attempts > len(RETRY_DAYS):
        invoice["next_payment_attempt"] = None
        world.save(invoice)
        end(world, subscription, reason="payment_failed")
        return
    if invoice["next_payment_attempt"] is None or invoice["next_payment_attempt"] <= world.now:
        invoice["next_payment_attempt"] = world.now + RETRY_DAYS[attempts - 1] * 86400
        world.save(invoice)
        world.schedule("invoice.retry", invoice, invoice["next_payment_attempt"])


invoicing.ON_PAID.append(_paid)
invoicing.ON_PAYMENT_FAILED.append(_payment_failed)


@tasks.task("invoice.retry")
def retry(world: World, invoice: Document) -> None:
    if invoice["status"] == "open":
        invoicing.attempt(world, invoice)


def find_by_item(world: World, item_id: str) -> tuple[Document, Document]:
    """Return a subscription and its item by the item's id; raises Stripe's "No such subscription_item"."""
    for subscription in world.select("subscription", {"item": item_id}):
        for item in items_of(subscription):
            if item["id"] == item_id:
                return subscription, item
    raise errors.no_such("subscription_item", item_id)


@rendering.embeds("subscription")
def _embed_prices(world: World, shown: Document, stored: Document) -> None:
    for item in shown["items"]["data"]:
        _embed_price(world, item, item)


@rendering.embeds("subscription_item")
def _embed_price(world: World, shown: Document, stored: Document) -> None:
    if isinstance(shown["price"], str):
        price = world.get("price", shown["price"])
        shown["price"] = rendering.render(world, price)
        shown["plan"] = plan_of(price)


def plan_of(price: Document) -> Document:
    """Return a price in the shape of the plans of old, which subscription items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": dict(price["metadata"]),
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }
