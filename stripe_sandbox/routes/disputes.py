"""Disputes: reading them, answering them with evidence, accepting them."""

from __future__ import annotations

from typing import Any

from stripe_sandbox.engine import disputes
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import merge_metadata
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("GET", "/v1/disputes/{dispute}")
def retrieve(world: World, params: Document, dispute: str) -> Document:
    return world.get("dispute", dispute)


@route("POST", "/v1/disputes/{dispute}")
def update(world: World, params: Document, dispute: str) -> Document:
    document = _current(world, dispute)
    merge_metadata(document, params)
    if "evidence" in params:
        return disputes.give_evidence(world, document, params["evidence"], submit=params.get("submit", True))
    return world.save(document, "charge.dispute.updated")


@route("POST", "/v1/disputes/{dispute}/close")
def close(world: World, params: Document, dispute: str) -> Document:
    return disputes.close(world, _current(world, dispute))


def _current(world: World, dispute: str) -> Document:
    document = world.get("dispute", dispute)
    charge = world.get("charge", document["charge"])
    world.follow_clock_of(world.find("customer", charge["customer"]))
    return document


@route("GET", "/v1/disputes")
def list_all(world: World, params: Document) -> Document:
    names = ("charge", "payment_intent")
    return page(world, "dispute", params, "/v1/disputes", {name: params.get(name) for name in names})
