"""Paying: the order page, the way to Stripe's pages and back, and what the account has paid for."""

from __future__ import annotations

from flask import abort, current_app, redirect, render_template, request, url_for
from flask_limiter.util import get_remote_address
from sqlalchemy import select
from werkzeug.wrappers import Response

from billing import (
    access,
    catalog,
    checkout,
    endings,
    errors,
    gateway,
    outcomes,
    pending,
    plan_changes,
    stripe_catalog,
    subscriptions,
)
from billing.models import Payment, Subscription
from blueprints.billing import cancelling, changing
from blueprints.billing.base import bp, look_again, own_subscription
from config import Config
from extensions import db, limiter
from ledger import statement
from web import filters, gates
from web.current import current_account, find_current_account

__all__ = ["bp", "cancelling", "changing"]


def buyer() -> str:
    """Return what checkouts are counted by: the account, or the address of somebody who is not signed in."""
    account = find_current_account()
    return f"account:{account.id}" if account else get_remote_address()


@bp.get("/billing")
@gates.requires()
def index() -> str:
    """Show the plan in words, the way to the portal, and the payments."""
    account_id = current_account().id
    session = db.session()
    subscription = subscriptions.latest(session, account_id)
    payments = session.scalars(
        select(Payment).where(Payment.account_id == account_id).order_by(Payment.paid_at.desc()).limit(50)
    ).all()
    return render_template(
        "billing/index.html",
        subscription=subscription,
        price=_price_of(subscription),
        sentence=_in_words(subscription),
        plan=access.plan_of(session, account_id),
        bought=_plan_bought(subscription),
        balance=statement.balance(session, account_id),
        payments=payments,
        planned=pending.planned_change(session, subscription.stripe_id) if subscription else None,
        unpaid=pending.unpaid_change(session, subscription.stripe_id) if subscription else None,
        may_change=plan_changes.obstacle_to_any(subscription) is None,
        may_cancel=endings.may_cancel(subscription),
        may_resume=endings.may_resume(subscription),
        has_customer=current_account().stripe_customer_id is not None,
    )


@bp.get("/pricing/checkout/<price_key>")
@gates.requires()
def order(price_key: str) -> str | Response:
    """Show what is about to be bought, and one button: where people land who had to sign up first."""
    try:
        offer = checkout.describe(db.session(), current_account().id, price_key)
    except errors.AlreadySubscribed:
        return redirect(url_for("billing.index"))
    return render_template("billing/order.html", offer=offer, thing=catalog.current().offer(price_key))


@bp.post("/pricing/checkout/<price_key>")
@gates.public
@limiter.limit("30 per hour; 6 per minute", key_func=buyer)
def start_checkout(price_key: str) -> Response:
    """Send the person to Stripe's Checkout for a catalogue key; whoever is not signed in signs up first."""
    catalog.current().for_sale(price_key)
    account = find_current_account()
    if account is None:
        return redirect(url_for("auth.register", next=url_for("billing.order", price_key=price_key)), 303)
    try:
        url = checkout.start(account.id, price_key, base_url=_config().app_base_url)
    except errors.AlreadySubscribed:
        return redirect(url_for("billing.index"), 303)
    except errors.AlreadyPaid as paid:
        return redirect(url_for("billing.success", session_id=paid.stripe_session_id), 303)
    return redirect(url, 303)


@bp.get("/billing/success")
@gates.requires()
@limiter.limit("60 per minute")
def success() -> str:
    """Tell the truth about a checkout of one's own: paid, being confirmed, not paid.

    It asks Stripe the same way as the worker does and grants nothing by itself, so that opening it again, or by
    somebody else, changes nothing.
    """
    account_id = current_account().id
    session_id = request.args.get("session_id", "")
    intent = checkout.find_intent(db.session(), account_id, session_id)
    if intent is None:
        abort(404)
    is_fresh = outcomes.bring_in_line(session_id)
    db.session.refresh(intent)
    return render_template(
        "billing/success.html",
        outcome=outcomes.of(db.session(), intent, is_fresh=is_fresh),
        balance=statement.balance(db.session(), account_id),
    )


@bp.post("/billing/portal")
@gates.requires()
@limiter.limit("30 per hour")
def portal() -> Response:
    """Send the person to Stripe's Customer Portal."""
    customer_id = current_account().stripe_customer_id
    if customer_id is None:
        raise errors.NoCustomer
    back = f"{_config().app_base_url}{url_for('billing.portal_return')}"
    pushed = stripe_catalog.portal_configuration_id()
    return redirect(gateway.create_portal_session(customer_id, return_url=back, configuration=pushed)["url"], 303)


@bp.get("/billing/portal/return")
@gates.requires()
def portal_return() -> Response:
    """Look at the subscription again, because a portal visit may have changed it, and go on to the billing page."""
    subscription = own_subscription()
    if subscription is not None:
        look_again(subscription.stripe_id)
    return redirect(url_for("billing.index"))


def _in_words(subscription: Subscription | None) -> str:
    """Say the subscription in one sentence, such as "Pro, monthly, renews on 21 December 2026 for $30.00."."""
    price = _price_of(subscription)
    if subscription is None or price is None or not subscription.is_primary:
        return "You are on the free plan."
    name = catalog.current().offer(price.key).name
    rhythm = {"month": "monthly", "year": "yearly"}.get(price.interval or "", "")
    if subscription.cancels_at:
        return f"{name}, {rhythm}, ends on {filters.day(subscription.cancels_at)}."
    if subscription.period_ends_at is None:
        return f"{name}, {rhythm}."
    renewal = f"{name}, {rhythm}, renews on {filters.day(subscription.period_ends_at)}"
    if subscription.amount_cents is None:
        return f"{renewal}."
    # A subscriber keeps the price of the day, whatever the catalogue asks for now.
    return f"{renewal} for {filters.money(subscription.amount_cents, subscription.currency or price.currency)}."


def _plan_bought(subscription: Subscription | None) -> catalog.Plan | None:
    """Return the plan that a subscription is for, whether it is open at present or not."""
    price = _price_of(subscription)
    offer = catalog.current().offer(price.key) if price else None
    return offer if isinstance(offer, catalog.Plan) else None


def _price_of(subscription: Subscription | None) -> catalog.Price | None:
    if subscription is None or subscription.price_key is None:
        return None
    current = catalog.current()
    return current.price(subscription.price_key) if current.has_price(subscription.price_key) else None


def _config() -> Config:
    config: Config = current_app.config["TOLLGATE"]
    return config
