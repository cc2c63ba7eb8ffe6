"""Subscriptions and their items."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import (
    cancelling,
    changes,
    discounts,
    invoice_items,
    methods,
    periods,
    pricing,
    subscriptions,
)
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import products, route
from stripe_sandbox.routes.fields import check_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
NOT_SIMULATED = {"billing_schedules", "billing_thresholds", "transfer_data", "on_behalf_of"}


@route("POST", "/v1/subscriptions")
def create(world: World, params: Document) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    if not params.get("items"):
        raise errors.parameter_missing("items")
    refuse_what_is_missing(params)
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    wanted = [wanted_item(world, entry, n) for n, entry in enumerate(params["items"])]
    if len({entry["price"]["currency"] for entry in wanted}) > 1:
        raise errors.invalid("All prices of a subscription must have the same currency.", "items")
    trial_end = _trial_end(world, params, wanted)
    method = default_method(world, customer, params)
    send = params.get("collection_method") == "send_invoice"
    if send and params.get("days_until_due") is None:
        raise errors.parameter_missing("days_until_due")
    subscription = subscriptions.new(
        world,
        customer,
        wanted,
        anchor=_anchor(world, params, trial_end),
        trial_end=trial_end,
        status="trialing" if trial_end else ("active" if send else "incomplete"),
        default_payment_method=method["id"] if method else None,
        metadata=check_metadata(params.get("metadata")),
        collection_method=params.get("collection_method", "charge_automatically"),
        days_until_due=params.get("days_until_due"),
        description=params.get("description"),
        _prorates_start=params.get("proration_behavior") != "none",
    )
    set_billing_mode(subscription, params.get("billing_mode"))
    set_settings(world, subscription, params)
    set_fields(subscription, params, ("application_fee_percent",))
    set_cancellation(world, subscription, params)
    amount = sum(pricing.amount(e["price"], e.get("quantity") or 1) for e in wanted if not _metered(e["price"]))
    made = discounts.from_params(
        world,
        params.get("discounts"),
        customer=customer,
        currency=subscription["currency"],
        amount=amount,
        subscription=subscription["id"],
    )
    subscription["discounts"] = [discount["id"] for discount in made]
    customer["currency"] = customer["currency"] or subscription["currency"]
    world.save(customer, "customer.updated")
    subscriptions.start(world, subscription)
    _ask_for_setup(world, customer, subscription)
    for entry in params.get("add_invoice_items") or []:
        add_item(world, customer, entry, subscription=subscription)
    bill_first(world, subscription, params)
    return subscription


def _ask_for_setup(world: World, customer: Document, subscription: Document) -> None:
    """Give a trial without a card the setup intent with which one can be added."""
    if subscription["status"] != "trialing" or subscription["collection_method"] == "send_invoice":
        return
    if methods.default_for(world, customer, subscription["default_payment_method"]) is None:
        intent = methods.new_setup_intent(world, customer=customer["id"], _subscription=subscription["id"])
        subscription["pending_setup_intent"] = intent["id"]
        world.save(subscription)


def bill_first(world: World, subscription: Document, params: Document) -> None:
    """Draft the first invoice and, unless the caller will confirm its payment, charge it."""
    invoice = subscriptions.first_invoice(world, subscription)
    if subscription["status"] == "incomplete" and (invoice is None or invoice["status"] == "paid"):
        subscription["status"] = "active"
        world.save(subscription, "customer.subscription.updated")
        world.unschedule("subscription.expire", subscription)
        subscriptions.schedule(world, subscription)
    if invoice is None or invoice["status"] != "open" or subscription["collection_method"] == "send_invoice":
        return
    behaviour = params.get("payment_behavior", "allow_incomplete")
    if behaviour != "default_incomplete":
        changes.charge_now(world, invoice, must_succeed=behaviour == "error_if_incomplete", params=params)


def wanted_item(world: World, entry: Document, position: int) -> Document:
    where = f"items[{position}]"
    if entry.get("price_data"):
        price = world.add(
            products.new_price(world, {**entry["price_data"], "active": False}, entry["price_data"]["product"])
        )
    elif entry.get("price"):
        price = world.get("price", entry["price"], param=f"{where}[price]")
    else:
        raise errors.parameter_missing(f"{where}[price]")
    if price["type"] != "recurring":
        raise errors.invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            f"{where}[price]",
        )
    if entry.get("price") and not price["active"]:
        raise errors.invalid(
            "The price specified is inactive. This field only accepts active prices.", f"{where}[price]"
        )
    if _metered(price) and entry.get("quantity") is not None:
        raise errors.invalid("Quantity should not be specified where usage_type is metered.", f"{where}[quantity]")
    if entry.get("quantity") is not None and entry["quantity"] < 0:
        raise errors.invalid(
            "This value must be greater than or equal to 0.", f"{where}[quantity]", code="parameter_invalid_integer"
        )
    metadata = check_metadata(entry.get("metadata"))
    return {"price": price, "quantity": entry.get("quantity"), "metadata": metadata}


def _metered(price: Document) -> bool:
    return bool(price["recurring"]["usage_type"] == "metered")


def refuse_what_is_missing(params: Document) -> None:
    """Raise for parameters that Stripe knows and this sandbox does not simulate: silence would be a lie."""
    given = set(params) & NOT_SIMULATED
    items = params.get("items") or []
    given |= {f"items[{n}][discounts]" for n, item in enumerate(items) if item.get("discounts")}
    if any(params[name] for name in given if name in params) or given - set(params):
        name = min(given)
        raise errors.invalid(f"The sandbox does not simulate `{name}`.", name)


def add_item(world: World, customer: Document, entry: Document, *, subscription: Document) -> None:
    """Make the pending invoice item that an entry of `add_invoice_items` asks for."""
    if entry.get("price_data"):
        data = entry["price_data"]
        price = world.add(products.new_price(world, {**data, "active": False}, data["product"]))
    else:
        if not entry.get("price"):
            raise errors.parameter_missing("add_invoice_items[0][price]")
        price = world.get("price", entry["price"], param="add_invoice_items[0][price]")
    invoice_items.create(world, customer, price=price, quantity=entry.get("quantity", 1), subscription=subscription)


def _trial_end(world: World, params: Document, wanted: list[Document]) -> int | None:
    if params.get("trial_end") is not None and params.get("trial_period_days") is not None:
        raise errors.parameters_exclusive("trial_end", "trial_period_days")
    if params.get("trial_from_plan"):
        days = [entry["price"]["recurring"]["trial_period_days"] or 0 for entry in wanted]
        return int(world.now + max(days) * 86400) if any(days) else None
    if params.get("trial_period_days"):
        return int(world.now + params["trial_period_days"] * 86400)
    end = params.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= world.now:
        raise errors.invalid("Invalid timestamp: must be an integer Unix timestamp in the future", "trial_end")
    return int(end)


def _anchor(world: World, params: Document, trial_end: int | None) -> int | None:
    anchor, config = params.get("billing_cycle_anchor"), params.get("billing_cycle_anchor_config")
    if anchor is not None and config:
        raise errors.parameters_exclusive("billing_cycle_anchor", "billing_cycle_anchor_config")
    if anchor is not None and anchor < world.now:
        raise errors.invalid("`billing_cycle_anchor` must be in the future.", "billing_cycle_anchor")
    return periods.next_matching(trial_end or world.now, config) if config else anchor


def default_method(world: World, customer: Document, params: Document) -> Document | None:
    wanted = params.get("default_payment_method")
    if not wanted:
        return None
    method = methods.resolve(world, wanted, param="default_payment_method")
    if method["customer"] is None and wanted.startswith("pm_card_"):
        methods.attach(world, method, customer)
    if method["customer"] != customer["id"]:
        raise errors.invalid(
            f"The customer does not have a payment method with the ID {wanted}. The payment method must be attached "
            "to the customer.",
            "default_payment_method",
            code="resource_missing",
        )
    return method


def set_settings(world: World, subscription: Document, params: Document) -> None:
    """Merge the settings hashes that a request gives in part."""
    for name in ("payment_settings", "invoice_settings", "trial_settings", "automatic_tax"):
        given = params.get(name)
        if isinstance(given, dict):
            known = subscription[name]
            for key, value in given.items():
                known[key] = {**known[key], **value} if isinstance(known.get(key), dict) and value else value
            subscription[name] = world.sandbox.contract.shaped("subscription", name, known)
    if params.get("pending_invoice_item_interval"):
        given = {"interval_count": 1, **params["pending_invoice_item_interval"]}
        subscription["pending_invoice_item_interval"] = given
    if params.get("automatic_tax", {}).get("enabled"):
        subscription["automatic_tax"]["liability"] = {"account": None, "type": "self"}


def set_billing_mode(subscription: Document, wanted: Document | None) -> None:
    """Set `billing_mode`; flexible is the default and may say how discounts show on prorations."""
    if not wanted:
        return
    subscription["billing_mode"]["type"] = wanted["type"]
    subscription["billing_mode"]["flexible"] = None
    if wanted["type"] == "flexible":
        subscription["billing_mode"]["flexible"] = {"proration_discounts": "included", **(wanted.get("flexible") or {})}


def set_cancellation(world: World, subscription: Document, params: Document) -> None:
    """Plan the end of a subscription, or take the plan back, as `cancel_at` and `cancel_at_period_end` say."""
    details = params.get("cancellation_details")
    if details:
        set_fields(subscription["cancellation_details"], details, ("comment", "feedback", "feedback_option"))
    if params.get("cancel_at") and params.get("cancel_at_period_end"):
        raise errors.parameters_exclusive("cancel_at", "cancel_at_period_end")
    if "cancel_at" in params:
        wanted = params["cancel_at"]
        if isinstance(wanted, int) and wanted <= world.now:
            raise errors.invalid("`cancel_at` must be in the future.", "cancel_at")
        subscription["cancel_at"] = resolve_cancel_at(subscription, wanted) if wanted else None
        subscription["cancel_at_period_end"] = False
    elif "cancel_at_period_end" in params:
        at_end = params["cancel_at_period_end"]
        if at_end or subscription["cancel_at_period_end"]:
            subscription["cancel_at"] = resolve_cancel_at(subscription, "max_period_end") if at_end else None
        subscription["cancel_at_period_end"] = at_end
    if "cancel_at" in params or "cancel_at_period_end" in params:
        subscription["_cancel_prorates"] = params.get("proration_behavior") != "none"
        ends = bool(subscription["cancel_at"])
        subscription["canceled_at"] = world.now if ends else None
        subscription["cancellation_details"]["reason"] = "cancellation_requested" if ends else None


def resolve_cancel_at(subscription: Document, wanted: Any) -> int:
    """Return the moment that `cancel_at` means: a timestamp, or the end of the shortest or longest period."""
    ends: list[int] = [item["current_period_end"] for item in subscriptions.items_of(subscription)]
    if wanted == "min_period_end":
        return min(ends)
    return int(max(ends) if isinstance(wanted, str) else wanted)


@route("GET", "/v1/subscriptions/{subscription}")
def retrieve(world: World, params: Document, subscription: str) -> Document:
    return world.get("subscription", subscription)


@route("DELETE", "/v1/subscriptions/{subscription}")
def cancel(world: World, params: Document, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    if document["status"] in ("canceled", "incomplete_expired"):
        raise errors.no_such("subscription", subscription)
    world.follow_clock_of(world.find("customer", document["customer"]))
    details = params.get("cancellation_details") or {}
    set_fields(document["cancellation_details"], details, ("comment", "feedback", "feedback_option"))
    return cancelling.cancel_now(
        world, document, prorate=params.get("prorate", False), invoice_now=params.get("invoice_now", False)
    )


@route("GET", "/v1/subscriptions")
def list_all(world: World, params: Document) -> Document:
    status = params.get("status")

    def matches(subscription: Document) -> bool:
        if status is None and subscription["status"] == "canceled":
            return False
        if status == "ended" and subscription["status"] not in ("canceled", "incomplete_expired"):
            return False
        if params.get("price") and all(i["price"] != params["price"] for i in subscriptions.items_of(subscription)):
            return False
        if params.get("test_clock") and subscription["test_clock"] != params["test_clock"]:
            return False
        return "collection_method" not in params or subscription["collection_method"] == params["collection_method"]

    where = {"customer": params.get("customer")}
    if status not in (None, "all", "ended"):
        where["status"] = status
    return page(world, "subscription", params, "/v1/subscriptions", where, match=matches)


@route("DELETE", "/v1/subscriptions/{subscription}/discount")
def delete_discount(world: World, params: Document, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    if not document["discounts"]:
        raise errors.StripeError(
            f"No active discount for subscription: {subscription}", status=404, code="resource_missing"
        )
    discount = world.get("discount", document["discounts"][0])
    document["discounts"] = document["discounts"][1:]
    world.save(document, "customer.subscription.updated")
    return discounts.end(world, discount)


@route("GET", "/v1/subscription_items/{item}")
def retrieve_item(world: World, params: Document, item: str) -> Document:
    return subscriptions.find_by_item(world, item)[1]


@route("GET", "/v1/subscription_items")
def list_items(world: World, params: Document) -> Document:
    document = world.get("subscription", params["subscription"], param="subscription")
    return page_of(subscriptions.items_of(document), params, "/v1/subscription_items")
