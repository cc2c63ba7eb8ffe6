"""A customer's balance and tax ids."""

from __future__ import annotations

import re
from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import customers
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
VAT = re.compile(r"^[A-Z]{2}[0-9A-Za-z+*.]{2,12}$")


@route("POST", "/v1/customers/{customer}/balance_transactions")
def create_transaction(world: World, params: Document, customer: str) -> Document:
    document = world.get("customer", customer)
    world.follow_clock_of(document)
    currency = params["currency"].lower()
    if document["currency"] not in (None, currency):
        raise errors.invalid(
            f"You cannot combine currencies on a single customer. This customer has had transactions in "
            f"{document['currency']}.",
            "currency",
        )
    if params["amount"] == 0:
        raise errors.invalid("The amount must not be zero.", "amount")
    return customers.change_balance(
        world,
        document,
        params["amount"],
        type="adjustment",
        currency=currency,
        description=params.get("description"),
        metadata=check_metadata(params.get("metadata")),
    )


def _transaction(world: World, customer: str, transaction: str) -> Document:
    world.get("customer", customer)
    document = world.get("customer_balance_transaction", transaction)
    if document["customer"] != customer:
        raise errors.no_such("customer_balance_transaction", transaction)
    return document


@route("GET", "/v1/customers/{customer}/balance_transactions/{transaction}")
def retrieve_transaction(world: World, params: Document, customer: str, transaction: str) -> Document:
    return _transaction(world, customer, transaction)


@route("POST", "/v1/customers/{customer}/balance_transactions/{transaction}")
def update_transaction(world: World, params: Document, customer: str, transaction: str) -> Document:
    document = _transaction(world, customer, transaction)
    set_fields(document, params, ("description",))
    merge_metadata(document, params)
    return world.save(document)


@route("GET", "/v1/customers/{customer}/balance_transactions")
def list_transactions(world: World, params: Document, customer: str) -> Document:
    world.get("customer", customer)
    where = {"customer": customer, "invoice": params.get("invoice")}
    return page(world, "customer_balance_transaction", params, f"/v1/customers/{customer}/balance_transactions", where)


@route("POST", "/v1/customers/{customer}/tax_ids")
def create_tax_id(world: World, params: Document, customer: str) -> Document:
    return _add(world, world.get("customer", customer), params)


def _add(world: World, customer: Document, params: Document) -> Document:
    if params["type"] == "eu_vat" and not VAT.match(params["value"]):
        raise errors.invalid(f"Invalid value for {params['type']}.", "value", code="tax_id_invalid")
    return customers.add_tax_id(world, customer, params["type"], params["value"])


def _tax_id(world: World, tax_id: str, customer: str | None = None) -> Document:
    document = world.get("tax_id", tax_id)
    if customer is not None and document["customer"] != customer:
        raise errors.no_such("tax_id", tax_id)
    return document


@route("GET", "/v1/customers/{customer}/tax_ids/{tax_id}")
def retrieve_tax_id(world: World, params: Document, customer: str, tax_id: str) -> Document:
    return _tax_id(world, tax_id, customer)


@route("DELETE", "/v1/customers/{customer}/tax_ids/{tax_id}")
def delete_tax_id(world: World, params: Document, customer: str, tax_id: str) -> Document:
    return world.delete(_tax_id(world, tax_id, customer), "customer.tax_id.deleted")


@route("GET", "/v1/customers/{customer}/tax_ids")
def list_tax_ids(world: World, params: Document, customer: str) -> Document:
    world.get("customer", customer)
    return page(world, "tax_id", params, f"/v1/customers/{customer}/tax_ids", {"customer": customer})


@route("POST", "/v1/tax_ids")
def create_owned_tax_id(world: World, params: Document) -> Document:
    owner = params.get("owner") or {"type": "self"}
    if owner["type"] != "customer":
        raise errors.invalid("The sandbox keeps tax ids of customers only.", "owner[type]")
    if not owner.get("customer"):
        raise errors.parameter_missing("owner[customer]")
    return _add(world, world.get("customer", owner["customer"], param="owner[customer]"), params)


@route("GET", "/v1/tax_ids/{tax_id}")
def retrieve_owned_tax_id(world: World, params: Document, tax_id: str) -> Document:
    return _tax_id(world, tax_id)


@route("DELETE", "/v1/tax_ids/{tax_id}")
def delete_owned_tax_id(world: World, params: Document, tax_id: str) -> Document:
    return world.delete(_tax_id(world, tax_id), "customer.tax_id.deleted")


@route("GET", "/v1/tax_ids")
def list_owned_tax_ids(world: World, params: Document) -> Document:
    owner = params.get("owner") or {}
    return page(world, "tax_id", params, "/v1/tax_ids", {"customer": owner.get("customer")})
