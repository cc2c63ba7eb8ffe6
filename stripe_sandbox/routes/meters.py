"""Meters: what is counted by use, under the name of the events that count it."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, objects
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/billing/meters")
def create(world: World, params: Document) -> Document:
    _refuse_second(world, params["event_name"])
    mapping = params.get("customer_mapping") or {"type": "by_id", "event_payload_key": "stripe_customer_id"}
    meter = objects.new(
        world,
        "billing.meter",
        customer_mapping=mapping,
        default_aggregation={"formula": params["default_aggregation"]["formula"]},
        display_name=params["display_name"],
        event_name=params["event_name"],
        event_time_window=params.get("event_time_window"),
        status="active",
        status_transitions={"deactivated_at": None},
        updated=world.now,
        value_settings=params.get("value_settings") or {"event_payload_key": "value"},
    )
    return world.add(meter, "billing.meter.created")


@route("GET", "/v1/billing/meters/{meter}")
def retrieve(world: World, params: Document, meter: str) -> Document:
    return world.get("billing.meter", meter)


@route("POST", "/v1/billing/meters/{meter}")
def update(world: World, params: Document, meter: str) -> Document:
    document = world.get("billing.meter", meter)
    if "display_name" in params:
        document["display_name"] = params["display_name"]
    document["updated"] = world.now
    return world.save(document, "billing.meter.updated")


@route("POST", "/v1/billing/meters/{meter}/deactivate")
def deactivate(world: World, params: Document, meter: str) -> Document:
    document = world.get("billing.meter", meter)
    if document["status"] != "active":
        raise errors.invalid("You can only deactivate a meter that is active.")
    document.update(status="inactive", status_transitions={"deactivated_at": world.now}, updated=world.now)
    return world.save(document, "billing.meter.deactivated")


@route("POST", "/v1/billing/meters/{meter}/reactivate")
def reactivate(world: World, params: Document, meter: str) -> Document:
    document = world.get("billing.meter", meter)
    if document["status"] != "inactive":
        raise errors.invalid("You can only reactivate a meter that is inactive.")
    _refuse_second(world, document["event_name"])
    document.update(status="active", status_transitions={"deactivated_at": None}, updated=world.now)
    return world.save(document, "billing.meter.reactivated")


@route("GET", "/v1/billing/meters")
def list_all(world: World, params: Document) -> Document:
    return page(world, "billing.meter", params, "/v1/billing/meters", {"status": params.get("status")})


def _refuse_second(world: World, event_name: str) -> None:
    """Raise when an active meter counts these events already: Stripe has one per name."""
    if world.first("billing.meter", {"event_name": event_name, "status": "active"}) is not None:
        raise errors.invalid(
            f"An active meter for the event name {event_name} already exists.",
            "event_name",
            code="resource_already_exists",
        )
