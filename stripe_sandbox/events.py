"""Events: what happened, with a snapshot of the object, and which endpoints want to hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import stripe

from stripe_sandbox import ids

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]

# What the sandbox itself does when something happens: functions by type of event.
LISTENERS: dict[str, list[Callable[[World, Document], None]]] = {}

# Types that "*" does not include at Stripe: endpoints must name them.
NOT_IN_ALL: set[str] = set()


def listens(*types: str) -> Callable[..., Any]:
    """Register a function to be called with the object of each event of some types, in the same transaction."""

    def register(function: Callable[[World, Document], None]) -> Callable[[World, Document], None]:
        for name in types:
            LISTENERS.setdefault(name, []).append(function)
        return function

    return register


def make(world: World, type: str, snapshot: Document, previous: Document | None) -> Document:  # noqa: A002
    """Return an event document; `previous` is carried only by events that report a change."""
    data: Document = {"object": snapshot}
    if previous:
        data["previous_attributes"] = previous
    return {
        "id": ids.new("event"),
        "object": "event",
        "api_version": stripe.api_version,
        "created": world.now,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": dict(world.request),
        "type": type,
    }


def wants(endpoint: Document, type: str) -> bool:  # noqa: A002
    """Tell whether an endpoint is enabled and subscribed to a type of event."""
    if endpoint["status"] != "enabled":
        return False
    return type in endpoint["enabled_events"] or ("*" in endpoint["enabled_events"] and type not in NOT_IN_ALL)
