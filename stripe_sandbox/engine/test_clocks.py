"""Test clocks: customers whose time stands still until it is advanced, on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import periods, subscriptions, tasks

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
LIVES_DAYS = 30
MOST_CUSTOMERS = 3
TWO_YEARS_MONTHS = 24


def create(world: World, *, frozen_time: int, name: str | None) -> Document:
    """Create a clock that stands at a time."""
    clock = objects.new(
        world,
        "test_helpers.test_clock",
        deletes_after=world.now + LIVES_DAYS * 86400,
        frozen_time=frozen_time,
        name=name,
        status="ready",
        status_details={},
    )
    return world.add(clock, "test_helpers.test_clock.created")


def bind(world: World, clock: Document, customer: Document) -> None:
    """Let a customer live by a clock; raises when the clock has its three customers."""
    ensure_room(world, clock)
    customer["test_clock"] = clock["id"]
    world.save(customer, "customer.updated")


def ensure_room(world: World, clock: Document) -> None:
    """Raise when a clock has as many customers as a clock can have."""
    if sum(1 for _ in world.select("customer", {"test_clock": clock["id"]})) >= MOST_CUSTOMERS:
        raise errors.invalid(
            f"Test clocks can have at most {MOST_CUSTOMERS} customers; {clock['id']} has them.", "test_clock"
        )


def advance(world: World, clock: Document, to: int) -> Document:
    """Begin to advance a clock; it is ready again when everything up to that time has happened."""
    if clock["status"] != "ready":
        raise errors.invalid("The test clock is still advancing. Wait until its status is `ready`.")
    if to <= clock["frozen_time"]:
        raise errors.invalid("The new frozen time must be after the test clock's current frozen time.", "frozen_time")
    if to > furthest(world, clock):
        raise errors.invalid(
            "You can advance a test clock by at most two intervals of its shortest subscription, or by two years when "
            "it has no subscriptions.",
            "frozen_time",
        )
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": to}})
    world.save(clock)
    world.emit("test_helpers.test_clock.advancing", clock)
    world.schedule("test_clock.advance", clock, world.sandbox.clock.now(), clock="")
    return clock


def furthest(world: World, clock: Document) -> int:
    """Return the latest time to which a clock may be advanced in one go."""
    ends = []
    for customer in world.select("customer", {"test_clock": clock["id"]}):
        for subscription in world.select("subscription", {"customer": customer["id"]}):
            if subscription["status"] not in subscriptions.LIVE:
                continue
            for item in subscriptions.items_of(subscription):
                recurring = world.get("price", item["price"])["recurring"]
                length = (recurring["interval"], recurring["interval_count"])
                ends.append(periods.boundary(clock["frozen_time"], *length, 2))
    return min(ends, default=periods.add_months(clock["frozen_time"], TWO_YEARS_MONTHS))


@tasks.task("test_clock.advance")
def finish(world: World, clock: Document) -> None:
    """Run what falls due on a clock up to its target, each thing at its own time, and make it ready."""
    if clock["status"] != "advancing":
        return
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    world.unschedule("test_clock.advance", clock)
    while (due := tasks.next_due(world.store, target, clock=clock["id"])) is not None:
        with world.sandbox.world(now=max(due["due_at"], clock["frozen_time"])) as step:
            tasks.run(step, due)
    clock.update(status="ready", frozen_time=target, status_details={})
    world.save(clock)
    world.emit("test_helpers.test_clock.ready", clock)


def delete(world: World, clock: Document) -> Document:
    """Delete a clock and its customers, with their subscriptions."""
    for customer in list(world.select("customer", {"test_clock": clock["id"]})):
        for subscription in list(world.select("subscription", {"customer": customer["id"]})):
            if subscription["status"] in subscriptions.LIVE:
                subscriptions.end(world, subscription)
        world.delete(customer, "customer.deleted")
    world.store.execute("DELETE FROM tasks WHERE clock = ?", clock["id"])
    return world.delete(clock, "test_helpers.test_clock.deleted")
