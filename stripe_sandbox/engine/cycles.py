"""Renewals: what happens when a period or a trial ends.

A renewal drafts an invoice at the very second the period ends; the draft is finalised and charged about an hour later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import discounts, invoice_items, invoicing, methods, prorations, subscriptions, tasks, usage

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
# Asked, before a period ends, to put in force what is planned for that moment; schedules listen here.
BEFORE_RENEWAL: list[Any] = []


@tasks.task("subscription.cycle")
def cycle(world: World, subscription: Document) -> None:
    """End the periods that are over: end the subscription if that is planned, else start and bill the next period."""
    if subscription["status"] not in subscriptions.RENEWING:
        return
    for prepare in BEFORE_RENEWAL:
        prepare(world, subscription)
    if subscription["status"] not in subscriptions.RENEWING:
        return
    if subscriptions.next_due(subscription) > world.now:
        subscriptions.schedule(world, subscription)
        return
    if _ends_now(world, subscription):
        finish(world, subscription)
        return
    if subscription["status"] == "trialing" and not _has_method(world, subscription):
        wanted = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
        if wanted == "cancel":
            subscriptions.end(world, subscription)
            return
        if wanted == "pause":
            _pause_for_want_of_a_card(world, subscription)
            return
    _drop_ended_discounts(world, subscription)
    invoice = renew(world, subscription)
    if invoice is not None:
        _send_on_its_way(world, subscription, invoice)
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)


def renew(world: World, subscription: Document) -> Document | None:
    """Move the items whose period is over to their next period, and draft the invoice; None when it has no lines."""
    ended = subscriptions.next_due(subscription)
    was_trialing = subscription["status"] == "trialing"
    lines, began = [], ended
    for item in subscriptions.items_of(subscription):
        if item["current_period_end"] <= ended:
            began = min(began, item["current_period_start"])
            line = usage.line_for(world, subscription, item, (usage.start_of(item), ended))
            lines.extend([line] if line else [])
    if was_trialing:
        subscription["status"] = "active"
    for item in subscriptions.items_of(subscription):
        if item["current_period_end"] <= ended:
            _next_period(world, subscription, item, ended)
            line = subscriptions.line_for(world, subscription, item)
            lines.extend([line] if line else [])
    if not lines and not invoice_items.pending_of(world, subscription):
        return None
    return subscriptions.draft_invoice(
        world, subscription, lines, billing_reason="subscription_cycle", period=(began, ended), pending=True
    )


def _next_period(world: World, subscription: Document, item: Document, start: int) -> None:
    price = world.get("price", item["price"])
    end = subscriptions.span_of(subscription["billing_cycle_anchor"], price, start)[1]
    ends_at = subscription["cancel_at"]
    if ends_at and start < ends_at < end and not subscription["cancel_at_period_end"]:
        end = ends_at  # The last period is as long as the subscription is to live, and charged accordingly.
    item.update(current_period_start=start, current_period_end=end, _billed=None)


def _ends_now(world: World, subscription: Document) -> bool:
    at = subscription["cancel_at"]
    return bool(at and at <= world.now)


def _has_method(world: World, subscription: Document) -> bool:
    if subscription["collection_method"] == "send_invoice":
        return True
    customer = world.get("customer", subscription["customer"])
    return methods.default_for(world, customer, subscription["default_payment_method"]) is not None


def _pause_for_want_of_a_card(world: World, subscription: Document) -> None:
    reason = {"type": "trial_end_without_payment_method"}
    details = {"subscription": reason, "transitioned_at": world.now, "type": "subscription"}
    subscription.update(status="paused", status_details={"paused": details})
    world.save(subscription, "customer.subscription.updated")
    world.emit("customer.subscription.paused", subscription)
    subscriptions.schedule(world, subscription)


def _drop_ended_discounts(world: World, subscription: Document) -> None:
    running = {discount["id"] for discount in discounts.running(world, subscription["discounts"])}
    for discount_id in subscription["discounts"]:
        discount = world.find("discount", discount_id)
        if discount is not None and discount_id not in running:
            world.emit("customer.discount.deleted", discount)
    subscription["discounts"] = [discount_id for discount_id in subscription["discounts"] if discount_id in running]


def _send_on_its_way(world: World, subscription: Document, invoice: Document) -> None:
    """Let a renewal's draft be collected in an hour - or not, when collection is paused or the subscription unpaid."""
    paused = subscription["pause_collection"]
    if paused and paused["behavior"] in ("void", "mark_uncollectible"):
        invoicing.finalize(world, invoice)
        close = invoicing.void if paused["behavior"] == "void" else invoicing.mark_uncollectible
        if invoice["status"] == "open":
            close(world, invoice)
    elif paused or subscription["status"] == "unpaid":
        invoice["auto_advance"] = False
        world.save(invoice)
    else:
        invoicing.schedule_finalisation(world, invoice)


def finish(world: World, subscription: Document) -> None:
    """End a subscription whose time has come, and bill what is still to be billed: usage, and what was pending."""
    last = bill_the_rest(world, subscription, credit=subscription.get("_cancel_prorates", True))
    subscriptions.end(world, subscription, last=last)


def bill_the_rest(world: World, subscription: Document, *, credit: bool = True) -> Document | None:
    """Draft a last invoice over metered usage up to now, pending items, and credit for time that was paid for."""
    lines = []
    for item in subscriptions.items_of(subscription):
        start = usage.start_of(item)
        line = usage.line_for(world, subscription, item, (start, world.now)) if start < world.now else None
        lines.extend([line] if line else [])
        early = credit and item["current_period_end"] > world.now and subscription["status"] != "trialing"
        unused = prorations.credit(world, subscription, item, world.now) if early else None
        if unused:
            prorations.make_item(world, subscription, unused)
    if not lines and not invoice_items.pending_of(world, subscription):
        return None
    began = min(item["current_period_start"] for item in subscriptions.items_of(subscription))
    invoice = subscriptions.draft_invoice(
        world, subscription, lines, billing_reason="subscription_cycle", period=(began, world.now), pending=True
    )
    invoicing.schedule_finalisation(world, invoice)
    return invoice


@tasks.task("subscription.trial_notice")
def trial_notice(world: World, subscription: Document) -> None:
    """Say that a trial ends in three days, or at once when it is shorter than that."""
    if subscription["status"] == "trialing":
        subscription["_notified"] = True
        world.save(subscription)
        world.emit("customer.subscription.trial_will_end", subscription)


@tasks.task("subscription.cancel")
def cancel_when_set(world: World, subscription: Document) -> None:
    if subscription["status"] in subscriptions.LIVE and _ends_now(world, subscription):
        finish(world, subscription)


@tasks.task("subscription.resume_collection")
def resume_collection(world: World, subscription: Document) -> None:
    """Take payments again on the day that `pause_collection.resumes_at` names."""
    paused = subscription["pause_collection"]
    if paused and paused["resumes_at"] and paused["resumes_at"] <= world.now:
        subscription["pause_collection"] = None
        world.save(subscription, "customer.subscription.updated")
