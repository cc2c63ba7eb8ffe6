"""Customers, their payment methods and their tax ids."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import customers, discounts, methods, subscriptions, test_clocks
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
PLAIN = (
    "business_name",
    "description",
    "email",
    "individual_name",
    "invoice_prefix",
    "name",
    "phone",
    "preferred_locales",
)
DEFAULT_METHOD = "invoice_settings[default_payment_method]"


@route("POST", "/v1/customers")
def create(world: World, params: Document) -> Document:
    _check_email(params)
    if params.get("test_clock"):
        clock = world.get("test_helpers.test_clock", params["test_clock"], param="test_clock")
        test_clocks.ensure_room(world, clock)
        world.now = clock["frozen_time"]
    given = {name: value for name, value in params.items() if value != ""}
    given["metadata"] = check_metadata(given.get("metadata"))
    settings = given.pop("invoice_settings", None) or {}
    default = settings.get("default_payment_method")
    customer = customers.create(world, {**given, "shipping": _shipping(given.get("shipping"))})
    for wanted in dict.fromkeys(wanted for wanted in (given.get("payment_method"), default) if wanted):
        method = methods.resolve(world, wanted, param=DEFAULT_METHOD if wanted == default else "payment_method")
        methods.attach(world, method, customer)
        if wanted == default:
            customer["invoice_settings"]["default_payment_method"] = method["id"]
    for entry in given.get("tax_id_data") or []:
        customers.add_tax_id(world, customer, entry["type"], entry["value"])
    world.save(customer)
    return customer


@route("GET", "/v1/customers/{customer}")
def retrieve(world: World, params: Document, customer: str) -> Document:
    gone = world.store.setting(f"deleted:{customer}")
    return {"id": customer, "object": "customer", "deleted": True} if gone else world.get("customer", customer)


@route("POST", "/v1/customers/{customer}")
def update(world: World, params: Document, customer: str) -> Document:
    document = world.get("customer", customer)
    _check_email(params)
    set_fields(document, params, PLAIN)
    merge_metadata(document, params)
    if "address" in params:
        document["address"] = {**methods.NO_ADDRESS, **params["address"]} if params["address"] else None
    if "shipping" in params:
        document["shipping"] = _shipping(params["shipping"] or None)
    if "tax_exempt" in params:
        document["tax_exempt"] = params["tax_exempt"] or "none"
    if "next_invoice_sequence" in params:
        document["next_invoice_sequence"] = params["next_invoice_sequence"]
    settings = params.get("invoice_settings") or {}
    if "default_payment_method" in settings:
        document["invoice_settings"]["default_payment_method"] = _own_method(
            world, document, settings["default_payment_method"]
        )
    for name in ("custom_fields", "footer", "rendering_options"):
        if name in settings:
            document["invoice_settings"][name] = settings[name] or None
    if "balance" in params and params["balance"] != document["balance"]:
        change = params["balance"] - document["balance"]
        currency = document["currency"] or "usd"
        customers.change_balance(world, document, change, type="adjustment", currency=currency)
    return world.save(document, "customer.updated")


def _own_method(world: World, customer: Document, wanted: str) -> str | None:
    if not wanted:
        return None
    method = methods.resolve(world, wanted, param=DEFAULT_METHOD)
    if method["customer"] != customer["id"]:
        raise errors.invalid(
            f"The customer does not have a payment method with the ID {wanted}. The payment method must be attached "
            "to the customer.",
            DEFAULT_METHOD,
            code="resource_missing",
        )
    return str(method["id"])


@route("DELETE", "/v1/customers/{customer}")
def delete(world: World, params: Document, customer: str) -> Document:
    document = world.get("customer", customer)
    for subscription in list(world.select("subscription", {"customer": customer})):
        if subscription["status"] in subscriptions.LIVE:
            subscriptions.end(world, subscription)
    for method in list(world.select("payment_method", {"customer": customer})):
        methods.detach(world, method)
    return world.delete(document, "customer.deleted")


@route("GET", "/v1/customers")
def list_all(world: World, params: Document) -> Document:
    where = {"email": params.get("email"), "test_clock": params.get("test_clock")}
    return page(world, "customer", params, "/v1/customers", where)


@route("DELETE", "/v1/customers/{customer}/discount")
def delete_discount(world: World, params: Document, customer: str) -> Document:
    document = world.get("customer", customer)
    if not document["discount"]:
        raise errors.StripeError(f"No active discount for customer: {customer}", status=404, code="resource_missing")
    discount = world.get("discount", document["discount"])
    document["discount"] = None
    world.save(document, "customer.updated")
    return discounts.end(world, discount)


@route("GET", "/v1/customers/{customer}/payment_methods")
def list_methods(world: World, params: Document, customer: str) -> Document:
    world.get("customer", customer)
    where = {"customer": customer, "type": params.get("type")}
    allowed = params.get("allow_redisplay")
    return page(
        world,
        "payment_method",
        params,
        f"/v1/customers/{customer}/payment_methods",
        where,
        match=lambda method: not allowed or method["allow_redisplay"] == allowed,
    )


@route("GET", "/v1/customers/{customer}/payment_methods/{method}")
def retrieve_method(world: World, params: Document, customer: str, method: str) -> Document:
    world.get("customer", customer)
    document = world.get("payment_method", method)
    if document["customer"] != customer:
        raise errors.no_such("payment_method", method)
    return document


def _shipping(given: Document | None) -> Document | None:
    if not given:
        return None
    address = {**methods.NO_ADDRESS, **(given.get("address") or {})}
    empty = {"carrier": None, "name": None, "phone": None, "tracking_number": None}
    return {**empty, **given, "address": address}


def _check_email(params: Document) -> None:
    email = params.get("email")
    if email and ("@" not in email or " " in email or len(email) > 512):
        raise errors.invalid(f"Invalid email address: {email}", "email", code="email_invalid")
