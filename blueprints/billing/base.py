"""The blueprint that every page of billing hangs on, and what these pages share."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint

from billing import access, errors, sync
from billing.models import Subscription
from extensions import db
from web.current import current_account

bp = Blueprint("billing", __name__)


def own_subscription() -> Subscription | None:
    """Find the subscription that the signed-in person's account lives by."""
    return access.subscription_of(db.session(), current_account().id)


def look_again(stripe_subscription_id: str, stripe_invoice_id: str | None = None) -> None:
    """Bring a subscription, and an invoice of it, in line with Stripe before the next page is shown.

    The worker goes on where this fails.
    """
    with suppress(errors.BillingError):
        sync.run_now("subscription", stripe_subscription_id)
        if stripe_invoice_id:
            sync.run_now("invoice", stripe_invoice_id)
