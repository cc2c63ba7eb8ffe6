"""Subscriptions and their items."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import discounts, invoice_items, invoicing, methods, pricing, subscriptions
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import products, route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/subscriptions")
def create(world: World, params: Document) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    if not params.get("items"):
        raise errors.parameter_missing("items")
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    wanted = [_wanted_item(world, entry, n) for n, entry in enumerate(params["items"])]
    if len({entry["price"]["currency"] for entry in wanted}) > 1:
        raise errors.invalid("All prices of a subscription must have the same currency.", "items")
    trial_end = _trial_end(world, params)
    method = _default_method(world, customer, params)
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
        cancel_at_period_end=params.get("cancel_at_period_end", False),
    )
    if params.get("billing_mode"):
        subscription["billing_mode"]["type"] = params["billing_mode"]["type"]
        if params["billing_mode"]["type"] == "classic":
            subscription["billing_mode"]["flexible"] = None
    _set_settings(subscription, params)
    if params.get("cancel_at"):
        subscription["cancel_at"] = resolve_cancel_at(subscription, params["cancel_at"])
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
    extra = [_added_line(world, customer, entry) for entry in params.get("add_invoice_items") or []]
    _bill_first(world, subscription, extra, params)
    return subscription


def _bill_first(world: World, subscription: Document, extra: list[Document], params: Document) -> None:
    """Draft the first invoice and, unless the caller will confirm its payment, charge it."""
    invoice = subscriptions.first_invoice(world, subscription, extra_lines=extra)
    if subscription["status"] == "incomplete" and invoice["status"] == "paid":
        subscription["status"] = "active"
        world.save(subscription, "customer.subscription.updated")
        subscriptions.schedule(world, subscription)
    if invoice["status"] != "open" or subscription["collection_method"] == "send_invoice":
        return
    behaviour = params.get("payment_behavior", "allow_incomplete")
    if behaviour == "default_incomplete":
        return
    try:
        invoicing.pay(world, invoice, off_session=bool(params.get("off_session")), automatic=True)
    except errors.StripeError as error:
        if behaviour == "error_if_incomplete" or not error.keep:
            error.keep = False
            raise
    if behaviour == "error_if_incomplete" and invoice["status"] != "paid":
        raise errors.card_error(
            "This payment requires additional user action before it can be completed successfully.",
            code="subscription_payment_intent_requires_action",
            keep=False,
        )


def _wanted_item(world: World, entry: Document, position: int) -> Document:
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


def _added_line(world: World, customer: Document, entry: Document) -> Document:
    if entry.get("price_data"):
        data = entry["price_data"]
        price = world.add(products.new_price(world, {**data, "active": False}, data["product"]))
    else:
        if not entry.get("price"):
            raise errors.parameter_missing("add_invoice_items[0][price]")
        price = world.get("price", entry["price"], param="add_invoice_items[0][price]")
    made = invoice_items.create(world, customer, price=price, quantity=entry.get("quantity", 1))
    return invoice_items.line_for(world, made)


def _trial_end(world: World, params: Document) -> int | None:
    if params.get("trial_end") is not None and params.get("trial_period_days") is not None:
        raise errors.parameters_exclusive("trial_end", "trial_period_days")
    if params.get("trial_period_days"):
        return int(world.now + params["trial_period_days"] * 86400)
    end = params.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= world.now:
        raise errors.invalid("Invalid timestamp: must be an integer Unix timestamp in the future", "trial_end")
    return int(end)


def _anchor(world: World, params: Document, trial_end: int | None) -> int | None:
    anchor = params.get("billing_cycle_anchor")
    if anchor is not None and anchor < world.now:
        raise errors.invalid("`billing_cycle_anchor` must be in the future.", "billing_cycle_anchor")
    return anchor


def _default_method(world: World, customer: Document, params: Document) -> Document | None:
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


def _set_settings(subscription: Document, params: Document) -> None:
    """Merge the settings hashes that a request gives in part."""
    for name in ("payment_settings", "invoice_settings", "trial_settings", "automatic_tax"):
        given = params.get(name)
        if isinstance(given, dict):
            known = subscription[name]
            for key, value in given.items():
                known[key] = {**known[key], **value} if isinstance(known.get(key), dict) and value else (value or None)
    if params.get("automatic_tax", {}).get("enabled"):
        subscription["automatic_tax"]["liability"] = {"account": None, "type": "self"}


def resolve_cancel_at(subscription: Document, wanted: Any) -> int:
    """Return the moment that `cancel_at` means: a timestamp, or the end of the shortest or longest period."""
    ends: list[int] = [item["current_period_end"] for item in subscriptions.items_of(subscription)]
    if wanted == "min_period_end":
        return min(ends)
    return int(max(ends) if isinstance(wanted, str) else wanted)


@route("GET", "/v1/subscriptions/{subscription}")
def retrieve(world: World, params: Document, subscription: str) -> Document:
    return world.get("subscription", subscription)


@route("POST", "/v1/subscriptions/{subscription}")
def update(world: World, params: Document, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    customer = world.get("customer", document["customer"])
    world.follow_clock_of(customer)
    if document["status"] in ("canceled", "incomplete_expired"):
        allowed = {"metadata", "cancellation_details"}
        if set(params) - allowed:
            raise errors.invalid("A canceled subscription can only update its cancellation_details and metadata.")
    merge_metadata(document, params)
    set_fields(document, params, ("description", "collection_method", "days_until_due"))
    _set_settings(document, params)
    if params.get("default_payment_method"):
        document["default_payment_method"] = (_default_method(world, customer, params) or {}).get("id")
    if "discounts" in params:
        made = discounts.from_params(
            world,
            params["discounts"] or [],
            customer=customer,
            currency=document["currency"],
            amount=0,
            subscription=subscription,
        )
        document["discounts"] = [discount["id"] for discount in made]
    if "pause_collection" in params:
        given = params["pause_collection"] or None
        document["pause_collection"] = {"resumes_at": None, **given} if given else None
    _set_cancellation(world, document, params)
    world.save(document, "customer.subscription.updated")
    subscriptions.schedule(world, document)
    return document


def _set_cancellation(world: World, subscription: Document, params: Document) -> None:
    details = params.get("cancellation_details")
    if details:
        set_fields(subscription["cancellation_details"], details, ("comment", "feedback"))
    if "cancel_at" in params:
        wanted = params["cancel_at"]
        subscription["cancel_at"] = resolve_cancel_at(subscription, wanted) if wanted else None
        subscription["cancel_at_period_end"] = False
    if "cancel_at_period_end" in params:
        at_end = params["cancel_at_period_end"]
        subscription["cancel_at_period_end"] = at_end
        subscription["cancel_at"] = resolve_cancel_at(subscription, "max_period_end") if at_end else None
    if "cancel_at" in params or "cancel_at_period_end" in params:
        ends = bool(subscription["cancel_at"])
        subscription["canceled_at"] = world.now if ends else None
        subscription["cancellation_details"]["reason"] = "cancellation_requested" if ends else None


@route("DELETE", "/v1/subscriptions/{subscription}")
def cancel(world: World, params: Document, subscription: str) -> Document:
    document = world.get("subscription", subscription)
    if document["status"] in ("canceled", "incomplete_expired"):
        raise errors.no_such("subscription", subscription)
    world.follow_clock_of(world.find("customer", document["customer"]))
    set_fields(document["cancellation_details"], params.get("cancellation_details") or {}, ("comment", "feedback"))
    return subscriptions.end(world, document)


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
