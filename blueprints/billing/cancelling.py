"""Cancel at the end of the period, after being told what that means, and change one's mind."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, TextAreaField
from wtforms.validators import Length, Optional

from billing import catalog, endings
from billing.endings import Outlook
from billing.models import Subscription
from blueprints.billing.base import bp, look_again, own_subscription
from extensions import db, limiter
from web import filters, gates, idempotency

Row = tuple[str, str, str]


class CancelForm(FlaskForm):  # type: ignore[misc]
    """Why somebody leaves; both answers are up to them."""

    reason = RadioField(
        "Why do you leave?",
        choices=[SelectChoice(value, words) for value, words in endings.REASONS.items()],
        validators=[Optional()],
    )
    comment = TextAreaField(
        "What could be better?",
        validators=[Optional(), Length(max=endings.MAX_COMMENT, message="Use at most 500 characters.")],
    )


@bp.route("/billing/cancel", methods=["GET", "POST"])
@gates.requires()
@limiter.limit("30 per hour", methods=["POST"])
def cancel() -> str | Response | tuple[str, int]:
    """Say what will happen to plan, price and credits, and cancel on one more click."""
    subscription = own_subscription()
    if subscription is None or not endings.may_cancel(subscription):
        return redirect(url_for("billing.index"))
    form = CancelForm()
    if not form.validate_on_submit():
        outlook = endings.outlook(db.session(), subscription)
        page = render_template(
            "billing/cancel.html",
            form=form,
            outlook=outlook,
            rows=today_and_then(outlook, subscription),
            is_past_due=subscription.past_due_since is not None,
        )
        return (page, 422) if form.errors else page
    stripe_id = subscription.stripe_id
    key = idempotency.key()
    endings.cancel_at_period_end(stripe_id, feedback=form.reason.data or "", comment=form.comment.data or "", key=key)
    look_again(stripe_id)
    after = own_subscription()
    if after is not None and after.cancels_at:
        flash(f"Cancelled. Everything stays as it is until {filters.day(after.cancels_at)}.", "success")
    else:
        flash("Cancelled. This page shows the last day as soon as Stripe confirms it.", "success")
    return redirect(url_for("billing.index"), 303)


@bp.post("/billing/resume")
@gates.requires()
@limiter.limit("30 per hour")
def resume() -> Response:
    """Keep a subscription that was to end."""
    subscription = own_subscription()
    if subscription is None or not endings.may_resume(subscription):
        flash("There is nothing to resume: no subscription of yours is about to end.", "warning")
        return redirect(url_for("billing.index"), 303)
    stripe_id = subscription.stripe_id
    endings.resume(stripe_id, key=idempotency.key())
    look_again(stripe_id)
    flash("Resumed. Your plan goes on as if it had never been cancelled.", "success")
    return redirect(url_for("billing.index"), 303)


def today_and_then(outlook: Outlook, subscription: Subscription) -> list[Row]:
    """Say what a cancellation changes: a name, how it is today, how it will be."""
    plan, free = outlook.plan, outlook.free_plan
    rows = [("Plan", plan.name, free.name)]
    if subscription.amount_cents is not None and subscription.currency:
        rows.append(("Price", _price_words(subscription), filters.money(0, subscription.currency)))
    rows.append(("New credits", _a_month(plan.credits), _a_month(free.credits)))
    if outlook.plan_credits:
        until = f"What is left can be spent until {filters.day(outlook.spendable_until)}"
        rows.append(("Plan credits", filters.credits(outlook.plan_credits), until))
    if outlook.kept_credits:
        kept = filters.credits(outlook.kept_credits)
        rows.append(("Other credits", kept, f"{kept}: nothing changes"))
    lost = [f.name for f in _features_of(plan.features) if f.key not in free.features]
    rows += [(name, "Included", "Not included") for name in lost]
    for limit, allowed in plan.limits.items():
        rows.append((limit.replace("_", " ").capitalize(), _allowed(allowed), _allowed(free.limits.get(limit, 0))))
    return rows


def _features_of(keys: tuple[str, ...]) -> list[catalog.Feature]:
    return [f for f in catalog.current().features if f.key in keys and not f.is_planned]


def _price_words(subscription: Subscription) -> str:
    amount = filters.money(subscription.amount_cents or 0, subscription.currency or "usd")
    current, key = catalog.current(), subscription.price_key
    interval = current.price(key).interval if key and current.has_price(key) else None
    return f"{amount} a {interval}" if interval else amount


def _a_month(credits: int) -> str:
    return f"{filters.number(credits)} a month" if credits else "None"


def _allowed(allowed: int) -> str:
    return "Unlimited" if allowed == -1 else filters.number(allowed)
