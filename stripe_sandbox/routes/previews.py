"""Invoice previews: what a customer's next invoice would be, with or without a change of their subscription."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import cancelling, discounts, invoice_items, pausing, previews, subscriptions
from stripe_sandbox.routes import products, route, subscription_changes
from stripe_sandbox.routes import subscriptions as routes
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/invoices/create_preview")
def create_preview(world: World, params: Document) -> Document:
    if params.get("schedule_details"):
        raise errors.invalid("The sandbox does not simulate `schedule_details`.", "schedule_details")
    customer = _customer_of(world, params)
    world.follow_clock_of(customer)
    with world.rehearsal() as trial:
        found = trial.find("customer", customer["id"]) if customer else None
        return previews.shown(_preview(trial, found, params))


def _customer_of(world: World, params: Document) -> Document | None:
    if params.get("subscription"):
        subscription = world.get("subscription", params["subscription"], param="subscription")
        return world.get("customer", subscription["customer"])
    if params.get("schedule"):
        schedule = world.get("subscription_schedule", params["schedule"], param="schedule")
        return world.get("customer", schedule["customer"])
    if params.get("customer"):
        return world.get("customer", params["customer"], param="customer")
    raise errors.invalid(
        "You must provide at least one of `customer`, `subscription` or `schedule`.",
        "customer",
        code="invoice_upcoming_none",
    )


def _preview(world: World, customer: Document | None, params: Document) -> Document:
    if customer is None:
        raise errors.parameter_missing("customer")
    details = params.get("subscription_details") or {}
    for entry in params.get("invoice_items") or []:
        _add_item(world, customer, entry)
    subscription = _subscription_of(world, customer, params, details)
    if subscription is None:
        return _new_subscription(world, customer, params, details)
    if params.get("discounts"):
        made = _redeem(world, customer, subscription["currency"], params, subscription["id"])
        subscription["discounts"] = [discount["id"] for discount in made]
        world.save(subscription)
    if details.get("cancel_now"):
        return _cancelled(world, subscription, details)
    if details.get("resume_at") == "now":
        unchanged = {"billing_cycle_anchor": details.get("billing_cycle_anchor") or {"type": "now"}}
        how = {name: details[name] for name in ("proration_behavior", "proration_date") if name in details}
        resumed = pausing.resume(world, subscription, {**unchanged, **how})
        return resumed if resumed["object"] == "invoice" else _upcoming(world, subscription)
    routes.set_cancellation(world, subscription, {n: details[n] for n in _ENDINGS if n in details})
    wanted = subscription_changes.wanted_items(world, details.get("items") or [])
    if any(details.get(name) is not None for name in subscription_changes.CHANGING):
        recurring = params.get("preview_mode") == "recurring"
        return previews.of_change(world, subscription, wanted, details, recurring=recurring)
    world.save(subscription)
    return _upcoming(world, subscription)


_ENDINGS = ("cancel_at", "cancel_at_period_end")


def _upcoming(world: World, subscription: Document) -> Document:
    invoice = previews.upcoming(world, subscription)
    if invoice is None:
        raise previews.none_upcoming(subscription["customer"])
    return invoice


def _subscription_of(world: World, customer: Document, params: Document, details: Document) -> Document | None:
    if params.get("subscription"):
        return world.get("subscription", params["subscription"], param="subscription")
    if params.get("schedule"):
        schedule = world.get("subscription_schedule", params["schedule"], param="schedule")
        return world.find("subscription", schedule["subscription"])
    if details.get("items"):
        return None
    live = [
        one
        for one in world.select("subscription", {"customer": customer["id"]})
        if one["status"] in subscriptions.RENEWING
    ]
    if not live:
        raise previews.none_upcoming(customer["id"])
    return min(live, key=subscriptions.next_due)


def _new_subscription(world: World, customer: Document, params: Document, details: Document) -> Document:
    """Preview the first invoice of a subscription that does not exist yet."""
    wanted = [routes.wanted_item(world, entry, n) for n, entry in enumerate(details.get("items") or [])]
    if not wanted:
        raise previews.none_upcoming(customer["id"])
    trial_end = details.get("trial_end") if isinstance(details.get("trial_end"), int) else None
    anchor = details.get("billing_cycle_anchor") or {}
    subscription = subscriptions.new(
        world,
        customer,
        wanted,
        anchor=anchor.get("timestamp"),
        trial_end=trial_end,
        status="trialing" if trial_end else "active",
        _prorates_start=details.get("proration_behavior") != "none",
    )
    routes.set_billing_mode(subscription, details.get("billing_mode"))
    made = _redeem(world, customer, subscription["currency"], params, subscription["id"])
    subscription["discounts"] = [discount["id"] for discount in made]
    world.add(subscription)
    invoice = subscriptions.draft_first(world, subscription, billing_reason="upcoming")
    if invoice is None:
        raise previews.none_upcoming(customer["id"])
    return invoice


def _redeem(world: World, customer: Document, currency: str, params: Document, subscription: str) -> list[Document]:
    return discounts.from_params(
        world, params.get("discounts"), customer=customer, currency=currency, amount=0, subscription=subscription
    )


def _cancelled(world: World, subscription: Document, details: Document) -> Document:
    behaviour = details.get("proration_behavior") or "create_prorations"
    cancelling.cancel_now(world, subscription, prorate=behaviour != "none", invoice_now=True)
    invoice = world.first("invoice", {"subscription": subscription["id"], "status": ["draft", "open", "paid"]})
    if invoice is None or invoice["created"] != world.now:
        raise previews.none_upcoming(subscription["customer"])
    return invoice


def _add_item(world: World, customer: Document, entry: Document) -> None:
    price = world.get("price", entry["price"], param="invoice_items[0][price]") if entry.get("price") else None
    if entry.get("price_data"):
        data = entry["price_data"]
        price = world.add(products.new_price(world, {**data, "active": False}, data["product"]))
    quantity = entry.get("quantity", 1)
    amount = entry.get("amount")
    if amount is None and entry.get("unit_amount") is not None:
        amount = entry["unit_amount"] * quantity
    more = {name: entry[name] for name in ("discountable", "period") if name in entry}
    invoice_items.create(
        world,
        customer,
        price=price,
        quantity=quantity,
        amount=amount,
        currency=(entry.get("currency") or customer["currency"] or "usd").lower(),
        description=entry.get("description"),
        **more,
    )
