"""What customers do to their own subscriptions in the Customer Portal, as its configuration lets them.

The portal's pages call these; each follows the `features` of a portal configuration. In flexible billing a
cancellation at the period's end sets `cancel_at` and leaves `cancel_at_period_end` false
(https://docs.stripe.com/billing/subscriptions/billing-mode/compare).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors
from stripe_sandbox.engine import (
    cancelling,
    changes,
    pausing,
    periods,
    phases,
    previews,
    pricing,
    schedules,
    subscriptions,
    tasks,
)

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
LENGTHS = {"day": 1, "week": 7, "month": 30, "year": 365}  # To tell which of two intervals is the shorter one.


def cancel(
    world: World, subscription: Document, features: Document, *, feedback: str | None = None, comment: str | None = None
) -> Document:
    """Cancel a subscription, now or at its period's end as configured; raises when that is not allowed."""
    settings = features["subscription_cancel"]
    if not settings["enabled"]:
        raise errors.invalid("Cancelling is switched off in this portal's configuration.")
    subscription["cancellation_details"].update(feedback=feedback, comment=comment)
    _release(world, subscription)
    if settings["mode"] == "immediately":
        behaviour = settings["proration_behavior"]
        return cancelling.cancel_now(
            world, subscription, prorate=behaviour != "none", invoice_now=behaviour == "always_invoice"
        )
    ends_at = max(item["current_period_end"] for item in subscriptions.items_of(subscription))
    flexible = subscription["billing_mode"]["type"] == "flexible"
    subscription.update(cancel_at=ends_at, cancel_at_period_end=not flexible, canceled_at=world.now)
    subscription["cancellation_details"]["reason"] = "cancellation_requested"
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)
    return subscription


def keep(world: World, subscription: Document) -> Document:
    """Take a planned cancellation back: the subscription renews as before."""
    if subscription["status"] not in subscriptions.LIVE or not subscription["cancel_at"]:
        raise errors.invalid("This subscription is not about to be cancelled.")
    subscription.update(cancel_at=None, cancel_at_period_end=False, canceled_at=None)
    subscription["cancellation_details"].update(comment=None, feedback=None, reason=None)
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)
    return subscription


def choices(world: World, features: Document) -> list[Document]:
    """Return the prices to which a configuration lets customers change, in its order."""
    settings = features["subscription_update"]
    listed = [price for product in settings["products"] for price in product["prices"]] if settings["enabled"] else []
    found = [world.find("price", price) for price in listed]
    return [price for price in found if price is not None and price["active"]]


def waits_for_period_end(
    world: World, subscription: Document, features: Document, *, price: Document, quantity: int | None
) -> bool:
    """Tell whether a change takes effect only when the period ends, by `schedule_at_period_end`'s conditions."""
    item = subscriptions.items_of(subscription)[0]
    present = world.get("price", item["price"])
    kinds = {one["type"] for one in features["subscription_update"]["schedule_at_period_end"]["conditions"]}
    cheaper = pricing.amount(price, quantity or 1) < pricing.amount(present, item.get("quantity") or 1)
    shorter = _days(price) < _days(present)
    return ("decreasing_item_amount" in kinds and cheaper) or ("shortening_interval" in kinds and shorter)


def _days(price: Document) -> int:
    return int(LENGTHS[price["recurring"]["interval"]] * price["recurring"]["interval_count"])


def preview_change(
    world: World,
    subscription: Document,
    features: Document,
    *,
    price: Document,
    quantity: int | None = None,
    at: int | None = None,
) -> Document | None:
    """Return the invoice that a change brings at once, or None when nothing is charged before the next renewal."""
    if waits_for_period_end(world, subscription, features, price=price, quantity=quantity):
        return None
    with world.rehearsal() as trial:
        again = trial.get("subscription", subscription["id"])
        wanted, params = _as_update(trial, again, features, price=price, quantity=quantity, at=at)
        invoice = changes.make(trial, again, changes.work_out(trial, again, wanted, params), params)
        return previews.shown(invoice) if invoice is not None else None


def change(
    world: World,
    subscription: Document,
    features: Document,
    *,
    price: Document,
    quantity: int | None = None,
    at: int | None = None,
) -> Document:
    """Change to another price, at once or at the period's end as configured; `at` is the preview's proration date.

    Raises when the configuration does not offer the price, and Stripe's card error, with nothing changed, when what
    is due at once cannot be paid.
    """
    if price["id"] not in [one["id"] for one in choices(world, features)]:
        raise errors.invalid("This portal's configuration does not offer that price.", "price")
    if len(subscriptions.items_of(subscription)) != 1:
        raise errors.invalid("The portal cannot change subscriptions with several items.")
    _release(world, subscription)
    if waits_for_period_end(world, subscription, features, price=price, quantity=quantity):
        _schedule(world, subscription, price, quantity)
        return subscription
    wanted, params = _as_update(world, subscription, features, price=price, quantity=quantity, at=at)
    changes.make(world, subscription, changes.work_out(world, subscription, wanted, params), params)
    return subscription


def _as_update(
    world: World, subscription: Document, features: Document, *, price: Document, quantity: int | None, at: int | None
) -> tuple[list[Document], Document]:
    settings = features["subscription_update"]
    item = subscriptions.items_of(subscription)[0]
    params: Document = {"proration_behavior": settings["proration_behavior"], "payment_behavior": "error_if_incomplete"}
    if at is not None:
        params["proration_date"] = at
    if settings["billing_cycle_anchor"]:
        params["billing_cycle_anchor"] = {"type": settings["billing_cycle_anchor"]}
    if subscription["status"] == "trialing" and settings["trial_update_behavior"] == "end_trial":
        params["trial_end"] = "now"
    return [{"id": item["id"], "price": price, "quantity": quantity or 1}], params


def _schedule(world: World, subscription: Document, price: Document, quantity: int | None) -> None:
    """Plan the price for the next period, after which the schedule lets go."""
    schedule = schedules.from_subscription(world, subscription)
    starts = schedule["phases"][0]["end_date"]
    recurring = price["recurring"]
    ends = periods.boundary(starts, recurring["interval"], recurring["interval_count"], 1)
    items = [{"price": price["id"], "quantity": quantity or 1}]
    schedule["phases"].append(phases.new(world, items, start=starts, end=ends, proration_behavior="none"))
    world.save(schedule, "subscription_schedule.updated")


def _release(world: World, subscription: Document) -> None:
    """Let go of what was planned before: the newest wish counts."""
    schedule = world.find("subscription_schedule", subscription["schedule"])
    if schedule is not None and schedule["status"] == "active":
        schedules.release(world, schedule, preserve_cancel_date=True)


def pause(world: World, subscription: Document, features: Document, *, interval: str, count: int) -> Document:
    """Pause a subscription for a while that the configuration offers; it resumes by itself."""
    settings = features["subscription_pause"]
    offered = [(one["interval"], one["interval_count"]) for one in settings["duration"]["interval_options"]]
    if not settings["enabled"] or (interval, count) not in offered:
        raise errors.invalid("This portal's configuration does not offer that pause.")
    pausing.pause(world, subscription, {})
    world.schedule("subscription.resume", subscription, periods.boundary(world.now, interval, count, 1))
    return subscription


def resume(world: World, subscription: Document) -> Document:
    """Resume a paused subscription; it stays paused when its card does not pay."""
    world.unschedule("subscription.resume", subscription)
    pausing.resume(world, subscription, {"payment_behavior": "resume_on_payment_success"})
    return subscription


@tasks.task("subscription.resume")
def resume_when_due(world: World, subscription: Document) -> None:
    if subscription["status"] == "paused":
        resume(world, subscription)
