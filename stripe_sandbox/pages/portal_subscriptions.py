"""The Customer Portal: cancelling, resuming and changing subscriptions, as far as its configuration allows."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request

from stripe_sandbox import errors
from stripe_sandbox.engine import pausing, subscriptions
from stripe_sandbox.pages import access, plan_changes, portal, portal_visit
from stripe_sandbox.pages.portal_visit import Visit
from stripe_sandbox.routes import subscription_changes
from stripe_sandbox.routes import subscriptions as subscription_routes
from stripe_sandbox.world import World

blueprint = Blueprint("portal_subscriptions", __name__, url_prefix="/p/session/<session_id>")
Document = dict[str, Any]
REASONS = {
    "too_expensive": "It's too expensive",
    "missing_features": "Some features are missing",
    "switched_service": "I found another product that I like better",
    "unused": "I don't use it enough",
    "customer_service": "The customer service was less than expected",
    "too_complex": "Ease of use was less than expected",
    "low_quality": "Quality was less than expected",
    "other": "Another reason",
}
# Cancelling and resuming ----------------------------------------------------------------------------------------------


@blueprint.get("/subscriptions/<subscription_id>/cancel")
def confirm_cancel(session_id: str, subscription_id: str) -> Any:
    """Say what cancelling means before it is done."""
    with access.world() as world:
        visit = Visit(world, session_id)
        return _cancel_page(visit, visit.subscription(subscription_id))


def _cancel_page(visit: Visit, subscription: Document, error: errors.StripeError | None = None) -> Any:
    settings = visit.need("subscription_cancel")
    reason = settings["cancellation_reason"]
    return visit.show(
        "cancel",
        error=error,
        settings=settings,
        subscription=portal_visit.in_words(visit, subscription),
        reasons=[(key, REASONS.get(key, key)) for key in reason["options"]] if reason["enabled"] else [],
    )


@blueprint.post("/subscriptions/<subscription_id>/cancel")
def cancel(session_id: str, subscription_id: str) -> Any:
    """Cancel as the configuration says: at once, or at the end of the period."""
    form = portal_visit.form()

    def act(world: World) -> None:
        visit = Visit(world, session_id)
        _cancel(visit, visit.subscription(subscription_id), visit.need("subscription_cancel"), form)

    error = access.perform(act)
    access.sandbox().run_due()
    with access.world() as world:
        visit = Visit(world, session_id)
        if error is not None:
            return _cancel_page(visit, visit.subscription(subscription_id), error)
        return visit.after("cancelled")


def _cancel(visit: Visit, subscription: Document, settings: Document, form: dict[str, str]) -> None:
    if subscription["status"] not in subscriptions.LIVE:
        raise errors.invalid("This subscription has ended already.")
    details: Document = {}
    if form.get("feedback") in settings["cancellation_reason"]["options"]:
        details["feedback"] = form["feedback"]
    if form.get("comment"):
        details["comment"] = form["comment"][:500]
    if settings["mode"] == "immediately":
        prorates = settings["proration_behavior"]
        how = {"prorate": prorates != "none", "invoice_now": prorates == "always_invoice"}
        subscription_routes.cancel(visit.world, {**how, "cancellation_details": details}, subscription["id"])
        return
    # In flexible billing mode the portal sets `cancel_at`; only the classic mode keeps `cancel_at_period_end`.
    flexible = subscription["billing_mode"]["type"] == "flexible"
    plan = {"cancel_at": "max_period_end"} if flexible else {"cancel_at_period_end": True}
    subscription_changes.update(visit.world, {**plan, "cancellation_details": details}, subscription["id"])


@blueprint.post("/subscriptions/<subscription_id>/resume")
def resume(session_id: str, subscription_id: str) -> Any:
    """Take a planned end back."""

    def act(world: World) -> None:
        visit = Visit(world, session_id)
        visit.need("subscription_cancel")
        subscription_changes.update(world, {"cancel_at": ""}, visit.subscription(subscription_id)["id"])

    error = access.perform(act)
    with access.world() as world:
        visit = Visit(world, session_id)
        return portal.home_page(visit, error) if error else redirect(f"{visit.home}/home?done=resumed", 303)


# Pausing --------------------------------------------------------------------------------------------------------------


@blueprint.get("/subscriptions/<subscription_id>/pause")
def confirm_pause(session_id: str, subscription_id: str) -> Any:
    """Ask for how long, as far as the configuration leaves a choice."""
    with access.world() as world:
        visit = Visit(world, session_id)
        return _pause_page(visit, visit.subscription(subscription_id))


def _pause_page(visit: Visit, subscription: Document, error: errors.StripeError | None = None) -> Any:
    shown = portal_visit.in_words(visit, subscription)
    return visit.show("pause", error=error, subscription=shown, durations=_durations(visit.need("subscription_pause")))


def _durations(settings: Document) -> list[tuple[str, str]]:
    """List for how long one may pause: a value for the form, and its words; empty when there is no end to choose."""
    if settings["duration"]["type"] == "indefinite":
        return []
    spans = [(one["interval"], one.get("interval_count") or 1) for one in settings["duration"]["interval_options"]]
    return [(f"{count} {unit}", f"{count} {unit}{'' if count == 1 else 's'}") for unit, count in spans]


@blueprint.post("/subscriptions/<subscription_id>/pause")
def pause(session_id: str, subscription_id: str) -> Any:
    """Pause now, for the time that was chosen."""
    form = portal_visit.form()

    def act(world: World) -> None:
        visit = Visit(world, session_id)
        durations = _durations(visit.need("subscription_pause"))
        wanted = form.get("duration") or (durations[0][0] if durations else "")
        if durations and wanted not in dict(durations):
            raise errors.invalid("Choose for how long you pause.", "duration")
        subscription = pausing.pause(world, visit.subscription(subscription_id), {})
        if wanted:
            count, unit = wanted.split()
            pausing.end_by_itself(world, subscription, unit, int(count))

    error = access.perform(act)
    access.sandbox().run_due()
    with access.world() as world:
        visit = Visit(world, session_id)
        if error is not None:
            return _pause_page(visit, visit.subscription(subscription_id), error)
        return visit.after("paused")


@blueprint.post("/subscriptions/<subscription_id>/restart")
def restart(session_id: str, subscription_id: str) -> Any:
    """Resume a paused subscription; its invoice is charged at once."""

    def act(world: World) -> None:
        visit = Visit(world, session_id)
        visit.need("subscription_pause")
        pausing.resume(world, visit.subscription(subscription_id), {"payment_behavior": "resume_on_payment_success"})

    error = access.perform(act)
    access.sandbox().run_due()
    with access.world() as world:
        visit = Visit(world, session_id)
        return portal.home_page(visit, error) if error else redirect(f"{visit.home}/home?done=restarted", 303)


# Changing the plan ----------------------------------------------------------------------------------------------------


@blueprint.get("/subscriptions/<subscription_id>/change")
def choose_plan(session_id: str, subscription_id: str) -> Any:
    """Show the plans that the configuration offers."""
    with access.world() as world:
        visit = Visit(world, session_id)
        settings = visit.need("subscription_update")
        subscription = visit.subscription(subscription_id)
        return visit.show(
            "change",
            subscription=portal_visit.in_words(visit, subscription),
            plans=plan_changes.offered(world, subscription, settings),
            adjustable=plan_changes.may_change_quantity(settings),
            quantity=subscriptions.items_of(subscription)[0].get("quantity") or 1,
        )


@blueprint.get("/subscriptions/<subscription_id>/change/confirm")
def confirm_plan(session_id: str, subscription_id: str) -> Any:
    """Show what a change costs today, and what it costs then."""
    with access.world() as world:
        visit = Visit(world, session_id)
        return _confirm_page(visit, visit.subscription(subscription_id), request.args.to_dict())


def _confirm_page(
    visit: Visit, subscription: Document, wanted: dict[str, str], error: errors.StripeError | None = None
) -> Any:
    settings = visit.need("subscription_update")
    shown = portal_visit.in_words(visit, subscription)
    try:
        change = plan_changes.read(visit.world, subscription, settings, wanted)
        preview = plan_changes.preview(visit.world, subscription, change)
    except errors.StripeError as problem:
        return visit.show("change_refused", subscription=shown, error=error or problem)
    return visit.show("confirm", subscription=shown, change=change, preview=preview, error=error)


@blueprint.post("/subscriptions/<subscription_id>/change/confirm")
def change_plan(session_id: str, subscription_id: str) -> Any:
    """Change the plan, at once or at the end of the period, as the configuration says."""
    form, later = portal_visit.form(), []

    def act(world: World) -> None:
        visit = Visit(world, session_id)
        subscription = visit.subscription(subscription_id)
        change = plan_changes.read(world, subscription, visit.need("subscription_update"), form)
        later.append(change.later)
        plan_changes.make(world, subscription, change)

    error = access.perform(act)
    access.sandbox().run_due()
    with access.world() as world:
        visit = Visit(world, session_id)
        if error is not None:
            return _confirm_page(visit, visit.subscription(subscription_id), form, error)
        return visit.after("planned" if later[0] else "changed")
