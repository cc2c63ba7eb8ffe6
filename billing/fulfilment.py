"""Turn what was paid into credits: exactly once, by the keys of the payment itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from billing import catalog, subscriptions, sync_queue
from billing.errors import BillingError
from billing.models import Payment, PlanGrant
from billing.periods import add_months, months_between
from billing.subscriptions import instant
from ledger import granting
from ledger.models import Bucket

Json = dict[str, Any]
log = structlog.get_logger(__name__)


class UnknownPurchase(BillingError):
    """Somebody paid through our checkout for something that the catalogue does not list any more."""

    status = 500


def fulfil_session(session: Session, account_id: int, checkout_session: Json) -> None:
    """Grant the packs of a Checkout session in payment mode, once it is paid; called again it changes nothing.

    A session can be complete and not yet paid (bank debits): then nothing happens until Stripe says that it is.
    """
    if checkout_session["mode"] != "payment" or checkout_session["payment_status"] == "unpaid":
        return
    credits, names = _packs_in(checkout_session)
    if credits == 0:
        return
    payment = _payment_intent(checkout_session)
    charge_id = payment.get("latest_charge") if payment else None
    source = f"charge:{charge_id}" if charge_id else f"session:{checkout_session['id']}"
    granting.grant(
        session, account_id, credits, kind="purchase", source=source, payment_ref=charge_id, note=f"Bought {names}"
    )
    if payment and charge_id:
        _record(
            session,
            Payment(
                account_id=account_id,
                stripe_charge_id=charge_id,
                stripe_payment_intent_id=payment["id"],
                stripe_checkout_session_id=checkout_session["id"],
                kind="pack",
                description=names,
                grant_source=source,
                amount_cents=payment["amount_received"],
                currency=payment["currency"],
                paid_at=instant(payment["created"]),
            ),
        )


def fulfil_invoice(session: Session, account_id: int, invoice: Json) -> None:
    """Grant the plan credits that a paid invoice covers and record its payments; called again it changes nothing."""
    if invoice["status"] != "paid":
        return
    line = _plan_line(invoice)
    source = f"invoice:{invoice['id']}"
    has_granted = line is not None and _grant_period(session, account_id, invoice, line, source)
    for paid in (invoice.get("payments") or {}).get("data", []):
        _record_invoice_payment(session, account_id, invoice, paid, source if has_granted else None)


def credits_of(session: Session, account_id: int, invoice: Json) -> int:
    """Return the credits that paying an invoice brings, whether it is paid or only a preview; changes nothing."""
    line = _plan_line(invoice)
    period = _period_of(invoice, line) if line else None
    return 0 if period is None else _credits_due(session, account_id, period, besides="")


def expires_at(period_ends_at: datetime) -> datetime:
    """Return when plan credits expire: some grace after their period, so that a late renewal punishes nobody."""
    return period_ends_at + timedelta(hours=catalog.current().policies.plan_credit_grace_hours)


@dataclass(frozen=True)
class _Period:
    """What a plan's line of an invoice pays for: `credits` of a plan from an instant to another."""

    plan: catalog.Plan
    stripe_subscription_id: str | None
    credits: int
    is_trial: bool
    starts_at: datetime
    ends_at: datetime


def _period_of(invoice: Json, line: Json) -> _Period | None:
    price_key, plan = _plan_of_line(line)
    starts_at, ends_at = instant(line["period"]["start"]), instant(line["period"]["end"])
    if plan is None or price_key is None or starts_at is None or ends_at is None or plan.credits == 0:
        return None
    price = catalog.current().price(price_key)
    unused = [instant(other["period"]["start"]) for other in invoice["lines"]["data"] if other["amount"] < 0]
    return _Period(
        plan=plan,
        stripe_subscription_id=_subscription_of(invoice),
        credits=plan.credits * (line.get("quantity") or 1),
        is_trial=line["amount"] == 0 and price.amount_cents > 0,
        # The old period ends for the customer where its money comes back, minutes before a new one begins.
        starts_at=min([starts_at, *(since for since in unused if since)]),
        ends_at=_month_of_year_ends(starts_at, ends_at) if price.interval == "year" else ends_at,
    )


def _month_of_year_ends(starts_at: datetime, year_ends_at: datetime) -> datetime:
    """Return when the allowance ends that holds an instant of a yearly period: yearly plans still grant monthly."""
    is_whole = add_months(starts_at, 12) == year_ends_at
    year_starts_at = starts_at if is_whole else add_months(year_ends_at, -12)  # an upgrade's line is the year's rest
    month = months_between(year_starts_at, starts_at)
    return min(add_months(year_starts_at, month + 1), year_ends_at)


def _credits_due(session: Session, account_id: int, period: _Period, *, besides: str) -> int:
    """Return what is still to be granted for a period, whichever of its invoices comes first.

    A change within the period (both end on the same day) grants the difference. A change that begins a new period
    (monthly to yearly) takes off the share of the old period's credits whose money Stripe gives back as unused time.
    """
    query = select(PlanGrant).where(
        PlanGrant.account_id == account_id,
        PlanGrant.stripe_subscription_id == period.stripe_subscription_id,
        PlanGrant.starts_at < period.ends_at,
        PlanGrant.ends_at > period.starts_at,
        PlanGrant.source != besides,
    )
    others = session.scalars(query).all()
    trials = _trial_sources(session, account_id) if others else set()
    due = period.credits - sum(g.credits for g in others if g.ends_at == period.ends_at)
    for other in others:
        if other.ends_at == period.ends_at:
            continue
        if other.starts_at <= period.starts_at:
            due -= 0 if other.source in trials else _unused(other.credits, other, since=period.starts_at)
        elif not period.is_trial:
            due -= _unused(period.credits, period, since=other.starts_at)
    return max(0, due)


def _unused(credits: int, span: _Period | PlanGrant, *, since: datetime) -> int:
    return round(credits * ((span.ends_at - since) / (span.ends_at - span.starts_at)))


def _trial_sources(session: Session, account_id: int) -> set[str]:
    return set(session.scalars(select(Bucket.source).where(Bucket.account_id == account_id, Bucket.kind == "trial")))


def _grant_period(session: Session, account_id: int, invoice: Json, line: Json, source: str) -> bool:
    """Grant what a plan's line pays for; return whether the invoice has a grant, made now or before."""
    period = _period_of(invoice, line)
    credits = _credits_due(session, account_id, period, besides=source) if period else 0
    if period is None or credits == 0:
        return False
    granted = granting.grant(
        session,
        account_id,
        credits,
        kind="trial" if period.is_trial else "plan",
        source=source,
        expires_at=expires_at(period.ends_at),
        payment_ref=invoice["id"],
        note=f"{period.plan.name} trial" if period.is_trial else f"{period.plan.name} plan",
    )
    if granted.created:
        session.add(
            PlanGrant(
                account_id=account_id,
                plan_key=period.plan.key,
                stripe_subscription_id=period.stripe_subscription_id,
                stripe_invoice_id=invoice["id"],
                source=source,
                credits=credits,
                starts_at=period.starts_at,
                ends_at=period.ends_at,
            )
        )
        session.flush()
    return True


def _plan_line(invoice: Json) -> Json | None:
    """Find the line that pays for a plan's period: of an upgrade's lines, the charge and not the credit."""
    if _subscription_of(invoice) is None:
        return None
    lines = [line for line in invoice["lines"]["data"] if _plan_of_line(line)[1] is not None and line["amount"] >= 0]
    return max(lines, key=lambda line: (line["period"]["end"], line["amount"]), default=None)


def _plan_of_line(line: Json) -> tuple[str | None, catalog.Plan | None]:
    parent = line.get("parent") or {}
    # What an upgrade charges for the rest of a period is an invoice item made by its subscription.
    is_proration = (parent.get("invoice_item_details") or {}).get("proration", False)
    if parent.get("type") != "subscription_item_details" and not is_proration:
        return None, None
    price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    price_key = subscriptions.price_key_of(price) if isinstance(price, dict) else None
    offer = catalog.current().offer(price_key) if price_key else None
    return price_key, offer if isinstance(offer, catalog.Plan) else None


def _subscription_of(invoice: Json) -> str | None:
    parent = invoice.get("parent") or {}
    details = parent.get("subscription_details") or {}
    found = details.get("subscription")
    return found["id"] if isinstance(found, dict) else found


def _packs_in(checkout_session: Json) -> tuple[int, str]:
    """Return the credits and the name of what was bought: as promised when it was ordered, else by the catalogue."""
    promised = checkout_session.get("metadata") or {}
    if promised.get("intent") and promised.get("credits"):
        return int(promised["credits"]), promised["name"]
    credits, names = 0, []
    for line in checkout_session["line_items"]["data"]:
        price_key = subscriptions.price_key_of(line["price"])
        offer = catalog.current().offer(price_key) if price_key else None
        if isinstance(offer, catalog.Pack):
            credits += offer.credits * line["quantity"]
            names.append(offer.name)
    if not names and checkout_session.get("client_reference_id"):
        raise UnknownPurchase(f"{checkout_session['id']} paid for nothing that the catalogue lists")
    return credits, ", ".join(names)


def _payment_intent(checkout_session: Json) -> Json | None:
    payment = checkout_session.get("payment_intent")
    return payment if isinstance(payment, dict) else None


def _record_invoice_payment(
    session: Session, account_id: int, invoice: Json, invoice_payment: Json, source: str | None
) -> None:
    payment = invoice_payment["payment"].get("payment_intent")
    if invoice_payment["status"] != "paid" or not isinstance(payment, dict) or not payment.get("latest_charge"):
        return  # paid from the customer's balance or outside Stripe: no charge, so nothing to refund or dispute
    _record(
        session,
        Payment(
            account_id=account_id,
            stripe_charge_id=payment["latest_charge"],
            stripe_payment_intent_id=payment["id"],
            stripe_invoice_id=invoice["id"],
            kind="subscription",
            description=_description(invoice),
            grant_source=source,
            amount_cents=invoice_payment["amount_paid"],
            currency=payment["currency"],
            paid_at=instant((invoice_payment.get("status_transitions") or {}).get("paid_at") or payment["created"]),
        ),
    )


def _description(invoice: Json) -> str:
    line = _plan_line(invoice) or next(iter(invoice["lines"]["data"]), {})
    return line.get("description") or "Subscription"


def _record(session: Session, payment: Payment) -> None:
    """Store a payment once, and look at its charge afterwards: a refund may have come before the payment's event."""
    values = {c.key: getattr(payment, c.key) for c in Payment.__table__.columns if getattr(payment, c.key) is not None}
    insert = (
        database.insert(session, Payment).values(values).on_conflict_do_nothing(index_elements=["stripe_charge_id"])
    )
    is_new = session.execute(insert.returning(Payment.id)).scalar_one_or_none() is not None
    if is_new:
        sync_queue.mark_dirty(session, "charge", payment.stripe_charge_id)
