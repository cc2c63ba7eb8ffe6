"""Subscription schedules: planning the phases of a subscription."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import changes, phases, schedules, subscriptions
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata
from stripe_sandbox.world import World

Document = dict[str, Any]


def _refuse_what_is_missing(params: Document) -> None:
    if params.get("pause_schedules"):
        raise errors.invalid("The sandbox does not simulate `pause_schedules`.", "pause_schedules")


@route("POST", "/v1/subscription_schedules")
def create(world: World, params: Document) -> Document:
    _refuse_what_is_missing(params)
    metadata = check_metadata(params.get("metadata"))
    if params.get("from_subscription"):
        if params.get("phases"):
            raise errors.invalid(
                "You cannot set `phases` if `from_subscription` is set. Create the schedule first, then update it.",
                "phases",
            )
        subscription = world.get("subscription", params["from_subscription"], param="from_subscription")
        world.follow_clock_of(world.find("customer", subscription["customer"]))
        return schedules.from_subscription(world, subscription, metadata=metadata)
    for name in ("customer", "phases"):
        if not params.get(name):
            raise errors.parameter_missing(name)
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    start = world.now if params.get("start_date") in (None, "now") else params["start_date"]
    planned = phases.from_params(world, params["phases"], start=start)
    schedule = schedules.new(
        world, customer, planned, end_behavior=params.get("end_behavior", "release"), metadata=metadata
    )
    _set_defaults(schedule, params)
    if params.get("billing_mode"):
        schedule["billing_mode"]["type"] = params["billing_mode"]["type"]
        if params["billing_mode"]["type"] == "classic":
            schedule["billing_mode"]["flexible"] = None
    return schedules.create(world, schedule)


def _set_defaults(schedule: Document, params: Document) -> None:
    for name, value in (params.get("default_settings") or {}).items():
        if name != "invoice_settings":
            schedule["default_settings"][name] = None if value == "" else value


@route("GET", "/v1/subscription_schedules/{schedule}")
def retrieve(world: World, params: Document, schedule: str) -> Document:
    return world.get("subscription_schedule", schedule)


@route("POST", "/v1/subscription_schedules/{schedule}")
def update(world: World, params: Document, schedule: str) -> Document:
    _refuse_what_is_missing(params)
    document = _current(world, schedule)
    if document["status"] not in ("not_started", "active"):
        raise errors.invalid(
            f"You cannot update a subscription schedule that is currently in the `{document['status']}` status."
        )
    merge_metadata(document, params)
    _set_defaults(document, params)
    if params.get("end_behavior"):
        document["end_behavior"] = params["end_behavior"]
    if params.get("phases"):
        _replan(world, document, params)
    world.save(document, "subscription_schedule.updated")
    schedules.appoint(world, document)
    return document


def _replan(world: World, schedule: Document, params: Document) -> None:
    """Put new phases in the place of the planned ones; a change of the present phase takes effect at once."""
    given = params["phases"]
    subscription = world.find("subscription", schedule["subscription"])
    first = given[0].get("start_date")
    if schedule["status"] == "active" and first is None:
        raise errors.parameter_missing("phases[0][start_date]")
    present = schedule["current_phase"] or schedule["phases"][0]
    start = world.now if first == "now" else (first or present["start_date"])
    anchor = subscription["billing_cycle_anchor"] if subscription else None
    planned = phases.from_params(world, given, start=start, anchor=anchor)
    schedule["phases"] = planned
    if subscription is None:
        return
    now = next((phase for phase in planned if phase["start_date"] <= world.now < phase["end_date"]), None)
    if now is None:
        raise errors.invalid("The current phase must include the present time.", "phases")
    schedule["current_phase"] = {"start_date": now["start_date"], "end_date": now["end_date"]}
    wanted = phases.as_changes(world, subscription, now)
    if _differs(subscription, wanted):
        how = {"proration_behavior": params.get("proration_behavior") or now["proration_behavior"]}
        changes.make(world, subscription, changes.work_out(world, subscription, wanted, how), how)


def _differs(subscription: Document, wanted: list[Document]) -> bool:
    known = {item["id"]: (item["price"], item.get("quantity")) for item in subscriptions.items_of(subscription)}
    meant = {entry.get("id"): (entry["price"]["id"], entry["quantity"]) for entry in wanted if not entry.get("deleted")}
    return known != meant


@route("POST", "/v1/subscription_schedules/{schedule}/release")
def release(world: World, params: Document, schedule: str) -> Document:
    document = _current(world, schedule)
    return schedules.release(world, document, preserve_cancel_date=params.get("preserve_cancel_date", False))


@route("POST", "/v1/subscription_schedules/{schedule}/cancel")
def cancel(world: World, params: Document, schedule: str) -> Document:
    document = _current(world, schedule)
    return schedules.cancel(
        world, document, prorate=params.get("prorate", True), invoice_now=params.get("invoice_now", True)
    )


def _current(world: World, schedule: str) -> Document:
    document = world.get("subscription_schedule", schedule)
    world.follow_clock_of(world.find("customer", document["customer"]))
    return document


@route("GET", "/v1/subscription_schedules")
def list_all(world: World, params: Document) -> Document:
    def matches(schedule: Document) -> bool:
        return params.get("scheduled") is None or (schedule["status"] == "not_started") == params["scheduled"]

    where = {"customer": params.get("customer")}
    return page(world, "subscription_schedule", params, "/v1/subscription_schedules", where, match=matches)
