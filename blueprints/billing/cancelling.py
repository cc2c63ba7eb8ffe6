"""Cancel at the end of the period or at once, after being told what that means, and change one's mind."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, TextAreaField
from wtforms.validators import Length, Optional

from accounts.models import ADMIN
from billing import catalog, coming_use, endings, invoices, pausing, usage_reports, usage_standing
from billing.endings import Outlook
from billing.models import Subscription
from blueprints.billing.base import bp, look_again, own_subscription
from extensions import db, limiter
from web import filters, gates, idempotency

Row = tuple[str, str, str]


class CancelForm(FlaskForm):  # type: ignore[misc]
    """Why somebody leaves; both answers are up to them.

    Left out is left out: WTForms' own Optional lets spaces pass whatever the other validators say.
    """

    reason = RadioField(
        "Why do you leave?",
        choices=[SelectChoice(value, words) for value, words in endings.REASONS.items()],
        validators=[Optional(strip_whitespace=False)],
    )
    comment = TextAreaField(
        "What could be better?",
        validators=[
            Optional(strip_whitespace=False),
            Length(max=endings.MAX_COMMENT, message="Use at most 500 characters."),
        ],
    )


@bp.route("/billing/cancel", methods=["GET", "POST"])
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour", methods=["POST"])
def cancel() -> str | Response | tuple[str, int]:
    """Say what will happen to plan, price and credits, and cancel on one more click."""
    subscription = own_subscription()
    if subscription is None or not endings.may_cancel(subscription):
        return redirect(url_for("billing.index"))
    form = CancelForm()
    if not form.validate_on_submit():
        return _ask(form, subscription, at_once=False)
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


@bp.route("/billing/cancel/now", methods=["GET", "POST"])
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour", methods=["POST"])
def cancel_now() -> str | Response | tuple[str, int]:
    """Say what ending the plan today costs, and end it on one more click."""
    subscription = own_subscription()
    if subscription is None or not endings.may_cancel_now(subscription):
        return redirect(url_for("billing.index"))
    form = CancelForm()
    if not form.validate_on_submit():
        return _ask(form, subscription, at_once=True)
    stripe_id, account_id = subscription.stripe_id, subscription.account_id
    idempotency.key()  # a form of this account, sent at most two days after it was opened
    usage_reports.flush_account(account_id)
    used_cents = usage_standing.coming_cents(db.session(), account_id)
    billed_cents = coming_use.total(db.session(), account_id)
    endings.cancel_now(
        stripe_id, feedback=form.reason.data or "", comment=form.comment.data or "", bills_use=used_cents > 0
    )
    look_again(stripe_id)
    rest = "what you used beyond it is on a last invoice" if billed_cents else "nothing more is charged"
    flash(f"Ended. You are on the free plan now, and {rest}.", "success")
    return redirect(url_for("billing.index"), 303)


def _ask(form: CancelForm, subscription: Subscription, *, at_once: bool) -> str | tuple[str, int]:
    outlook = endings.outlook(db.session(), subscription, at_once=at_once)
    invoice = invoices.open_invoice(db.session(), subscription.stripe_id)
    page = render_template(
        "billing/cancel.html",
        form=form,
        outlook=outlook,
        rows=today_and_then(outlook, subscription),
        at_once=at_once,
        used_cents=coming_use.total(db.session(), subscription.account_id),
        subscription=subscription,
        invoice=invoice,
        may_wait=endings.may_cancel(subscription),
        may_pause=pausing.may_pause(subscription),
    )
    return (page, 422) if form.errors else page


@bp.post("/billing/resume")
@gates.requires(role=ADMIN)
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
    return rows + what_opens_and_closes(plan, free)


def what_opens_and_closes(today: catalog.Plan, then: catalog.Plan) -> list[Row]:
    """Say in which features and limits two plans differ: a name, how it is today, how it will be."""
    rows: list[Row] = []
    for feature in catalog.current().features:
        # A feature with a limit of its name is told by its limit.
        is_told = feature.is_planned or feature.key in today.limits or feature.key in then.limits
        had, has = feature.key in today.features, feature.key in then.features
        if had != has and not is_told:
            rows.append((feature.name, _included(had), _included(has)))
    for limit in {**today.limits, **then.limits}:
        before, after = today.limits.get(limit, 0), then.limits.get(limit, 0)
        if before != after:
            rows.append((limit.replace("_", " ").capitalize(), _allowed(before), _allowed(after)))
    return rows


def _included(is_included: bool) -> str:
    return "Included" if is_included else "Not included"


def _price_words(subscription: Subscription) -> str:
    amount = filters.money(subscription.amount_cents or 0, subscription.currency or "usd")
    current, key = catalog.current(), subscription.price_key
    interval = current.price(key).interval if key and current.has_price(key) else None
    return f"{amount} a {interval}" if interval else amount


def _a_month(credits: int) -> str:
    return f"{filters.number(credits)} a month" if credits else "None"


def _allowed(allowed: int) -> str:
    return "Unlimited" if allowed == -1 else filters.number(allowed)
