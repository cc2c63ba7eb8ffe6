"""Meter events: reporting usage, taking it back, and reading what it comes to."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import usage
from stripe_sandbox.pagination import page_of
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]
WINDOWS = {"hour": 3600, "day": 86400}


@route("POST", "/v1/billing/meter_events")
def create(world: World, params: Document) -> Document:
    return usage.record(world, params)


@route("POST", "/v1/billing/meter_event_adjustments")
def adjust(world: World, params: Document) -> Document:
    identifier = (params.get("cancel") or {}).get("identifier")
    if not identifier:
        raise errors.parameter_missing("cancel[identifier]")
    return usage.cancel_event(world, params["event_name"], identifier)


@route("GET", "/v1/billing/meters/{meter}/event_summaries")
def summaries(world: World, params: Document, meter: str) -> Document:
    document = world.get("billing.meter", meter)
    customer = world.get("customer", params["customer"], param="customer")
    start, end = params["start_time"], params["end_time"]
    for name in ("start_time", "end_time"):
        if params[name] % 60:
            raise errors.invalid(f"`{name}` must be aligned with minute boundaries.", name)
    if end <= start:
        raise errors.invalid("`end_time` must be after `start_time`.", "end_time")
    step = WINDOWS.get(params.get("value_grouping_window") or "", end - start)
    found = [
        objects.new(
            world,
            "billing.meter_event_summary",
            aggregated_value=float(usage.total(world, document, customer["id"], at, min(at + step, end))),
            end_time=min(at + step, end),
            meter=meter,
            start_time=at,
        )
        for at in range(start, end, step)
    ]
    return page_of(found[::-1], params, f"/v1/billing/meters/{meter}/event_summaries")
