"""Changing subscriptions: updates with prorations, their items one by one, pausing, resuming, migrating."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import changes, discounts, pausing, subscriptions
from stripe_sandbox.routes import route
from stripe_sandbox.routes import subscriptions as routes
from stripe_sandbox.routes.fields import merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
# What `payment_behavior=pending_if_incomplete` allows beside itself
# (https://docs.stripe.com/billing/subscriptions/pending-updates-reference).
PENDING_ALLOWS = {
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "billing_cycle_anchor",
    "items",
    "trial_end",
    "trial_from_plan",
    "add_invoice_items",
    "discounts",
    "metadata",
    "off_session",
}
CHANGING = ("items", "billing_cycle_anchor", "trial_end")


@route("POST", "/v1/subscriptions/{subscription}")
def update(world: World, params: Document, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    customer = world.get("customer", document["customer"])
    world.follow_clock_of(customer)
    _ensure_allowed(document, params)
    routes.refuse_what_is_missing(params)
    merge_metadata(document, params)
    set_fields(document, params, ("description", "collection_method", "days_until_due"))
    set_fields(document, params, ("pending_invoice_item_interval", "application_fee_percent"))
    routes.set_settings(world, document, params)
    if params.get("default_payment_method"):
        document["default_payment_method"] = (routes.default_method(world, customer, params) or {}).get("id")
    _set_discounts(world, document, customer, params)
    _pause_collection(world, document, params)
    routes.set_cancellation(world, document, params)
    for entry in params.get("add_invoice_items") or []:
        routes.add_item(world, customer, entry, subscription=document)
    if any(name in params for name in CHANGING):
        _change(world, document, params)
    else:
        world.save(document, "customer.subscription.updated")
        subscriptions.schedule(world, document)
    return document


def _change(world: World, subscription: Document, params: Document) -> None:
    wanted = wanted_items(world, params.get("items") or [])
    changes.make(world, subscription, changes.work_out(world, subscription, wanted, params), params)


def wanted_items(world: World, entries: list[Document]) -> list[Document]:
    """Return the `items` of a request with their prices looked up; entries for known items may lack one."""
    wanted = []
    for position, entry in enumerate(entries):
        if entry.get("id") and not entry.get("price") and not entry.get("price_data"):
            wanted.append({**entry, "price": None})
        elif entry.get("id"):
            wanted.append({**entry, "price": routes.wanted_item(world, entry, position)["price"]})
        else:
            wanted.append({**entry, **routes.wanted_item(world, entry, position)})
    return wanted


def _ensure_allowed(subscription: Document, params: Document) -> None:
    ended = subscription["status"] in ("canceled", "incomplete_expired")
    if ended and set(params) - {"metadata", "cancellation_details"}:
        raise errors.invalid("A canceled subscription can only update its cancellation_details and metadata.")
    if subscription["status"] == "incomplete" and any(name in params for name in CHANGING):
        raise errors.invalid(
            "This subscription cannot be updated because its latest invoice is not paid. Pay its invoice first, or "
            "cancel it.",
        )
    if subscription["schedule"] and ("cancel_at" in params or "cancel_at_period_end" in params):
        raise errors.invalid(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead.",
        )
    if params.get("payment_behavior") == "pending_if_incomplete":
        excess = sorted(set(params) - PENDING_ALLOWS)
        if excess:
            raise errors.invalid(
                "When `payment_behavior` is set to `pending_if_incomplete`, you can only pass supported params. "
                f"Unsupported: {', '.join(excess)}.",
                excess[0],
            )


def _set_discounts(world: World, subscription: Document, customer: Document, params: Document) -> None:
    if "discounts" not in params or params["discounts"] == []:
        return
    made = discounts.from_params(
        world,
        params["discounts"] or [],
        customer=customer,
        currency=subscription["currency"],
        amount=0,
        subscription=subscription["id"],
    )
    changes.set_discounts(world, subscription, made)


def _pause_collection(world: World, subscription: Document, params: Document) -> None:
    if "pause_collection" not in params:
        return
    given = params["pause_collection"] or None
    if given and given.get("resumes_at") and given["resumes_at"] <= world.now:
        raise errors.invalid("`resumes_at` must be in the future.", "pause_collection[resumes_at]")
    subscription["pause_collection"] = {"resumes_at": None, **given} if given else None


@route("POST", "/v1/subscriptions/{subscription}/pause")
def pause(world: World, params: Document, subscription: str) -> Document:
    document = _current(world, subscription)
    return pausing.pause(world, document, params)


@route("POST", "/v1/subscriptions/{subscription}/resume")
def resume(world: World, params: Document, subscription: str) -> Document:
    document = _current(world, subscription)
    pausing.resume(world, document, params)
    return document


@route("POST", "/v1/subscriptions/{subscription}/migrate")
def migrate(world: World, params: Document, subscription: str) -> Document:
    document = _current(world, subscription)
    if document["billing_mode"]["type"] == "flexible":
        raise errors.invalid("This subscription is already in flexible billing mode.", "billing_mode[type]")
    routes.set_billing_mode(document, params["billing_mode"])
    document["billing_mode"]["updated_at"] = world.now
    return world.save(document, "customer.subscription.updated")


def _current(world: World, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    world.follow_clock_of(world.find("customer", document["customer"]))
    return document


@route("POST", "/v1/subscription_items")
def create_item(world: World, params: Document) -> Document:
    document = _current(world, params["subscription"])
    known = {item["id"] for item in subscriptions.items_of(document)}
    _change_items(world, document, {name: value for name, value in params.items() if name != "subscription"}, params)
    return next(item for item in subscriptions.items_of(document) if item["id"] not in known)


@route("POST", "/v1/subscription_items/{item}")
def update_item(world: World, params: Document, item: str) -> Document:
    found, _ = subscriptions.find_by_item(world, item)
    document = _current(world, found["id"])
    _change_items(world, document, {**params, "id": item}, params)
    return subscriptions.find_by_item(world, item)[1]


@route("DELETE", "/v1/subscription_items/{item}")
def delete_item(world: World, params: Document, item: str) -> Document:
    found, _ = subscriptions.find_by_item(world, item)
    document = _current(world, found["id"])
    _change_items(world, document, {"id": item, "deleted": True}, params)
    return {"id": item, "object": "subscription_item", "deleted": True}


ITEM_FIELDS = ("id", "deleted", "price", "price_data", "quantity", "metadata", "tax_rates")
CHANGE_FIELDS = ("proration_behavior", "proration_date", "payment_behavior", "off_session")


def _change_items(world: World, subscription: Document, entry: Document, params: Document) -> None:
    """Change one item as an update of its subscription would."""
    one = {name: entry[name] for name in ITEM_FIELDS if name in entry}
    how = {name: params[name] for name in CHANGE_FIELDS if name in params}
    _ensure_allowed(subscription, {**how, "items": [one]})
    _change(world, subscription, {**how, "items": [one]})
