"""Events: what happened, newest first."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import deliveries, errors
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("GET", "/v1/events/{event}")
def retrieve(world: World, params: Document, event: str) -> Document:
    return world.get("event", event)


@route("GET", "/v1/events")
def list_all(world: World, params: Document) -> Document:
    if params.get("type") and params.get("types"):
        raise errors.parameters_exclusive("type", "types")
    wanted = params.get("types") or ([params["type"]] if params.get("type") else None)
    if wanted is not None and len(wanted) > 20:
        raise errors.invalid("You may only specify up to 20 types.", "types")
    exact = wanted is not None and not any("*" in one for one in wanted)
    delivered = params.get("delivery_success")

    def matches(event: Document) -> bool:
        if wanted is not None and not exact and not any(_matches(one, event["type"]) for one in wanted):
            return False
        return delivered is None or (deliveries.pending_count(world, event["id"]) == 0) == delivered

    return page(world, "event", params, "/v1/events", {"type": wanted if exact else None}, match=matches)


def _matches(pattern: str, type: str) -> bool:  # noqa: A002 - Stripe's word
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern


@rendering.embeds("event")
def _embed_pending(world: World, shown: Document, stored: Document) -> None:
    shown["pending_webhooks"] = deliveries.pending_count(world, shown["id"])
