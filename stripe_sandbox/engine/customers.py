"""Customers: creating them complete, and their tax ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import ids, objects
from stripe_sandbox.engine import methods
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def create(world: World, given: Document) -> Document:
    """Create a customer from the fields of a request that need no further work."""
    address = given.get("address")
    customer = objects.new(
        world,
        "customer",
        address={**methods.NO_ADDRESS, **address} if address else None,
        balance=given.get("balance", 0),
        delinquent=False,
        description=given.get("description"),
        email=given.get("email"),
        invoice_prefix=given.get("invoice_prefix") or ids.token(8).upper(),
        invoice_settings={
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
            **(given.get("invoice_settings") or {}),
        },
        metadata=given.get("metadata") or {},
        name=given.get("name"),
        next_invoice_sequence=given.get("next_invoice_sequence", 1),
        phone=given.get("phone"),
        preferred_locales=given.get("preferred_locales", []),
        shipping=given.get("shipping"),
        tax_exempt=given.get("tax_exempt") or "none",
        test_clock=given.get("test_clock"),
    )
    for name in ("business_name", "individual_name"):
        if given.get(name):
            customer[name] = given[name]
    return world.add(customer, "customer.created")


def add_tax_id(world: World, customer: Document, type: str, value: str) -> Document:  # noqa: A002 - Stripe's word
    """Give a customer a tax id; the same one twice is one."""
    for known in world.select("tax_id", {"customer": customer["id"]}):
        if (known["type"], known["value"]) == (type, value):
            return known
    return world.add(
        objects.new(
            world,
            "tax_id",
            country=type[:2].upper() if type[:2] != "eu" else value[:2].upper(),
            customer=customer["id"],
            owner={"account": None, "application": None, "customer": customer["id"], "customer_account": None}
            | {"type": "customer"},
            type=type,
            value=value,
            verification={"status": "verified", "verified_address": None, "verified_name": None},
        ),
        "customer.tax_id.created",
    )


def change_balance(
    world: World,
    customer: Document,
    amount: int,
    *,
    type: str,  # noqa: A002 - Stripe's word
    currency: str,
    **fields: Any,
) -> Document:
    """Add cents to a customer's balance (negative: credit) and keep the transaction."""
    customer["balance"] += amount
    customer["currency"] = customer["currency"] or currency
    entry = world.add(
        objects.new(
            world,
            "customer_balance_transaction",
            amount=amount,
            currency=currency,
            customer=customer["id"],
            ending_balance=customer["balance"],
            type=type,
            **{"metadata": {}, **fields},
        )
    )
    world.save(customer, "customer.updated")
    return entry


@rendering.embeds("customer")
def _embed_discount(world: World, shown: Document, stored: Document) -> None:
    if isinstance(shown["discount"], str):
        discount = world.find("discount", shown["discount"])
        shown["discount"] = rendering.render(world, discount) if discount else None


@rendering.on_demand("customer", "subscriptions")
def _show_subscriptions(world: World, customer: Document) -> Document:
    live = [
        rendering.render(world, subscription)
        for subscription in world.select("subscription", {"customer": customer["id"]})
        if subscription["status"] not in ("canceled", "incomplete_expired")
    ]
    return rendering.listing(f"/v1/customers/{customer['id']}/subscriptions", live[:10], has_more=len(live) > 10)


@rendering.on_demand("customer", "tax_ids")
def _show_tax_ids(world: World, customer: Document) -> Document:
    found = [rendering.render(world, tax_id) for tax_id in world.select("tax_id", {"customer": customer["id"]})]
    return rendering.listing(f"/v1/customers/{customer['id']}/tax_ids", found[:10], has_more=len(found) > 10)


@rendering.on_demand("customer", "sources")
def _show_sources(world: World, customer: Document) -> Document:
    return rendering.listing(f"/v1/customers/{customer['id']}/sources", [])
