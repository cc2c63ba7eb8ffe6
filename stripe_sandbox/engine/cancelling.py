"""Cancelling a subscription at once, with credit for unused time and a last invoice when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import changes, cycles, invoicing, prorations, subscriptions

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def cancel_now(world: World, subscription: Document, *, prorate: bool, invoice_now: bool) -> Document:
    """End a subscription now.

    `prorate` leaves credit for the unused time as pending invoice items; `invoice_now` puts them, with metered usage
    so far, on a last invoice that is charged at once. What that invoice comes to below zero becomes the customer's
    balance.
    """
    changes.drop_pending(world, subscription)
    awaited = world.find("invoice", subscription["latest_invoice"])
    if subscription["status"] == "incomplete" and awaited is not None and awaited["status"] == "open":
        invoicing.void(world, awaited)
    billable = subscription["status"] in ("active", "past_due", "unpaid")
    if prorate and billable and not invoice_now:
        for item in subscriptions.items_of(subscription):
            credit = prorations.credit(world, subscription, item, world.now)
            if credit:
                prorations.make_item(world, subscription, credit)
    last = cycles.bill_the_rest(world, subscription, credit=prorate) if invoice_now and billable else None
    subscriptions.end(world, subscription, last=last)
    if last is not None:
        invoicing.finalize(world, last)
        if last["status"] == "open":
            changes.charge_now(world, last, must_succeed=False, params={"off_session": True})
    return subscription
