"""Pause a plan and go on with it, after being told what that means for money, access and credits."""

from __future__ import annotations

from datetime import timedelta

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from accounts.models import ADMIN
from billing import catalog, endings, errors, pausing, pending, usage_reports
from billing.models import Subscription
from billing.pausing import Restart
from blueprints.billing.base import bp, look_again, own_subscription
from blueprints.billing.cancelling import today_and_then
from extensions import db, limiter
from web import gates, idempotency, sealed
from web.current import current_account

PURPOSE = "unpause"
# How long the amount of a preview can be confirmed.
LIFETIME = timedelta(minutes=30)


@bp.route("/billing/pause", methods=["GET", "POST"])
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour", methods=["POST"])
def pause() -> str | Response:
    """Say what stays open until when, and pause on one more click."""
    subscription = own_subscription()
    if subscription is None or not pausing.may_pause(subscription):
        flash("Only a plan that is paid and goes on by itself can be paused.", "warning")
        return redirect(url_for("billing.index"), 303)
    if request.method == "GET":
        outlook = endings.outlook(db.session(), subscription)
        return render_template(
            "billing/pause.html",
            outlook=outlook,
            rows=today_and_then(outlook, subscription),
            planned=pending.planned_change(db.session(), subscription.stripe_id),
            subscription=subscription,
        )
    stripe_id = subscription.stripe_id
    key = idempotency.key()
    usage_reports.flush_account(current_account().id)  # a pause bills what was used until now
    pausing.pause(stripe_id, key=key)
    look_again(stripe_id)
    # The banner of every page says the rest, until somebody goes on.
    return redirect(url_for("billing.index"), 303)


@bp.get("/billing/unpause")
@gates.requires(role=ADMIN)
@limiter.limit("60 per minute")
def unpause() -> str | Response:
    """Say what going on costs today and brings."""
    subscription = own_subscription()
    if subscription is None or not pausing.may_go_on(subscription):
        return redirect(url_for("billing.index"))
    stripe_id = subscription.stripe_id
    quoted = pausing.quote(subscription)
    return render_template(
        "billing/unpause.html",
        quote=quoted,
        plan=_plan(own_subscription()),
        token=sealed.seal(PURPOSE, [stripe_id, quoted.due_cents, quoted.is_free]),
        subscription=own_subscription(),
    )


@bp.post("/billing/unpause")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour")
def confirm_unpause() -> Response:
    """Go on for the amount that was shown."""
    key = idempotency.key()
    shown = sealed.unseal(PURPOSE, request.form.get("quote", ""), lifetime=LIFETIME)
    subscription = own_subscription()
    if subscription is None or not pausing.may_go_on(subscription):
        flash("There is nothing to go on with: your plan is not paused.", "warning")
        return redirect(url_for("billing.index"), 303)
    name, quoted = _plan(subscription).name, pausing.quote(subscription)
    if [quoted.stripe_subscription_id, quoted.due_cents, quoted.is_free] != shown:
        flash("The amount has changed since you looked. Nothing was charged; this is the present one.", "warning")
        return redirect(url_for("billing.unpause"), 303)
    return _go_on(quoted, name, key)


def _go_on(quoted: Restart, name: str, key: str) -> Response:
    stripe_id = quoted.stripe_subscription_id
    try:
        unpaid = pausing.go_on(quoted, key=key)
    except errors.CardDeclined as declined:
        look_again(stripe_id)
        flash(f"{declined.user_message} {name} stays paused, and nothing was charged.", "error")
        return redirect(url_for("billing.index"), 303)
    look_again(stripe_id, unpaid["id"] if unpaid else None)
    if unpaid is None:
        flash(f"{name} goes on.", "success")
        return redirect(url_for("billing.index"), 303)
    words = pausing.refusal_of(unpaid)
    if words is None and unpaid.get("hosted_invoice_url"):
        return redirect(unpaid["hosted_invoice_url"], 303)
    flash(f"{words} {name} stays paused, and nothing was charged.", "error")
    return redirect(url_for("billing.index"), 303)


def _plan(subscription: Subscription | None) -> catalog.Plan:
    current = catalog.current()
    key = subscription.plan_key if subscription else None
    return next((plan for plan in current.plans if plan.key == key), current.free_plan)
