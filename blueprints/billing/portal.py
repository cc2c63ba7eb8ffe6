"""To Stripe's Customer Portal, or to one page of it, and back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import current_app, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from accounts.models import ADMIN
from billing import collecting, customers, errors, stripe_catalog, stripe_life, sync
from billing.models import Subscription
from blueprints.billing.base import bp, look_again, own_subscription
from config import Config
from extensions import db, limiter
from web import gates
from web.current import current_account

# The pages of the portal that one can go to directly; the last two are about a subscription.
UPDATE_CARD, CANCEL, CHANGE = "payment_method_update", "subscription_cancel", "subscription_update"
FLOWS = (UPDATE_CARD, CANCEL, CHANGE)


@bp.post("/billing/portal")
@gates.requires(role=ADMIN)
@limiter.limit("30 per hour")
def portal() -> Response:
    """Send the person to Stripe's Customer Portal; `flow` names one page of it."""
    customer_id = current_account().stripe_customer_id
    if customer_id is None:
        raise errors.NoCustomer
    asked, subscription = request.form.get("flow"), own_subscription()
    if asked in (CANCEL, CHANGE) and subscription is None:
        flash("You have no subscription that this is about.", "warning")
        return redirect(url_for("billing.index"), 303)
    pushed = stripe_catalog.portal_configuration_id()
    try:
        flow = _flow(asked, subscription)
        url = stripe_life.open_portal(customer_id, return_url=_back(), configuration=pushed, flow=flow)
    except errors.StripeRefused as refused:
        if isinstance(refused, errors.StripeObjectMissing) and customers.retire_lost(current_account().id, customer_id):
            raise errors.NoCustomer from refused
        if asked != CHANGE:
            raise
        # Plans are changed on this site, which shows what that does to credits, unless the portal was told to.
        return redirect(url_for("billing.change"), 303)
    return redirect(url, 303)


@bp.get("/billing/portal/return")
@gates.requires(role=ADMIN)
@limiter.limit("60 per hour; 12 per minute")
def portal_return() -> Response:
    """Look again at what a portal visit may have changed, and go on to the billing page.

    It runs the worker's own steps, the charge of a new card for what is owed among them.
    """
    subscription = own_subscription()
    if subscription is not None:
        stripe_id = subscription.stripe_id
        look_again(stripe_id)
        _follow(stripe_id)
        _settle(stripe_id)
    return redirect(url_for("billing.index"))


def _follow(stripe_subscription_id: str) -> None:
    """Have the subscription charged to a card that was made the default in the portal."""
    newer = collecting.known_newer_card(db.session(), stripe_subscription_id)
    if newer is None:
        return
    with suppress(errors.BillingError):  # the worker goes on with it
        sync.run_now("collection", newer)
    look_again(stripe_subscription_id)


def _settle(stripe_subscription_id: str) -> None:
    """Charge a new card for what the old one did not pay, at once: somebody waits for it."""
    subscription = db.session.get(Subscription, stripe_subscription_id)
    due = collecting.due(db.session(), subscription) if subscription else None
    if due is None:
        return
    with suppress(errors.BillingError):  # the worker goes on with it
        sync.run_now("collection", due)
        sync.run_now("invoice", collecting.invoice_of(due))
    look_again(stripe_subscription_id)
    after = db.session.get(Subscription, stripe_subscription_id)
    if after is not None and after.stripe_status not in collecting.OWING:
        flash("Your new card has paid the open invoice. Everything is as it was.", "success")
    else:
        flash("Your new card is saved, but the open invoice is not paid yet. This page shows what to do.", "warning")


def _flow(asked: str | None, subscription: Subscription | None) -> dict[str, Any] | None:
    if asked not in FLOWS:
        return None
    after = {"type": "redirect", "redirect": {"return_url": _back()}}
    flow: dict[str, Any] = {"type": asked, "after_completion": after}
    if asked != UPDATE_CARD and subscription is not None:
        flow[asked] = {"subscription": subscription.stripe_id}
    return flow


def _back() -> str:
    config: Config = current_app.config["TOLLGATE"]
    return f"{config.app_base_url}{url_for('billing.portal_return')}"
