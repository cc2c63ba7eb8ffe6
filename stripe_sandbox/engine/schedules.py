"""Subscription schedules: phases that a subscription enters one after the other, and how the schedule ends.

A phase that begins where a period ends changes the items before the renewal is billed; any other is a change in the
middle of a period, with the phase's prorations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import (
    cancelling,
    changes,
    cycles,
    discounts,
    drafting,
    phases,
    subscriptions,
    tasks,
    usage,
)

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def new(world: World, customer: Document, planned: list[Document], **fields: Any) -> Document:
    """Return a schedule that is not kept yet."""
    return objects.new(
        world,
        "subscription_schedule",
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": None},
        customer=customer["id"],
        default_settings={
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": "automatic",
            "billing_thresholds": None,
            "collection_method": "charge_automatically",
            "default_payment_method": None,
            "description": None,
            "invoice_settings": {
                "account_tax_ids": None,
                "custom_fields": None,
                "days_until_due": None,
                "description": None,
                "footer": None,
                "issuer": dict(drafting.SELF),
            },
            "on_behalf_of": None,
            "transfer_data": None,
        },
        pause_schedules=[],
        phases=planned,
        test_clock=customer["test_clock"],
        **{"end_behavior": "release", "metadata": {}, "status": "not_started", **fields},
    )


def from_subscription(world: World, subscription: Document, **fields: Any) -> Document:
    """Start to manage a running subscription: its present period becomes the first phase."""
    if subscription["schedule"]:
        raise errors.invalid(
            f"You cannot migrate a subscription that is already attached to a schedule: `{subscription['schedule']}`.",
            "from_subscription",
        )
    if subscription["status"] not in subscriptions.RENEWING:
        raise errors.invalid(
            f"You cannot migrate a subscription that is {subscription['status']} to a schedule.", "from_subscription"
        )
    customer = world.get("customer", subscription["customer"])
    phase = phases.of_subscription(world, subscription)
    schedule = new(world, customer, [phase], subscription=subscription["id"], status="active", **fields)
    schedule["billing_mode"] = dict(subscription["billing_mode"])
    schedule["default_settings"]["default_payment_method"] = subscription["default_payment_method"]
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    world.add(schedule, "subscription_schedule.created")
    subscription["schedule"] = schedule["id"]
    world.save(subscription, "customer.subscription.updated")
    appoint(world, schedule)
    return schedule


def create(world: World, schedule: Document) -> Document:
    """Keep a schedule with phases of its own; its subscription starts with the first phase."""
    world.add(schedule, "subscription_schedule.created")
    if schedule["phases"][0]["start_date"] <= world.now:
        begin(world, schedule)
    else:
        appoint(world, schedule)
    return schedule


def begin(world: World, schedule: Document) -> None:
    """Create the subscription of a schedule whose first phase starts."""
    phase, customer = schedule["phases"][0], world.get("customer", schedule["customer"])
    settings = schedule["default_settings"]
    wanted = [
        {"price": world.get("price", item["price"]), "quantity": item["quantity"], "metadata": item["metadata"]}
        for item in phase["items"]
    ]
    trial_end = phase["trial_end"]
    subscription = subscriptions.new(
        world,
        customer,
        wanted,
        trial_end=trial_end,
        status="trialing" if trial_end else "active",
        default_payment_method=phase["default_payment_method"] or settings["default_payment_method"],
        collection_method=phase["collection_method"] or settings["collection_method"],
        metadata=dict(phase["metadata"] or {}),
        schedule=schedule["id"],
    )
    subscription["billing_mode"] = dict(schedule["billing_mode"])
    made = _redeem(world, subscription, customer, phase)
    subscription["discounts"] = [discount["id"] for discount in made]
    subscriptions.start(world, subscription)
    schedule.update(subscription=subscription["id"], status="active")
    _enter(world, schedule, phase)
    invoice = subscriptions.first_invoice(world, subscription)
    if invoice is not None and invoice["status"] == "open" and invoice["collection_method"] != "send_invoice":
        changes.charge_now(world, invoice, must_succeed=False, params={"off_session": True})


def _enter(world: World, schedule: Document, phase: Document) -> None:
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    world.save(schedule, "subscription_schedule.updated")
    appoint(world, schedule)


def appoint(world: World, schedule: Document) -> None:
    """Make the schedule's next appointment: the start of its first phase, or the end of the present one."""
    if schedule["status"] == "not_started":
        world.schedule("schedule.advance", schedule, schedule["phases"][0]["start_date"])
    elif schedule["status"] == "active" and schedule["current_phase"]:
        world.schedule("schedule.advance", schedule, schedule["current_phase"]["end_date"])
    else:
        world.unschedule("schedule.advance", schedule)


@tasks.task("schedule.advance")
def advance(world: World, schedule: Document) -> None:
    """Enter the phase whose time has come, or end the schedule after its last one."""
    if schedule["status"] == "not_started":
        begin(world, schedule)
        return
    subscription = world.find("subscription", schedule["subscription"])
    if schedule["status"] != "active" or subscription is None or schedule["current_phase"]["end_date"] > world.now:
        return
    if subscription["status"] not in subscriptions.RENEWING:
        return  # A paused subscription enters its phase when it next renews.
    if subscription["cancel_at"] and subscription["cancel_at"] <= world.now:
        return  # It ends at this very moment, and the schedule with it.
    following = next((phase for phase in schedule["phases"] if phase["end_date"] > world.now), None)
    if following is not None:
        _apply(world, subscription, following)
        _enter(world, schedule, following)
        return
    _complete(world, schedule, subscription)


def _apply(world: World, subscription: Document, phase: Document) -> None:
    customer = world.get("customer", subscription["customer"])
    subscription["metadata"] = {**subscription["metadata"], **(phase["metadata"] or {})}
    for name in ("default_payment_method", "collection_method", "description"):
        if phase[name]:
            subscription[name] = phase[name]
    if phase["discounts"]:
        changes.set_discounts(world, subscription, _redeem(world, subscription, customer, phase))
    wanted = phases.as_changes(world, subscription, phase)
    all_due = all(item["current_period_end"] <= world.now for item in _items(subscription))
    if all_due and not phase["trial_end"]:
        _swap(world, subscription, wanted)
        return
    params = {"proration_behavior": phase["proration_behavior"], "off_session": True}
    if phase["trial_end"]:
        params["trial_end"] = phase["trial_end"]
    if phase["billing_cycle_anchor"] == "phase_start":
        params["billing_cycle_anchor"] = {"type": "now"}
    changes.make(world, subscription, changes.work_out(world, subscription, wanted, params), params)


def _swap(world: World, subscription: Document, wanted: list[Document]) -> None:
    """Change the items exactly where a period ends: nothing is unused, and the renewal bills what is new.

    What the leaving metered items counted becomes invoice items, for the same renewal.
    """
    rhythm = {item["id"]: world.get("price", item["price"])["recurring"] for item in _items(subscription)}
    for item in _items(subscription):
        entry = next((one for one in wanted if one.get("id") == item["id"]), {})
        leaves = entry.get("deleted") or (entry.get("price") or {}).get("id") not in (None, item["price"])
        line = usage.line_for(world, subscription, item, (usage.start_of(item), world.now)) if leaves else None
        if line and line["quantity"]:
            usage.make_item(world, subscription, line)
    plain = {"proration_behavior": "none"}
    before = subscription["billing_cycle_anchor"]
    after = changes.work_out(world, subscription, wanted, plain).after
    moved = any(
        item["id"] in rhythm
        and world.get("price", item["price"])["recurring"]["interval"] != rhythm[item["id"]]["interval"]
        for item in _items(after)
    )
    subscription["billing_cycle_anchor"] = world.now if moved else before
    for item in _items(after):
        item.update(current_period_end=min(item["current_period_end"], world.now), _billed=None)
        if moved or item["id"] not in rhythm:
            item.update(current_period_start=world.now, current_period_end=world.now)
    subscriptions.set_items(subscription, _items(after))
    world.save(subscription)


def _items(subscription: Document) -> list[Document]:
    return subscriptions.items_of(subscription)


def _redeem(world: World, subscription: Document, customer: Document, phase: Document) -> list[Document]:
    wanted = [{name: value for name, value in entry.items() if value} for entry in phase["discounts"]]
    return discounts.from_params(
        world, wanted, customer=customer, currency=subscription["currency"], amount=0, subscription=subscription["id"]
    )


def _complete(world: World, schedule: Document, subscription: Document) -> None:
    schedule.update(status="completed", completed_at=world.now, current_phase=None)
    world.save(schedule)
    appoint(world, schedule)
    ends = schedule["end_behavior"] == "cancel"
    if ends:
        subscription["cancel_at"] = world.now
    else:
        subscription["schedule"] = None
        world.save(subscription, "customer.subscription.updated")
    world.emit("subscription_schedule.completed", schedule)
    if ends:
        cycles.finish(world, subscription)


def release(world: World, schedule: Document, *, preserve_cancel_date: bool = False) -> Document:
    """Let go of the subscription, which carries on as it is; raises when the schedule is over."""
    if schedule["status"] not in ("not_started", "active"):
        raise errors.invalid(
            f"You cannot release a subscription schedule that is currently in the `{schedule['status']}` status. A "
            "subscription schedule is only releasable when it is in the `not_started` or `active` status.",
        )
    subscription = world.find("subscription", schedule["subscription"])
    schedule.update(
        status="released",
        released_at=world.now,
        released_subscription=schedule["subscription"],
        subscription=None,
        current_phase=None,
    )
    world.save(schedule)
    appoint(world, schedule)
    if subscription is not None:
        subscription["schedule"] = None
        if subscription["cancel_at"] and not preserve_cancel_date:
            subscription.update(cancel_at=None, cancel_at_period_end=False, canceled_at=None)
        world.save(subscription, "customer.subscription.updated")
        subscriptions.schedule(world, subscription)
    world.emit("subscription_schedule.released", schedule)
    return schedule


def cancel(world: World, schedule: Document, *, prorate: bool = True, invoice_now: bool = True) -> Document:
    """Cancel a schedule and, with it, its subscription; raises when the schedule is over."""
    if schedule["status"] not in ("not_started", "active"):
        raise errors.invalid(
            f"You cannot cancel a subscription schedule that is currently in the `{schedule['status']}` status. A "
            "subscription schedule is only cancelable when it is in the `not_started` or `active` status.",
        )
    subscription = world.find("subscription", schedule["subscription"])
    schedule.update(status="canceled", canceled_at=world.now, current_phase=None)
    world.save(schedule)
    appoint(world, schedule)
    if subscription is not None and subscription["status"] in subscriptions.LIVE:
        cancelling.cancel_now(world, subscription, prorate=prorate, invoice_now=invoice_now)
    world.emit("subscription_schedule.canceled", schedule)
    return schedule


def _before_renewal(world: World, subscription: Document) -> None:
    schedule = world.find("subscription_schedule", subscription["schedule"])
    if schedule is not None and schedule["status"] == "active":
        advance(world, schedule)


def _subscription_ended(world: World, subscription: Document, schedule: Document | None) -> None:
    """End the schedule of a subscription that ended by itself."""
    if schedule is None or schedule["status"] != "active":
        return
    failed = subscription["cancellation_details"]["reason"] == "payment_failed"
    schedule.update(status="canceled", canceled_at=world.now, current_phase=None)
    world.save(schedule)
    appoint(world, schedule)
    world.emit("subscription_schedule.aborted" if failed else "subscription_schedule.canceled", schedule)


cycles.BEFORE_RENEWAL.append(_before_renewal)
subscriptions.ON_END.append(_subscription_ended)
