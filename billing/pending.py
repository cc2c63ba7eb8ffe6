"""What a subscription waits for, read from our copy of it: a payment for a change, or the day of a planned one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

import clock
from billing import catalog, subscriptions
from billing.models import StripeObject
from billing.subscriptions import instant

Json = dict[str, Any]


@dataclass(frozen=True)
class Unpaid:
    """A change that is made as soon as its invoice is paid, and forgotten at `expires_at`; amounts in cents."""

    plan: catalog.Plan
    stripe_invoice_id: str
    hosted_url: str | None
    amount_due_cents: int
    currency: str
    expires_at: datetime


@dataclass(frozen=True)
class Planned:
    """A change that happens by itself when a paid period ends; the amount in cents is the planned price's at Stripe.

    `is_new_price` tells that the plan stays and its price moves, which is the seller's doing and not the customer's.
    """

    plan: catalog.Plan
    price: catalog.Price
    amount_cents: int
    stripe_schedule_id: str
    at: datetime
    is_new_price: bool


def unpaid_change(session: Session, stripe_subscription_id: str) -> Unpaid | None:
    """Find the change that waits for its payment."""
    body = _mirrored(session, stripe_subscription_id)
    update, invoice = body.get("pending_update"), body.get("latest_invoice")
    if not update or not isinstance(invoice, dict) or invoice["status"] != "open":
        return None
    price = price_of_plan(item["price"] for item in update.get("subscription_items") or [])
    expires_at = instant(update["expires_at"])
    if price is None or expires_at is None or expires_at <= clock.now():
        return None
    return Unpaid(
        plan=_plan(price),
        stripe_invoice_id=invoice["id"],
        hosted_url=invoice.get("hosted_invoice_url"),
        amount_due_cents=invoice["amount_due"],
        currency=invoice["currency"],
        expires_at=expires_at,
    )


def planned_change(session: Session, stripe_subscription_id: str) -> Planned | None:
    """Find the change that is planned for the end of the period, by us or in the Customer Portal."""
    body = _mirrored(session, stripe_subscription_id)
    schedule = body.get("schedule")
    if not isinstance(schedule, dict) or schedule["status"] not in {"active", "not_started"}:
        return None
    for phase in schedule["phases"]:
        at = instant(phase["start_date"])
        price = price_of_plan(item["price"] for item in phase["items"])
        if at is not None and at > clock.now() and price is not None:
            amount_cents = _amount_cents(phase, price)
            is_new_price = price_of_plan(item["price"] for item in body["items"]["data"]) == price
            return Planned(_plan(price), price, amount_cents, schedule["id"], at, is_new_price)
    return None


def open_intent(invoice: Json) -> Json:
    """Return the payment intent by which a fetched invoice is to be paid; empty when it has none."""
    payments = (invoice.get("payments") or {}).get("data", [])
    intents = (p["payment"].get("payment_intent") for p in payments if p["status"] == "open")
    return next((intent for intent in intents if isinstance(intent, dict)), {})


def wants_customer(intent: Json) -> bool:
    """Tell whether a payment waits for the customer to prove to the bank who they are.

    Of a charge made in their absence Stripe says so by the error, and asks for a payment method again.
    """
    error = intent.get("last_payment_error") or {}
    return intent.get("status") == "requires_action" or error.get("code") == "authentication_required"


def _mirrored(session: Session, stripe_subscription_id: str) -> Json:
    row = session.get(StripeObject, ("subscription", stripe_subscription_id))
    body: Json = json.loads(row.body) if row else {}
    return body


def price_of_plan(stripe_prices: Iterable[Any]) -> catalog.Price | None:
    """Return the catalogue's price that pays for a plan among some fetched whole ones; None when there is none."""
    current = catalog.current()
    for stripe_price in stripe_prices:
        key = subscriptions.price_key_of(stripe_price) if isinstance(stripe_price, dict) else None
        if key and isinstance(_offer(key), catalog.Plan):
            return current.price(key)
    return None


def _amount_cents(phase: Json, price: catalog.Price) -> int:
    """Return what a period of a phase costs: a planned price stays what it was, whatever the catalogue asks today."""
    item = next(item for item in phase["items"] if subscriptions.price_key_of(item["price"]) == price.key)
    amount = item["price"].get("unit_amount")
    return (price.amount_cents if amount is None else int(amount)) * (item.get("quantity") or 1)


def _offer(price_key: str) -> catalog.Plan | catalog.Pack | None:
    try:
        return catalog.current().offer(price_key)
    except catalog.UnknownOffer:  # a metered price beside the plan's own
        return None


def _plan(price: catalog.Price) -> catalog.Plan:
    offer = catalog.current().offer(price.key)
    if not isinstance(offer, catalog.Plan):
        raise catalog.UnknownOffer(price.key)
    return offer
