"""Charge what a subscription owes to the card that its owner put in the place of the one that was refused.

Stripe tries an open invoice again on days of its own. Whoever has just given another card wants it settled now: the
worker charges it, once per invoice and card, whichever page or event brought the new card to light.

Checkout gives a subscription a card of its own, which wins over the customer's default; the portal changes that
default. So a default that is newer than the subscription's own card takes its place.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

import failpoints
from billing import access, errors, gateway, invoices, pending, stripe_life
from billing.models import Status, StripeObject, Subscription

Json = dict[str, Any]

OWING = frozenset({Status.PAST_DUE, Status.UNPAID})
# An invoice of a change or a resumption has a page of its own that asks for the money.
COLLECTED = frozenset({"subscription_cycle"})


def due(session: Session, subscription: Subscription) -> str | None:
    """Name the open invoice that another card than the one refused is to pay, and that card; None when there is none.

    The name is that of the sync's task, so that each invoice is charged to each card by one task only.
    """
    if subscription.stripe_status not in OWING or subscription.payment_method_id is None:
        return None
    invoice = invoices.open_invoice(session, subscription.stripe_id)
    if invoice is None or invoice.reason not in COLLECTED or invoice.refused_method_id is None:
        return None
    if invoice.refused_method_id == subscription.payment_method_id:
        return None
    return f"{invoice.stripe_id}:{subscription.payment_method_id}"


def newer_card(stripe_subscription: Json) -> str | None:
    """Name a fetched subscription and the card that its owner made the default after its own; None without one."""
    own, chosen = stripe_subscription.get("default_payment_method"), stripe_subscription.get("customers_method")
    if not own or not chosen or own["id"] == chosen["id"] or chosen["created"] <= own["created"]:
        return None
    return f"{stripe_subscription['id']}:{chosen['id']}"


def known_newer_card(session: Session, stripe_subscription_id: str) -> str | None:
    """Name the same by our copy of the subscription."""
    row = session.get(StripeObject, ("subscription", stripe_subscription_id))
    return newer_card(json.loads(row.body)) if row else None


def invoice_of(name: str) -> str:
    """Return the id of the invoice in a task's name."""
    return name.partition(":")[0]


def collect(name: str, quick: bool) -> Json:
    """Charge an open invoice to a card, while that is the present one and was not refused; return what it is about.

    The idempotency key is the invoice and the card, so that a worker and a page at the same moment charge once. A
    refusal is no failure of this step: the invoice, fetched afterwards, tells of it. Of a subscription and a card, the
    one is charged to the other from now on.
    """
    if name.startswith("sub_"):
        return _follow(name, quick)
    invoice_id, _, method_id = name.partition(":")
    invoice = gateway.retrieve_invoice(invoice_id, quick=quick)
    subscription_id = invoices.subscription_of(invoice) or ""
    subscription = gateway.retrieve_subscription(subscription_id, quick=quick)
    present = (subscription["charged_to"] or {}).get("id")
    refused = (pending.open_intent(invoice).get("last_payment_error") or {}).get("payment_method") or {}
    is_due = invoice["status"] == "open" and subscription["status"] in OWING and refused
    outcome = "left"
    if is_due and method_id == present != refused["id"]:
        try:
            stripe_life.pay_invoice(invoice_id, method_id, idempotency_key=f"collect:{name}")
            outcome = "paid"
            failpoints.hit("collect.paid")
        except errors.StripeRefused:
            outcome = "refused"
    return {
        "id": name,
        "customer": subscription["customer"],
        "invoice": invoice_id,
        "subscription": subscription_id,
        "outcome": outcome,
    }


def _follow(name: str, quick: bool) -> Json:
    subscription_id, _, method_id = name.partition(":")
    subscription = gateway.retrieve_subscription(subscription_id, quick=quick)
    is_due = newer_card(subscription) == name and subscription["status"] in access.LIVE
    if is_due:
        gateway.update_subscription(
            subscription_id, {"default_payment_method": method_id}, idempotency_key=f"collect:{name}"
        )
    return {
        "id": name,
        "customer": subscription["customer"],
        "invoice": None,
        "subscription": subscription_id,
        "outcome": "followed" if is_due else "left",
    }
