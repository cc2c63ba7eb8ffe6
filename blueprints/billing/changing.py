"""Choose another plan, see what it costs, and confirm exactly that."""

from __future__ import annotations

from datetime import timedelta

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

import clock
import failpoints
from accounts.models import ADMIN
from billing import catalog, errors, pending, plan_changes
from billing.models import Subscription
from billing.plan_changes import ChangeRefused, Outcome, Quote, Result, When
from blueprints.billing.base import bp, look_again, own_subscription
from blueprints.billing.cancelling import what_opens_and_closes
from extensions import db, limiter
from web import filters, gates, idempotency, redirects, sealed

PURPOSE = "plan-change"
# How long the amounts of a preview can be confirmed: Stripe would still take the date, but people forget what they saw.
LIFETIME = timedelta(minutes=30)

REFUSALS = {
    "none": "You have no subscription to change. Choose a plan first.",
    "unknown": "Your plan is not sold here any more. Write to us and we change it for you.",
    "owing": "Your last invoice is not paid yet. Pay it first, then change the plan.",
    "ending": "Your plan is about to end. Resume it first, then change it.",
    "same": "That is the plan you have.",
    "several": "Two plans are billed to you together. Write to us and we change them for you.",
    "moved": "Your subscription has changed meanwhile. This is how it is now.",
}


@bp.get("/billing/change")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def change() -> str | Response:
    """Show every plan one could change to, or with `?to=<price key>` what that one costs and when it begins."""
    subscription = own_subscription()
    why = plan_changes.obstacle_to_any(subscription)
    if subscription is None or why:
        flash(REFUSALS[why or "none"], "warning")
        return redirect(url_for("pricing.index" if why == "none" else "billing.index"))
    if "to" not in request.args:
        return render_template(
            "billing/change.html",
            choices=plan_changes.choices(db.session(), subscription),
            subscription=subscription,
            current=catalog.current().plan(str(subscription.plan_key)),
            planned=pending.planned_change(db.session(), subscription.stripe_id),
            obstacle_words=obstacle_words,
        )
    try:
        return _preview(subscription, request.args["to"])
    except ChangeRefused as refused:
        return _refused(subscription, refused)


@bp.post("/billing/change")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour")
def confirm_change() -> Response:
    """Make the change that the preview showed, for the amount that it showed."""
    key = idempotency.key()
    price_key, stripe_id, at, fixed_cents, next_cents = sealed.unseal(
        PURPOSE, request.form.get("quote", ""), lifetime=LIFETIME
    )
    subscription = own_subscription()
    try:
        choice = plan_changes.choose(db.session(), subscription, price_key)
        if subscription is None or subscription.stripe_id != stripe_id:
            raise ChangeRefused("moved")
        quoted = plan_changes.quote(db.session(), subscription, choice, at=at)
        if (quoted.due_cents - quoted.used_cents, quoted.next_cents) != (fixed_cents, next_cents):
            flash(
                "The amounts have changed since you looked. Nothing was charged; these are the present ones.", "warning"
            )
            return redirect(url_for("billing.change", to=price_key), 303)
        failpoints.hit("change.quoted")
        outcome = plan_changes.confirm(quoted, key=key)
    except ChangeRefused as refused:
        return _refused(subscription, refused)
    except errors.CardDeclined as declined:
        look_again(stripe_id)
        flash(f"{declined.user_message} Your plan has not changed. Update your card and try again.", "error")
        return redirect(url_for("billing.index"), 303)
    failpoints.hit("change.confirmed")
    return _after(quoted, outcome)


@bp.post("/billing/change/undo")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour")
def undo_change() -> Response:
    """Take back a change that is planned, or that waits for its payment."""
    key, subscription = idempotency.key(), own_subscription()
    planned = pending.planned_change(db.session(), subscription.stripe_id) if subscription else None
    unpaid = pending.unpaid_change(db.session(), subscription.stripe_id) if subscription else None
    if subscription is None or not (planned or unpaid):
        flash("There is no change to take back.", "warning")
        return redirect(url_for("billing.index"), 303)
    if planned and planned.is_new_price and not unpaid:
        flash("A new price cannot be taken back. You can change or cancel your plan instead.", "warning")
        return redirect(url_for("billing.index"), 303)
    stripe_id = subscription.stripe_id
    if unpaid:
        plan_changes.withdraw_unpaid(unpaid.stripe_invoice_id, key=f"{key}:invoice")
    if planned and not planned.is_new_price:
        plan_changes.undo_planned(planned.stripe_schedule_id, key=f"{key}:schedule")
    look_again(stripe_id)
    flash("Taken back. Your plan stays as it is.", "success")
    return redirect(url_for("billing.index"), 303)


def obstacle_words(obstacles: tuple[errors.LimitReached, ...]) -> str:
    """Say what is in the way of a smaller plan: "Too small: you use 5 projects, and it has room for 3. ..."."""
    used = [
        f"you use {filters.number(o.used)} {o.limit.replace('_', ' ')}, and it has room for {filters.number(o.allowed)}"
        for o in obstacles
    ]
    return f"Too small: {'; '.join(used)}. Remove some first."


def _preview(subscription: Subscription, price_key: str) -> str:
    choice = plan_changes.choose(db.session(), subscription, price_key)
    quoted = plan_changes.quote(db.session(), subscription, choice)
    values = [
        price_key,
        quoted.stripe_subscription_id,
        quoted.proration_date,
        quoted.due_cents - quoted.used_cents,
        quoted.next_cents,
    ]
    return render_template(
        "billing/change_preview.html",
        quote=quoted,
        choice=choice,
        is_now=choice.when is When.NOW,
        is_trial=subscription.trial_ends_at is not None and subscription.trial_ends_at > clock.now(),
        subscription=subscription,
        current=catalog.current().plan(str(subscription.plan_key)),
        interval=_interval_of(subscription),
        differences=what_opens_and_closes(catalog.current().plan(str(subscription.plan_key)), choice.plan),
        token=sealed.seal(PURPOSE, values),
        next=redirects.asked_next(""),
    )


def _interval_of(subscription: Subscription) -> str | None:
    current, key = catalog.current(), subscription.price_key
    return current.price(key).interval if key and current.has_price(key) else None


def _refused(subscription: Subscription | None, refused: ChangeRefused) -> Response:
    """Say why a change cannot be made, on the page that helps."""
    if refused.obstacles:
        flash(obstacle_words(refused.obstacles), "error")
        return redirect(url_for("billing.change"), 303)
    if subscription is not None:
        look_again(subscription.stripe_id)
    flash(REFUSALS[str(refused)], "warning")
    return redirect(url_for("billing.index"), 303)


def _after(quoted: Quote, outcome: Outcome) -> Response:
    """Bring subscription and invoice in line and say what has become of the change."""
    look_again(quoted.stripe_subscription_id, outcome.stripe_invoice_id)
    if outcome.result is Result.ACTION_REQUIRED and outcome.hosted_url:
        return redirect(outcome.hosted_url, 303)
    name = quoted.choice.plan.name
    if outcome.result is Result.DECLINED:
        flash(f"{outcome.words} Nothing was charged, and your plan has not changed.", "error")
    elif outcome.result is Result.PLANNED and quoted.next_at:
        flash(
            f"Planned. The change to {name} happens on {filters.day(quoted.next_at)}, and nothing is charged before.",
            "success",
        )
    else:
        flash(f"Done. You are on {name} now.", "success")
        return redirect(redirects.asked_next(url_for("billing.index")), 303)
    return redirect(url_for("billing.index"), 303)
