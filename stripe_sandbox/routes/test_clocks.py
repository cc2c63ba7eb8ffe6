"""Test clocks: creating, advancing and deleting them."""

from __future__ import annotations

from typing import Any

from stripe_sandbox.engine import test_clocks
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/test_helpers/test_clocks")
def create(world: World, params: Document) -> Document:
    customer = world.get("customer", params["customer"], param="customer") if params.get("customer") else None
    clock = test_clocks.create(world, frozen_time=params["frozen_time"], name=params.get("name"))
    if customer is not None:
        test_clocks.bind(world, clock, customer)
    return clock


@route("GET", "/v1/test_helpers/test_clocks/{clock}")
def retrieve(world: World, params: Document, clock: str) -> Document:
    document = world.get("test_helpers.test_clock", clock)
    # Whoever looks has waited: what the server's own thread has not done yet is done now.
    test_clocks.finish(world, document)
    return document


@route("POST", "/v1/test_helpers/test_clocks/{clock}/advance")
def advance(world: World, params: Document, clock: str) -> Document:
    return test_clocks.advance(world, world.get("test_helpers.test_clock", clock), params["frozen_time"])


@route("DELETE", "/v1/test_helpers/test_clocks/{clock}")
def delete(world: World, params: Document, clock: str) -> Document:
    return test_clocks.delete(world, world.get("test_helpers.test_clock", clock))


@route("GET", "/v1/test_helpers/test_clocks")
def list_all(world: World, params: Document) -> Document:
    return page(world, "test_helpers.test_clock", params, "/v1/test_helpers/test_clocks", {})
