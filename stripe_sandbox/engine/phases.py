"""Phases of a schedule: their shape, their dates, and the item changes they mean for a subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.engine import periods, subscriptions

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def new(world: World, items: list[Document], *, start: int, end: int, **fields: Any) -> Document:
    """Return a phase; `items` are `{"price": id, "quantity", "metadata"}`."""
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": world.get("price", items[0]["price"])["currency"],
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": end,
        "invoice_settings": None,
        "items": [_item(item) for item in items],
        "metadata": {},
        "on_behalf_of": None,
        "proration_behavior": "create_prorations",
        "start_date": start,
        "transfer_data": None,
        "trial_end": None,
        **fields,
    }


def _item(given: Document) -> Document:
    return {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": dict(given.get("metadata") or {}),
        "plan": given["price"],
        "price": given["price"],
        "quantity": given.get("quantity"),
        "tax_rates": [],
    }


def of_subscription(world: World, subscription: Document) -> Document:
    """Return the phase that a subscription is in by itself: from the start of its period to its end."""
    items = subscriptions.items_of(subscription)
    return new(
        world,
        [{"price": i["price"], "quantity": i.get("quantity"), "metadata": i["metadata"]} for i in items],
        start=min(item["current_period_start"] for item in items),
        end=subscriptions.next_due(subscription),
        default_payment_method=subscription["default_payment_method"],
        discounts=[{"coupon": None, "discount": one, "promotion_code": None} for one in subscription["discounts"]],
        metadata=dict(subscription["metadata"]),
        trial_end=subscription["trial_end"] if subscription["status"] == "trialing" else None,
    )


def from_params(world: World, given: list[Document], *, start: int, anchor: int | None = None) -> list[Document]:
    """Return the phases of a request, one after the other; raises when their dates or items make no sense."""
    made: list[Document] = []
    for position, entry in enumerate(given):
        where = f"phases[{position}]"
        begins = made[-1]["end_date"] if made else start
        wanted = entry.get("start_date")
        if isinstance(wanted, int) and made and wanted != begins:
            raise errors.invalid("Phases must follow each other: a phase starts when the one before ends.", where)
        if isinstance(wanted, int) and not made:
            begins = wanted
        items = [_checked_item(world, item, where) for item in entry.get("items") or []]
        if not items:
            raise errors.parameter_missing(f"{where}[items]")
        ends = _end_of(world, entry, items, begins, where, anchor)
        if ends <= begins:
            raise errors.invalid("The end date of a phase must be after its start date.", f"{where}[end_date]")
        trial_end = ends if entry.get("trial") else entry.get("trial_end")
        trial_end = world.now if trial_end == "now" else trial_end
        made.append(new(world, items, start=begins, end=ends, trial_end=trial_end, **_options(entry)))
    return made


def _checked_item(world: World, item: Document, where: str) -> Document:
    if not item.get("price"):
        raise errors.parameter_missing(f"{where}[items][0][price]")
    price = world.get("price", item["price"], param=f"{where}[items][0][price]")
    if price["type"] != "recurring":
        raise errors.invalid("Phases take recurring prices only.", f"{where}[items][0][price]")
    quantity = None if subscriptions.is_metered(price) else item.get("quantity", 1)
    return {"price": price["id"], "quantity": quantity, "metadata": item.get("metadata")}


def _options(entry: Document) -> Document:
    names = ("billing_cycle_anchor", "collection_method", "default_payment_method", "description", "metadata")
    found = {name: entry[name] for name in (*names, "proration_behavior") if entry.get(name)}
    blank = {"coupon": None, "discount": None, "promotion_code": None}
    if entry.get("discounts"):
        found["discounts"] = [{**blank, **discount} for discount in entry["discounts"]]
    return found


def _end_of(world: World, entry: Document, items: list[Document], start: int, where: str, anchor: int | None) -> int:
    if entry.get("end_date") is not None and entry.get("duration"):
        raise errors.parameters_exclusive(f"{where}[end_date]", f"{where}[duration]")
    if entry.get("end_date") == "now":
        return world.now
    if entry.get("end_date") is not None:
        return int(entry["end_date"])
    length = entry.get("duration") or world.get("price", items[0]["price"])["recurring"]
    interval, count = length["interval"], length.get("interval_count") or 1
    if anchor is not None:
        whole = periods.around(anchor, interval, count, start)
        if whole[0] == start:
            return whole[1]  # Keeps the 31st where months are long enough.
    return periods.boundary(start, interval, count, 1)


def as_changes(world: World, subscription: Document, phase: Document) -> list[Document]:
    """Return the entries of `items` that bring a subscription to what a phase has."""
    known = {item["price"]: item for item in subscriptions.items_of(subscription)}
    wanted, left = [], dict(known)
    fresh = []
    for item in phase["items"]:
        price = world.get("price", item["price"])
        entry = {"price": price, "quantity": item["quantity"], "metadata": item["metadata"]}
        if price["id"] in left:
            wanted.append({**entry, "id": left.pop(price["id"])["id"]})
        else:
            fresh.append(entry)
    for entry in fresh:
        former = left.pop(next(iter(left)), None) if left else None
        wanted.append({**entry, "id": former["id"]} if former else entry)
    wanted.extend({"id": item["id"], "deleted": True} for item in left.values())
    return wanted
