"""Changes of a running subscription: other prices and quantities, a new anchor, a trial that begins or ends.

A change is worked out on a copy of the subscription, so that one that waits for its payment (`pending_if_incomplete`)
is the same change, put in force later.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.engine import discounts, invoicing, pricing, prorations, subscriptions, tasks, usage

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
# What a change sets; everything else of a subscription stays as it is.
CHANGED = ("items", "billing_cycle_anchor", "trial_start", "trial_end", "status", "latest_invoice", "_notified")
PENDING_SECONDS = 23 * 3600


class Change:
    """A change worked out: the subscription `after` it, its `prorations`, and whether it is `invoiced` at once."""

    def __init__(self, after: Document, prorations: list[Document], *, restarts: bool, invoiced: bool) -> None:
        self.after = after
        self.prorations = prorations
        self.restarts = restarts
        self.invoiced = invoiced


def work_out(world: World, subscription: Document, wanted: list[Document], params: Document) -> Change:
    """Work out a change without making it.

    `wanted` are the entries of `items`, their prices already looked up (`price` is a document). Of `params` counts
    `proration_behavior`, `proration_date`, `billing_cycle_anchor` and `trial_end`.
    """
    after = copy.deepcopy(subscription)
    behaviour = params.get("proration_behavior") or "create_prorations"
    at = _proration_date(world, subscription, params)
    before = {item["id"]: item for item in subscriptions.items_of(subscription)}
    items, touched = _new_items(world, after, wanted)
    subscriptions.set_items(after, items)
    restarts = _restarts(world, subscription, items, params)
    _set_trial(world, after, params)
    if after["status"] != "trialing" and subscription["status"] == "trialing":
        restarts = True
    charged = subscription["status"] in ("active", "past_due", "unpaid")
    starts_trial = charged and after["status"] == "trialing"
    if restarts and after["status"] != "trialing":
        after["billing_cycle_anchor"] = world.now
        _restart(world, after)
    found: list[Document | None] = []
    if behaviour != "none" and charged:
        whole = restarts or starts_trial
        for item_id in dict.fromkeys([*before, *(item["id"] for item in items)]):
            old, new = before.get(item_id), next((item for item in items if item["id"] == item_id), None)
            if old and (whole or item_id in touched or new is None):
                found.append(prorations.credit(world, subscription, old, at))
            if new and not whole and item_id in touched:
                anchor = after["billing_cycle_anchor"]
                found.append(prorations.charge(world, after, items, new, at=at, anchor=anchor))
                _bill(new, found[-1])
    kept = [proration for proration in found if proration is not None]
    invoiced = (restarts and after["status"] != "trialing") or (behaviour == "always_invoice" and bool(kept))
    return Change(after, kept, restarts=restarts, invoiced=invoiced and subscription["status"] != "paused")


def _bill(item: Document, charge: Document | None) -> None:
    """Note what an item is billed by a charge that is not on an invoice yet."""
    item["_billed"] = None
    if charge is not None:
        item["_billed"] = {"net": charge["amount"], **charge["period"], "invoice": None, "line": None}
        charge["_bills"] = item["id"]


def _proration_date(world: World, subscription: Document, params: Document) -> int:
    at = params.get("proration_date")
    if at is None:
        return world.now
    items = subscriptions.items_of(subscription)
    if not min(i["current_period_start"] for i in items) <= at <= max(i["current_period_end"] for i in items):
        raise errors.invalid("Cannot specify proration_date outside of current subscription period.", "proration_date")
    return int(at)


def _new_items(world: World, after: Document, wanted: list[Document]) -> tuple[list[Document], set[str]]:
    """Return the items as they will be, and the ids of those whose price or quantity changes."""
    items = list(subscriptions.items_of(after))
    touched: set[str] = set()
    for position, entry in enumerate(wanted):
        price = entry.get("price")
        if entry.get("id"):
            item = next((one for one in items if one["id"] == entry["id"]), None)
            if item is None:
                raise errors.no_such("subscription_item", entry["id"], param=f"items[{position}][id]")
            if entry.get("deleted"):
                items.remove(item)
            elif _change_item(world, item, price, entry, f"items[{position}]"):
                touched.add(item["id"])
            continue
        if price is None:
            raise errors.parameter_missing(f"items[{position}][price]")
        if any(one["price"] == price["id"] for one in items):
            raise errors.invalid(
                f"Cannot add multiple subscription items with the same plan: {price['id']}", f"items[{position}][price]"
            )
        items.append(_added_item(world, after, price, entry))
        touched.add(items[-1]["id"])
    if not items:
        raise errors.invalid("A subscription must have at least one active plan.", "items")
    if len({world.get("price", item["price"])["currency"] for item in items}) > 1:
        raise errors.invalid("All prices of a subscription must have the same currency.", "items")
    return items, touched


def _change_item(world: World, item: Document, price: Document | None, entry: Document, where: str) -> bool:
    """Change an item; tells whether its price or quantity is another now. Raises when the quantity makes no sense."""
    metered = subscriptions.is_metered(price or world.get("price", item["price"]))
    if metered and entry.get("quantity") is not None:
        raise errors.invalid("Quantity should not be specified where usage_type is metered.", f"{where}[quantity]")
    if (entry.get("quantity") or 0) < 0:
        raise errors.invalid(
            "This value must be greater than or equal to 0.", f"{where}[quantity]", code="parameter_invalid_integer"
        )
    was = (item["price"], item.get("quantity"))
    if price is not None and price["id"] != item["price"]:
        item["price"] = price["id"]
        item["quantity"] = 1  # Stripe resets it unless it is given with the new price.
    if entry.get("quantity") is not None:
        item["quantity"] = entry["quantity"]
    if metered:
        item.pop("quantity", None)
        item["_billed"] = None
        if was[0] != item["price"]:
            item["_usage_from"] = world.now  # What was used before is billed by the price that leaves.
    for name in ("metadata", "tax_rates", "discounts"):
        if name in entry and name == "metadata":
            merged = {**item["metadata"], **(entry["metadata"] or {})} if entry["metadata"] != "" else {}
            item["metadata"] = {key: value for key, value in merged.items() if value != ""}
    return was != (item["price"], item.get("quantity"))


def _added_item(world: World, after: Document, price: Document, entry: Document) -> Document:
    end = subscriptions.span_of(after["billing_cycle_anchor"], price, world.now)[1]
    if after["status"] == "trialing":
        end = after["trial_end"]
    metadata = {key: value for key, value in (entry.get("metadata") or {}).items() if value != ""}
    period = (world.now, end)
    return subscriptions.new_item(
        world, after["id"], price, quantity=entry.get("quantity"), period=period, metadata=metadata
    )


def _restarts(world: World, before: Document, items: list[Document], params: Document) -> bool:
    """Tell whether a change starts a new period now: asked for, by another interval, or when a free plan is left."""
    if (params.get("billing_cycle_anchor") or {}).get("type") == "now":
        return True
    if before["status"] == "trialing":
        return False
    former = {item["id"]: world.get("price", item["price"]) for item in subscriptions.items_of(before)}
    for item in items:
        price = world.get("price", item["price"])
        if item["id"] in former and _rhythm(former[item["id"]]) != _rhythm(price):
            return True
    return _cost(world, subscriptions.items_of(before)) == 0 < _cost(world, items)


def _rhythm(price: Document) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def _cost(world: World, items: list[Document]) -> int:
    prices = [(item, world.get("price", item["price"])) for item in items]
    if any(subscriptions.is_metered(price) for _, price in prices):
        return 1  # Never "free": it may cost something.
    return sum(pricing.amount(price, item["quantity"]) for item, price in prices)


def _set_trial(world: World, after: Document, params: Document) -> None:
    wanted = params.get("trial_end")
    if wanted is None:
        return
    if wanted == "now":
        if after["status"] == "trialing":
            after.update(status="active", trial_end=world.now)
        return
    if wanted <= world.now:
        raise errors.invalid("Invalid timestamp: must be an integer Unix timestamp in the future", "trial_end")
    if after["status"] not in ("active", "trialing", "past_due"):
        raise errors.invalid("This subscription cannot be given a trial in its present state.", "trial_end")
    after.update(trial_start=after["trial_start"] or world.now, trial_end=int(wanted), status="trialing")
    after.update(billing_cycle_anchor=int(wanted), _notified=False)
    for item in subscriptions.items_of(after):
        item.update(current_period_start=world.now, current_period_end=int(wanted), _billed=None)


def _restart(world: World, after: Document) -> None:
    for item in subscriptions.items_of(after):
        end = subscriptions.span_of(world.now, world.get("price", item["price"]), world.now)[1]
        item.update(current_period_start=world.now, current_period_end=end, _billed=None)


def make(world: World, subscription: Document, change: Change, params: Document) -> Document | None:
    """Make a change, and bill it if it is to be billed at once; returns that invoice, still a draft for previews.

    Raises Stripe's card error with `error_if_incomplete`, when nothing is kept. With `pending_if_incomplete` the
    change is made once its invoice is paid.
    """
    drop_pending(world, subscription)
    after = change.after
    for proration in change.prorations:
        made = prorations.make_item(world, subscription, proration)
        for item in subscriptions.items_of(after):
            if item["id"] == proration.get("_bills") and item["_billed"]:
                item["_billed"]["invoice_item"] = made["id"]
    lines = _usage_cut_off(world, subscription, change)
    if not change.invoiced:
        for used in lines:
            usage.make_item(world, subscription, used)
        lines = []
    if change.restarts and after["status"] != "trialing":
        items = subscriptions.items_of(after)
        lines += [line for item in items if (line := subscriptions.line_for(world, after, item))]
    invoice = None
    if change.invoiced:
        invoice = subscriptions.draft_invoice(world, after, lines, billing_reason="subscription_update", pending=True)
    if invoice is not None and params.get("payment_behavior") == "pending_if_incomplete" and not world.rehearsing:
        _make_once_paid(world, subscription, after, invoice, params)
        return invoice
    put_in_force(subscription, after)
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)
    if invoice is not None and not world.rehearsing:
        _collect(world, subscription, invoice, params)
    return invoice


def _usage_cut_off(world: World, subscription: Document, change: Change) -> list[Document]:
    """Return lines for the usage of metered items whose period a change ends: they leave, or start anew."""
    kept = {item["id"]: item["price"] for item in subscriptions.items_of(change.after)}
    lines = []
    for item in subscriptions.items_of(subscription):
        stays = kept.get(item["id"]) == item["price"] and not change.restarts
        if stays or subscription["status"] not in subscriptions.RENEWING:
            continue
        line = usage.line_for(world, subscription, item, (usage.start_of(item), world.now))
        lines.extend([line] if line and line["quantity"] else [])
    return lines


def put_in_force(subscription: Document, after: Document) -> None:
    subscription.update({name: after[name] for name in CHANGED if name in after})


def _collect(world: World, subscription: Document, invoice: Document, params: Document) -> None:
    """Finalise a change's invoice and, unless the caller will confirm its payment, charge it."""
    behaviour = params.get("payment_behavior") or "allow_incomplete"
    invoicing.finalize(world, invoice)
    if invoice["status"] != "open" or invoice["collection_method"] == "send_invoice":
        return
    if behaviour == "default_incomplete":
        if subscription["status"] == "active":
            subscription["status"] = "past_due"
            world.save(subscription, "customer.subscription.updated")
        return
    charge_now(world, invoice, must_succeed=behaviour == "error_if_incomplete", params=params)


def charge_now(world: World, invoice: Document, *, must_succeed: bool, params: Document) -> None:
    """Charge an invoice within a request; a refused card is an error only when it `must_succeed`."""
    try:
        invoicing.pay(world, invoice, off_session=bool(params.get("off_session")), automatic=True)
    except errors.StripeError as error:
        if must_succeed or not error.keep:
            error.keep = False
            raise
    if must_succeed and invoice["status"] != "paid":
        raise errors.card_error(
            "This payment requires additional user action before it can be completed successfully.",
            code="subscription_payment_intent_requires_action",
            keep=False,
        )


def _make_once_paid(world: World, subscription: Document, after: Document, invoice: Document, params: Document) -> None:
    """Let a change wait for its invoice: made at once when the card pays, else pending for 23 hours."""
    fields = {name: after[name] for name in CHANGED if name in after and name != "latest_invoice"}
    if after["status"] == subscription["status"]:
        del fields["status"]  # What becomes of it until the payment is none of the change's business.
    subscription["latest_invoice"] = invoice["id"]
    subscription["_awaiting"] = {"kind": "change", "invoice": invoice["id"], "after": fields}
    world.save(subscription)
    invoicing.finalize(world, invoice)
    if invoice["status"] == "open":
        charge_now(world, invoice, must_succeed=False, params=params)
    if subscription["_awaiting"] is None:
        return
    expires_at = min(world.now + PENDING_SECONDS, subscriptions.next_due(subscription))
    moved = after["billing_cycle_anchor"] != subscription["billing_cycle_anchor"]
    subscription["pending_update"] = {
        "billing_cycle_anchor": after["billing_cycle_anchor"] if moved else None,
        "cancel_at_period_end": None,
        "discount": None,
        "discounts": None,
        "expires_at": expires_at,
        "metadata": None,
        "subscription_items": copy.deepcopy(subscriptions.items_of(after)),
        "trial_end": after["trial_end"] if after["trial_end"] != subscription["trial_end"] else None,
        "trial_from_plan": None,
    }
    world.save(subscription, "customer.subscription.updated")
    world.schedule("subscription.pending_update", subscription, expires_at)


def _paid(world: World, invoice: Document) -> None:
    """Put a waiting change in force when its invoice is paid."""
    subscription = invoicing.subscription_of(world, invoice)
    awaiting = (subscription or {}).get("_awaiting") or {}
    if subscription is None or awaiting.get("invoice") != invoice["id"] or awaiting["kind"] != "change":
        return
    was_pending = subscription["pending_update"] is not None
    subscription.update(awaiting["after"])
    subscription.update(pending_update=None, _awaiting=None)
    world.unschedule("subscription.pending_update", subscription)
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)
    if was_pending:
        world.emit("customer.subscription.pending_update_applied", subscription)


invoicing.ON_PAID.insert(0, _paid)


def drop_pending(world: World, subscription: Document) -> None:
    """Give up a change that waits for its payment, and void its invoice."""
    awaiting = subscription.get("_awaiting") or {}
    if awaiting.get("kind") != "change":
        return
    invoice = world.find("invoice", awaiting["invoice"])
    subscription.update(pending_update=None, _awaiting=None)
    world.unschedule("subscription.pending_update", subscription)
    world.save(subscription, "customer.subscription.updated")
    world.emit("customer.subscription.pending_update_expired", subscription)
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(world, invoice)


@tasks.task("subscription.pending_update")
def expire_pending(world: World, subscription: Document) -> None:
    drop_pending(world, subscription)


def _closed(world: World, invoice: Document) -> None:
    subscription = invoicing.subscription_of(world, invoice)
    awaiting = (subscription or {}).get("_awaiting") or {}
    if subscription is not None and awaiting.get("invoice") == invoice["id"]:
        drop_pending(world, subscription)


invoicing.ON_CLOSED.append(_closed)


def set_discounts(world: World, subscription: Document, made: list[Document]) -> None:
    """Replace a subscription's discounts; those that are not kept end."""
    kept = {discount["id"] for discount in made}
    for discount in discounts.running(world, subscription["discounts"]):
        if discount["id"] not in kept:
            discounts.end(world, discount)
    subscription["discounts"] = [discount["id"] for discount in made]
