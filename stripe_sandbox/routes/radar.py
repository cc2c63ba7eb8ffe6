"""Radar's early fraud warnings: they can only be read; banks make them."""

from __future__ import annotations

from typing import Any

from stripe_sandbox.engine import fraud_warnings
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("GET", "/v1/radar/early_fraud_warnings/{warning}")
def retrieve(world: World, params: Document, warning: str) -> Document:
    return world.get(fraud_warnings.KIND, warning)


@route("GET", "/v1/radar/early_fraud_warnings")
def list_all(world: World, params: Document) -> Document:
    filters = {name: params.get(name) for name in ("charge", "payment_intent")}
    return page(world, fraud_warnings.KIND, params, "/v1/radar/early_fraud_warnings", filters)
