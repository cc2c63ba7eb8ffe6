"""Turn what was paid into credits: exactly once, by the keys of the payment itself."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import database
import failpoints
from billing import catalog, plan_grants, plan_periods, subscriptions, sync_queue, trials
from billing.errors import BillingError
from billing.models import Payment, PlanGrant, StripeObject
from billing.periods import add_months
from billing.plan_periods import Period
from billing.subscriptions import instant
from ledger import granting
from ledger.models import Bucket, CreditKind

Json = dict[str, Any]


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
    failpoints.hit("grant.pack")
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


def fulfil_top_up(session: Session, account_id: int, payment: Json) -> None:
    """Grant what a top-up's payment has paid for, as it was promised; called again it changes nothing."""
    promised, charge_id = payment["metadata"], payment["latest_charge"]
    source = f"charge:{charge_id}"
    granting.grant(
        session,
        account_id,
        int(promised["credits"]),
        kind="purchase",
        source=source,
        payment_ref=charge_id,
        note=f"Bought {promised['name']}",
    )
    _record(
        session,
        Payment(
            account_id=account_id,
            stripe_charge_id=charge_id,
            stripe_payment_intent_id=payment["id"],
            kind="pack",
            description=promised["name"],
            grant_source=source,
            amount_cents=payment["amount_received"],
            currency=payment["currency"],
            paid_at=instant(payment["created"]),
        ),
    )


def fulfil_invoice(session: Session, account_id: int, invoice: Json) -> None:
    """Grant the plan credits that a paid invoice covers and record its payments; called again it changes nothing.

    The invoices of one period share its credits by the order in which they were paid, whatever the order in which they
    are heard of: under `earlier` an invoice brings those that were paid before it and are not known yet
    (docs/adr/0007-invoices-in-the-order-of-payment.md).
    """
    if invoice["status"] != "paid":
        return
    for earlier in sorted(invoice.get("earlier", ()), key=plan_periods.order_of_payment):
        fulfil_invoice(session, account_id, earlier)
    source = f"invoice:{invoice['id']}"
    has_granted = _grant_period(session, account_id, invoice, source)
    for paid in (invoice.get("payments") or {}).get("data", []):
        _record_invoice_payment(session, account_id, invoice, paid, source if has_granted else None)


def is_fulfilled(session: Session, invoice_id: str) -> bool:
    """Tell whether an invoice has been applied since it was paid.

    To have been fetched is not enough: while nobody here owned its customer, as after a backup was restored, it was
    stored and brought nothing.
    """
    row = session.get(StripeObject, ("invoice", invoice_id))
    invoice = json.loads(row.body) if row is not None else {"status": "unknown"}
    if invoice["status"] != "paid":
        return False
    return not plan_periods.pays_for_a_plan(invoice) or plan_grants.is_noted(session, invoice)


def credits_of(session: Session, account_id: int, invoice: Json) -> int:
    """Return the credits that paying an invoice brings, whether it is paid or only a preview; changes nothing."""
    period = _period_of(session, invoice)
    return 0 if period is None else _credits_due(session, account_id, period, besides="")


def _period_of(session: Session, invoice: Json) -> Period | None:
    period = plan_periods.of(invoice)
    if period is None or not period.is_part_of_year:
        return period
    began = select(PlanGrant.starts_at).where(PlanGrant.stripe_subscription_id == period.stripe_subscription_id)
    years = [starts_at for starts_at in session.scalars(began) if add_months(starts_at, 12) == period.paid_until]
    return plan_periods.within_year(period, years[0]) if years else period


def _credits_due(session: Session, account_id: int, period: Period, *, besides: str) -> int:
    """Return what is still to be granted for a period after the invoices that were paid before.

    A change within the period (both end on the same day) grants the difference. A change that begins a new period
    (monthly to yearly) takes off the share of the old period's credits whose money Stripe gives back as unused time. So
    does going on after a pause that gave money back, but for what of that share had expired unspent by then. A renewal
    that bills a change of the period before gave money back for another plan's: only what that one has less is taken.
    A change beside a second plan of the same subscription brings what its own lines do.
    """
    if period.difference is not None:
        return max(0, period.difference)
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
            due -= 0 if other.source in trials else _kept_of(session, other, since=period.starts_at, period=period)
        elif not period.is_trial:
            due -= _unused(period.credits, period, since=other.starts_at)
    for since, until, exchanged_for in period.lapsed:
        grants = _lapsed(session, account_id, since, until)
        kept = sum(_kept_of(session, grant, since=since, period=period) for grant in grants)
        longest = min(grants, key=lambda grant: grant.starts_at, default=None)
        due -= max(0, kept - _unused(exchanged_for, longest, since=since)) if longest is not None else 0
    return max(0, due)


def _lapsed(session: Session, account_id: int, since: datetime, until: datetime) -> list[PlanGrant]:
    """Return the grants that were running when money began to come back, and ended with it."""
    query = select(PlanGrant).where(
        PlanGrant.account_id == account_id,
        PlanGrant.stripe_subscription_id.is_not(None),
        PlanGrant.starts_at <= since,
        PlanGrant.ends_at > since,
        PlanGrant.ends_at <= until,
    )
    trials = _trial_sources(session, account_id)
    return [grant for grant in session.scalars(query) if grant.source not in trials]


def _kept_of(session: Session, grant: PlanGrant, *, since: datetime, period: Period) -> int:
    """Return how many credits a customer keeps of the share of a grant whose money comes back.

    What had expired unspent when the new period was bought is gone already, and is not taken a second time.
    """
    query = select(Bucket.expired + Bucket.remaining).where(
        Bucket.account_id == grant.account_id,
        Bucket.source == grant.source,
        Bucket.expires_at <= period.begins_at,
    )
    return max(0, _unused(grant.credits, grant, since=since) - (session.scalar(query) or 0))


def _unused(credits: int, span: Period | PlanGrant, *, since: datetime) -> int:
    return round(credits * ((span.ends_at - since) / (span.ends_at - span.starts_at)))


def _trial_sources(session: Session, account_id: int) -> set[str]:
    return set(session.scalars(select(Bucket.source).where(Bucket.account_id == account_id, Bucket.kind == "trial")))


def _grant_period(session: Session, account_id: int, invoice: Json, source: str) -> bool:
    """Grant what a plan's line pays for; return whether the invoice has credits, granted now or before."""
    known = plan_grants.find(session, account_id, source)
    period = _period_of(session, invoice) if known is None or known.paid_until is None else None
    if known is not None:
        if period is not None:
            plan_grants.note_paid_until(session, known, period.paid_until)
        return known.credits > 0
    if period is None or (period.is_trial and not trials.claim(session, account_id, invoice["trial"])):
        return False
    if period.is_part_of_year and period.stripe_subscription_id:
        _grant_month_before(session, account_id, period, period.stripe_subscription_id)
    grant = PlanGrant(
        account_id=account_id,
        plan_key=period.plan.key,
        stripe_subscription_id=period.stripe_subscription_id,
        stripe_invoice_id=invoice["id"],
        source=source,
        credits=_credits_due(session, account_id, period, besides=source),
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        paid_until=period.paid_until,
    )
    kind, word = (CreditKind.TRIAL, "trial") if period.is_trial else (CreditKind.PLAN, "plan")
    paid_at = instant((invoice.get("status_transitions") or {}).get("paid_at"))
    plan_grants.add(session, grant, kind=kind, note=f"{period.plan.name} {word}", paid_at=paid_at)
    return grant.credits > 0


def _grant_month_before(session: Session, account_id: int, period: Period, stripe_subscription_id: str) -> None:
    """Grant the month that an upgrade of a yearly plan falls into, should no sweep have come since it began."""
    if add_months(period.month_starts_at, 12) == period.paid_until:
        return  # the year's own invoice grants its first month
    plan_grants.add_month(
        session,
        account_id,
        stripe_subscription_id,
        starts_at=period.month_starts_at,
        ends_at=period.ends_at,
        paid_until=period.paid_until,
    )


def _packs_in(checkout_session: Json) -> tuple[int, str]:
    """Return the credits and the name of what was bought: as promised when it was ordered, else by the catalogue."""
    promised = checkout_session.get("metadata") or {}
    if (promised.get("intent") or promised.get("link")) and promised.get("credits"):
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
            description=plan_periods.description_of(invoice),
            grant_source=source,
            amount_cents=invoice_payment["amount_paid"],
            currency=payment["currency"],
            paid_at=instant((invoice_payment.get("status_transitions") or {}).get("paid_at") or payment["created"]),
        ),
    )


def _record(session: Session, payment: Payment) -> None:
    """Store a payment once, and look at its charge afterwards: a refund may have come before the payment's event.

    One that was stored before its credits were known, because the catalogue did not list the price, learns of them.
    """
    values = {c.key: getattr(payment, c.key) for c in Payment.__table__.columns if getattr(payment, c.key) is not None}
    insert = database.insert(session, Payment).values(values)
    insert = insert.on_conflict_do_update(
        index_elements=["stripe_charge_id"],
        set_={"grant_source": insert.excluded.grant_source},
        where=Payment.grant_source.is_(None) & insert.excluded.grant_source.is_not(None),
    )
    is_new = session.execute(insert.returning(Payment.id)).scalar_one_or_none() is not None
    if is_new:
        sync_queue.mark_dirty(session, "charge", payment.stripe_charge_id)
        failpoints.hit("grant.payment")
