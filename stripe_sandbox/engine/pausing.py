"""Pausing and resuming a subscription as a whole: no invoices, no periods, and credit for the time that is not used.

Not to be confused with `pause_collection`, which leaves the subscription active and its invoices uncollected (see
`cycles`). Source: https://docs.stripe.com/billing/subscriptions/pause
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.engine import changes, drafting, invoicing, periods, prorations, subscriptions, tasks, usage

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
RESUMED = (*changes.CHANGED, "status")
EXPIRES_SECONDS = 23 * 3600


def pause(world: World, subscription: Document, params: Document) -> Document:
    """Pause an active subscription now; raises when it cannot be paused."""
    _ensure_pausable(subscription)
    changes.drop_pending(world, subscription)
    bill_for = params.get("bill_for") or {}
    unused_from = (bill_for.get("unused_time_from") or {}).get("type", "now")
    used_through = (bill_for.get("outstanding_usage_through") or {}).get("type", "now")
    lines = []
    for item in subscriptions.items_of(subscription):
        start = item["current_period_start"]
        at = start if unused_from == "item_current_period_start" else world.now
        credit = prorations.credit(world, subscription, item, at) if unused_from != "none" else None
        if credit and subscription["status"] != "trialing":
            prorations.make_item(world, subscription, credit)
        since = usage.start_of(item)
        line = usage.line_for(world, subscription, item, (since, world.now)) if used_through == "now" else None
        lines.extend([line] if line and line["quantity"] else [])
    if params.get("invoicing_behavior") == "invoice" or lines:
        _invoice(world, subscription, lines)
    reason = {"subscription": {"type": "pause_requested"}, "transitioned_at": world.now, "type": "subscription"}
    subscription.update(status="paused", status_details={"paused": reason}, _paused_at=world.now)
    for item in subscriptions.items_of(subscription):
        item["_billed"] = None
    world.save(subscription, "customer.subscription.updated")
    world.emit("customer.subscription.paused", subscription)
    subscriptions.schedule(world, subscription)
    return subscription


def end_by_itself(world: World, subscription: Document, interval: str, count: int) -> None:
    """Have a paused subscription resumed after a while, as the Customer Portal lets people choose."""
    world.schedule("subscription.end_pause", subscription, periods.boundary(world.now, interval, count, 1))


@tasks.task("subscription.end_pause")
def resume_by_itself(world: World, subscription: Document) -> None:
    """Resume a subscription whose chosen pause is over; nothing happens when it is not paused any more."""
    if subscription["status"] == "paused":
        resume(world, subscription, {"payment_behavior": "resume_on_payment_success"})


def _ensure_pausable(subscription: Document) -> None:
    if subscription["status"] not in ("active", "trialing", "past_due"):
        raise errors.invalid(f"You cannot pause a subscription with status `{subscription['status']}`.")
    if subscription["billing_mode"]["type"] != "flexible":
        raise errors.invalid("You can only pause subscriptions with `billing_mode[type]=flexible`.")
    if subscription["schedule"]:
        raise errors.invalid("You cannot pause a subscription that is managed by a subscription schedule.")
    if subscription["collection_method"] != "charge_automatically":
        raise errors.invalid("You can only pause subscriptions with `collection_method=charge_automatically`.")


def _invoice(world: World, subscription: Document, lines: list[Document]) -> None:
    before = subscription["latest_invoice"]
    invoice = subscriptions.draft_invoice(
        world, subscription, lines, billing_reason="subscription_update", pending=True
    )
    if not invoice["_lines"]:
        world.delete(invoice)
        subscription["latest_invoice"] = before
        return
    invoicing.finalize(world, invoice)
    if invoice["status"] == "open":
        changes.charge_now(world, invoice, must_succeed=False, params={"off_session": True})


def resume(world: World, subscription: Document, params: Document) -> Document:
    """Resume a paused subscription; it stays paused until the invoice that this brings is settled.

    The period starts anew, or with `billing_cycle_anchor[type]=unchanged` goes on as if it had never stopped, the rest
    of it charged by the second.
    """
    if subscription["status"] != "paused":
        raise errors.invalid(f"You cannot resume a subscription with status `{subscription['status']}`.")
    behaviour = params.get("proration_behavior") or "create_prorations"
    unchanged = (params.get("billing_cycle_anchor") or {}).get("type", "now") == "unchanged"
    after, lines = work_out(
        world, subscription, unchanged=unchanged, params={**params, "proration_behavior": behaviour}
    )
    _give_up_waiting(world, subscription)
    invoice = None
    if (not unchanged or behaviour == "always_invoice") and lines:
        invoice = subscriptions.draft_invoice(world, after, lines, billing_reason="subscription_update", pending=True)
    if invoice is None or world.rehearsing:
        _back(world, subscription, {name: after[name] for name in RESUMED if name in after})
        return invoice or subscription
    kept = {name: after[name] for name in RESUMED if name in after and name != "latest_invoice"}
    attempts = params.get("payment_behavior") == "resume_on_payment_success"
    subscription["latest_invoice"] = invoice["id"]
    subscription["_awaiting"] = {"kind": "resume", "invoice": invoice["id"], "after": kept, "tried": attempts}
    world.save(subscription, "customer.subscription.updated")
    world.schedule("subscription.resume_expired", subscription, world.now + EXPIRES_SECONDS)
    invoicing.finalize(world, invoice)
    if invoice["status"] == "open" and attempts:
        changes.charge_now(world, invoice, must_succeed=False, params={"off_session": True})
    return subscription


def work_out(
    world: World, subscription: Document, *, unchanged: bool, params: Document
) -> tuple[Document, list[Document]]:
    """Return a subscription as it will be once resumed, and the lines that this costs."""
    after = copy.deepcopy(subscription)
    after["status"] = "active"
    if after["trial_end"] and after["trial_end"] > world.now:
        after["status"] = "trialing"
    anchor = after["billing_cycle_anchor"] if unchanged else world.now
    after["billing_cycle_anchor"] = anchor
    at = params.get("proration_date") or world.now
    lines: list[Document | None] = []
    for item in subscriptions.items_of(after):
        span = subscriptions.span_of(anchor, world.get("price", item["price"]), world.now)
        item.update(current_period_start=world.now if not unchanged else span[0], current_period_end=span[1])
        item.update(_billed=None, _usage_from=world.now)
        if not unchanged:
            line = subscriptions.line_for(world, after, item)
            lines.extend([line] if line else [])
        elif params["proration_behavior"] != "none":
            charge = prorations.charge(world, after, subscriptions.items_of(after), item, at=at, anchor=anchor)
            if charge:
                item["_billed"] = {"net": charge["amount"], **charge["period"], "invoice": None, "line": None}
                lines.append(_line(world, after, item, charge, behaviour=params["proration_behavior"]))
    return after, [line for line in lines if line]


def _line(world: World, after: Document, item: Document, charge: Document, *, behaviour: str) -> Document | None:
    if behaviour == "create_prorations":
        prorations.make_item(world, after, charge)
        return None
    return drafting.new_line(
        world,
        amount=charge["amount"],
        currency=after["currency"],
        description=charge["description"],
        discountable=False,
        parent=subscriptions.item_parent(after, item, proration=True),
        period=(charge["period"]["start"], charge["period"]["end"]),
        price=world.get("price", item["price"]),
        quantity=item["quantity"],
    )


def _back(world: World, subscription: Document, after: Document) -> None:
    subscription.update(after)
    subscription["_awaiting"] = None
    subscription.pop("status_details", None)
    world.unschedule("subscription.resume_expired", subscription)
    world.unschedule("subscription.end_pause", subscription)
    world.save(subscription, "customer.subscription.updated")
    world.emit("customer.subscription.resumed", subscription)
    subscriptions.schedule(world, subscription)


def _settled(world: World, invoice: Document) -> None:
    """Resume a subscription whose resumption's invoice was paid or given up as uncollectible."""
    subscription = invoicing.subscription_of(world, invoice)
    awaiting = _waiting_for(subscription, invoice)
    if subscription is None or awaiting is None:
        return
    if invoice["status"] == "void":
        _give_up_waiting(world, subscription)
    else:
        _back(world, subscription, awaiting["after"])


def _failed(world: World, invoice: Document) -> None:
    """Resume as past due when the first attempt fails and the caller did not ask for success."""
    subscription = invoicing.subscription_of(world, invoice)
    awaiting = _waiting_for(subscription, invoice)
    if subscription is not None and awaiting is not None and not awaiting["tried"]:
        _back(world, subscription, {**awaiting["after"], "status": "past_due"})


def _waiting_for(subscription: Document | None, invoice: Document) -> Document | None:
    awaiting: Document = (subscription or {}).get("_awaiting") or {}
    return awaiting if awaiting.get("kind") == "resume" and awaiting["invoice"] == invoice["id"] else None


def _give_up_waiting(world: World, subscription: Document) -> None:
    awaiting = subscription.get("_awaiting") or {}
    if awaiting.get("kind") != "resume":
        return
    subscription["_awaiting"] = None
    world.save(subscription)
    world.unschedule("subscription.resume_expired", subscription)
    invoice = world.find("invoice", awaiting["invoice"])
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(world, invoice)


@tasks.task("subscription.resume_expired")
def expire_resumption(world: World, subscription: Document) -> None:
    """Void a resumption's invoice that nobody paid within 23 hours; the subscription stays paused."""
    _give_up_waiting(world, subscription)


invoicing.ON_PAID.insert(0, _settled)
invoicing.ON_CLOSED.append(_settled)
invoicing.ON_PAYMENT_FAILED.append(_failed)
