"""Previews: the invoice that would come, found by letting it come in a world that is then undone.

The very functions that bill also preview, so a preview cannot disagree with its invoice.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids
from stripe_sandbox.engine import changes, cycles, subscriptions, tasks

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def upcoming(world: World, subscription: Document) -> Document | None:
    """Return the invoice of a subscription's next renewal as things stand, or None when there will be none.

    The world is used up by it: call it in a `world.rehearsal()`.
    """
    if subscription["status"] not in subscriptions.RENEWING:
        return None
    world.now = max(subscriptions.next_due(subscription), world.now)
    for prepare in cycles.BEFORE_RENEWAL:
        prepare(world, subscription)
    if subscription["cancel_at"] and subscription["cancel_at"] <= world.now:
        return cycles.bill_the_rest(world, subscription)
    return cycles.renew(world, subscription)


def shown(invoice: Document) -> Document:
    """Return a rehearsed invoice as a preview shows it: an id that says so, and its dates."""
    preview = copy.deepcopy(invoice)
    preview["id"] = "upcoming_in_" + ids.token(24)
    for line in preview["_lines"]:
        line["invoice"] = preview["id"]
    preview.update(status="draft", number=None, auto_advance=True, latest_revision=None)
    preview["next_payment_attempt"] = (
        preview["created"] + 3600 if preview["collection_method"] != "send_invoice" else None
    )
    return preview


def of_change(
    world: World, subscription: Document, wanted: list[Document], params: Document, *, recurring: bool = False
) -> Document:
    """Return the invoice that a change brings - at once or with the next renewal - in a rehearsed world.

    With `recurring` it is the invoice of a whole period after the change, without what happens only once.
    """
    change = changes.work_out(
        world, subscription, wanted, {**params, "proration_behavior": "none"} if recurring else params
    )
    invoice = changes.make(world, subscription, change, params)
    if recurring:
        for item in world.select("invoiceitem", {"customer": subscription["customer"], "pending": True}):
            world.delete(item)
        # Asked is what these items cost each period, not what a schedule would put in their place by then.
        subscription["schedule"] = None
        invoice = None
    invoice = invoice or upcoming(world, subscription)
    if invoice is None:
        raise none_upcoming(subscription["customer"])
    return invoice


def none_upcoming(customer: str) -> errors.StripeError:
    return errors.StripeError(
        f"No upcoming invoices for customer: {customer}", status=404, code="invoice_upcoming_none"
    )


@tasks.task("subscription.upcoming")
def announce(world: World, subscription: Document) -> None:
    """Send invoice.upcoming some days before a renewal, with the invoice that is to be expected."""
    if subscription["status"] not in subscriptions.RENEWING or subscription["cancel_at"]:
        return
    with world.rehearsal() as trial:
        again = trial.get("subscription", subscription["id"])
        invoice = upcoming(trial, again)
        preview = shown(invoice) if invoice else None
    subscription["_upcoming_told"] = subscriptions.next_due(subscription)
    world.save(subscription)
    if preview is not None:
        world.emit("invoice.upcoming", preview)
