"""The account itself, its balance and its balance transactions."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import objects
from stripe_sandbox.engine import balance
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]
ACCOUNT_ID = "acct_1Sandbox00000000"


@route("GET", "/v1/account")
def retrieve(world: World, params: Document) -> Document:
    return objects.new(
        world,
        "account",
        id=ACCOUNT_ID,
        business_profile={"mcc": None, "name": "Sandbox", "product_description": None, "support_address": None}
        | {"support_email": None, "support_phone": None, "support_url": None, "url": None},
        business_type="company",
        capabilities={"card_payments": "active", "transfers": "active"},
        charges_enabled=True,
        controller={"type": "account"},
        country="US",
        created=world.now,
        default_currency="usd",
        details_submitted=True,
        email="sandbox@example.com",
        metadata={},
        payouts_enabled=True,
        type="standard",
    )


@route("GET", "/v1/balance")
def retrieve_balance(world: World, params: Document) -> Document:
    totals = balance.totals(world)
    shown = {
        name: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted({"usd": 0, **totals[name]}.items())
        ]
        for name in ("available", "pending")
    }
    return {"object": "balance", "livemode": False, **shown}


@route("GET", "/v1/balance_transactions/{transaction}")
def retrieve_transaction(world: World, params: Document, transaction: str) -> Document:
    return world.get("balance_transaction", transaction)


@route("GET", "/v1/balance_transactions")
def list_transactions(world: World, params: Document) -> Document:
    where = {"source": params.get("source"), "type": params.get("type")}
    return page(
        world,
        "balance_transaction",
        params,
        "/v1/balance_transactions",
        where,
        match=lambda one: "currency" not in params or one["currency"] == params["currency"],
    )


@rendering.embeds("balance_transaction")
def _embed_status(world: World, shown: Document, stored: Document) -> None:
    shown["status"] = "available" if shown["available_on"] <= world.now else "pending"
