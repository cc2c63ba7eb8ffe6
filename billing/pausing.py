"""Pause a subscription and go on with it; what it means for money, access and credits is said before.

Stripe's own pause is used, without credit for unused time: what was paid for stays open until its last day, then the
free plan takes over and nothing is charged until somebody goes on. Why: docs/adr/0008-a-pause-keeps-what-was-paid.md
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import clock
import failpoints
from billing import catalog, fulfilment, gateway, invoice_history, pending, stripe_life, subscriptions
from billing.errors import BillingError
from billing.models import Status, Subscription
from billing.subscriptions import PAID_UNTIL, instant
from extensions import db

Json = dict[str, Any]


class NothingToPause(BillingError):
    """The subscription is not one that can be paused, or not one that can go on, as things stand at Stripe."""

    status = 409


@dataclass(frozen=True)
class Restart:
    """What going on costs, in cents: nothing while the paid period lasts (`is_free`), else a new period's price.

    `credits` come with what is paid; `until` is when the period ends that is then paid for, None when only Stripe will
    know.
    """

    stripe_subscription_id: str
    due_cents: int
    currency: str
    credits: int
    until: datetime | None
    is_free: bool


def may_pause(subscription: Subscription | None) -> bool:
    """Tell whether a subscription can be paused: it is paid, goes on by itself, and waits for no payment."""
    return (
        subscription is not None
        and subscription.stripe_status == Status.ACTIVE
        and subscription.cancels_at is None
        and subscription.period_ends_at is not None
    )


def may_go_on(subscription: Subscription | None) -> bool:
    """Tell whether a subscription is paused."""
    return subscription is not None and subscription.stripe_status == Status.PAUSED


def pause(stripe_subscription_id: str, *, key: str) -> None:
    """Pause a subscription now; one that is paused already is left alone.

    A planned change of plan is given up first, because Stripe pauses nothing that a schedule manages. Raises
    NothingToPause and errors.StripeError.
    """
    fresh = gateway.retrieve_subscription(stripe_subscription_id)
    if fresh["status"] == Status.PAUSED:
        return
    if fresh["status"] != Status.ACTIVE or fresh.get("cancel_at") or fresh.get("cancel_at_period_end"):
        raise NothingToPause(f"{stripe_subscription_id} is {fresh['status']}")
    if fresh.get("schedule"):
        gateway.release_schedule(fresh["schedule"]["id"], idempotency_key=f"{key}:release")
    paid_until = str(subscriptions.plan_item(fresh)["current_period_end"])  # use is billed by the month
    gateway.update_subscription(
        stripe_subscription_id, {"metadata": {PAID_UNTIL: paid_until}}, idempotency_key=f"{key}:note"
    )
    failpoints.hit("pause.noted")
    # With Stripe's default the time that is left becomes credit, and closing the plan at once would be its price.
    bill_for = {"unused_time_from": {"type": "none"}, "outstanding_usage_through": {"type": "now"}}
    stripe_life.pause(
        stripe_subscription_id,
        {"type": "subscription", "bill_for": bill_for, "invoicing_behavior": "invoice"},
        idempotency_key=key,
    )
    failpoints.hit("pause.asked")


def quote(subscription: Subscription) -> Restart:
    """Ask Stripe what going on costs now; changes nothing. Raises errors.StripeError."""
    stripe_id, currency = subscription.stripe_id, subscription.currency or catalog.current().currency
    if _is_paid_for(subscription.open_until):
        return Restart(stripe_id, 0, currency, 0, subscription.open_until, is_free=True)
    bill = gateway.preview_change(stripe_id, {"resume_at": "now", "billing_cycle_anchor": {"type": "now"}})
    bill["returned"] = invoice_history.returned_to(stripe_id)
    ends = [instant(line["period"]["end"]) for line in bill["lines"]["data"] if line["amount"] >= 0]
    return Restart(
        stripe_id,
        bill["amount_due"],
        bill["currency"],
        fulfilment.credits_of(db.session(), subscription.account_id, bill),
        max((end for end in ends if end), default=None),
        is_free=False,
    )


def go_on(quoted: Restart, *, key: str) -> Json | None:
    """Resume a paused subscription as quoted; return the invoice that waits for its payment, None when it goes on.

    It stays paused until what it costs is paid. Raises errors.StripeError, CardDeclined among them.
    """
    fresh = gateway.retrieve_subscription(quoted.stripe_subscription_id)
    if fresh["status"] == Status.PAUSED:
        how: Json = {"payment_behavior": "resume_on_payment_success"}
        if quoted.is_free:
            how |= {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"}
        else:
            how["billing_cycle_anchor"] = {"type": "now"}
        stripe_life.resume(quoted.stripe_subscription_id, how, idempotency_key=key)
        failpoints.hit("pause.ended")
        fresh = gateway.retrieve_subscription(quoted.stripe_subscription_id)
    if fresh["status"] == Status.PAUSED:
        return gateway.retrieve_invoice(fresh["latest_invoice"]["id"])
    if (fresh.get("metadata") or {}).get(PAID_UNTIL):
        # A later pause that gives money back must not find it.
        gateway.update_subscription(
            quoted.stripe_subscription_id, {"metadata": {PAID_UNTIL: ""}}, idempotency_key=f"{key}:forget"
        )
        failpoints.hit("pause.forgotten")
    return None


def refusal_of(invoice: Json) -> str | None:
    """Say in the bank's words why a resumption's invoice is unpaid; None when the bank wants to see the customer."""
    intent = pending.open_intent(invoice)
    if pending.wants_customer(intent):
        return None
    return (intent.get("last_payment_error") or {}).get("message") or "The card was declined."


def _is_paid_for(until: datetime | None) -> bool:
    return until is not None and clock.now() < until
