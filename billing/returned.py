"""What of a grant's payments went back, and how many credits that takes along.

Paid is what came from cards, from the customer's balance at Stripe and outside Stripe together; back goes what is
refunded, what is disputed, what credit notes give back to the balance or outside Stripe, and what the balance gets for
unused time when a subscription is ended with a prorated credit. The share of the credits is the share of the money, so
no part of a payment takes along what another part has paid for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased

from billing import plan_periods
from billing.models import Invoice, Payment, PlanGrant, StripeObject, Subscription
from billing.reversals import Dispute
from ledger import clawback, granting

# While the bank decides, the money is gone; an inquiry (warning_*) has moved none yet.
DISPUTED = frozenset({"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"})
UNDECIDED = DISPUTED - {"lost"}
INQUIRIES = frozenset({"warning_needs_response", "warning_under_review", "warning_closed"})
CLOSED = frozenset({"won", "lost", "warning_closed", "prevented"})


def sources_of(session: Session, payment: Payment) -> list[str]:
    """List the grants that follow a payment: its own, and the later months of the year that its invoice paid for."""
    own = [payment.grant_source] if payment.grant_source is not None else []
    if payment.stripe_invoice_id is None:
        return own
    return [*own, *_months_of(session, payment.account_id, payment.stripe_invoice_id)]


def sources_of_invoice(session: Session, account_id: int, stripe_invoice_id: str) -> list[str]:
    """List the grants that an invoice paid for, from whatever source: its own, and the later months of its year."""
    own = select(PlanGrant.source).where(
        PlanGrant.account_id == account_id, PlanGrant.stripe_invoice_id == stripe_invoice_id, PlanGrant.credits > 0
    )
    return [*session.scalars(own), *_months_of(session, account_id, stripe_invoice_id)]


def sources_of_the_end(session: Session, account_id: int, stripe_subscription_id: str) -> list[str]:
    """List the grants that were paid for beyond the end of their subscription, if the end gave money back for that."""
    subscription = session.get(Subscription, stripe_subscription_id)
    if subscription is None or not _given_back_by_the_end(session, subscription):
        return []
    running = select(PlanGrant.source).where(*_runs_beyond_the_end(subscription), PlanGrant.credits > 0)
    return list(session.scalars(running.where(PlanGrant.account_id == account_id).order_by(PlanGrant.id)))


def credits_of(session: Session, account_id: int, source: str, *, granted: int, more: dict[int, int]) -> int:
    """Return how many of a grant's credits its payments' present state takes back.

    A later month of a yearly plan was paid for by all invoices of its year. `more` adds cents to what was refunded of
    single payments, by their ids: what a refund would do.
    """
    invoice_ids = _invoices_for(session, account_id, source)
    mine = select(Payment).where(Payment.account_id == account_id)
    is_its = or_(Payment.grant_source == source, Payment.stripe_invoice_id.in_(invoice_ids))
    payments = session.scalars(mine.where(is_its)).all()
    charged = sum(payment.amount_cents for payment in payments)
    settled, credited = _settled_and_credited(session, account_id, invoice_ids, payments)
    disputed = _disputed(session, payments)
    returned = sum(_cents_of(payment, disputed, more.get(payment.id, 0)) for payment in payments) + credited
    return clawback.target(granted, paid_cents=max(settled, charged), returned_cents=returned)


def claw(session: Session, account_id: int, source: str) -> None:
    """Take back the share of a grant that its payments have lost, whichever of them was looked at last."""
    grant = granting.get_grant(session, account_id, source)  # locks the wallet
    target = credits_of(session, account_id, source, granted=grant.credits, more={})
    if target != grant.clawed:
        clawback.claw_to(session, account_id, source, target)


def _months_of(session: Session, account_id: int, stripe_invoice_id: str) -> Iterable[str]:
    paid = aliased(PlanGrant)
    months = (
        select(PlanGrant.source)
        .join(
            paid,
            (paid.stripe_subscription_id == PlanGrant.stripe_subscription_id)
            & (paid.paid_until == PlanGrant.paid_until),
        )
        .where(
            paid.account_id == account_id,
            paid.stripe_invoice_id == stripe_invoice_id,
            PlanGrant.account_id == account_id,
            PlanGrant.stripe_invoice_id.is_(None),
        )
        .order_by(PlanGrant.starts_at)
    )
    return session.scalars(months)


def _invoices_for(session: Session, account_id: int, source: str) -> list[str]:
    """Return the invoices that paid for a grant: its own, or all of the year that it is a later month of."""
    kind, _, name = source.partition(":")
    if kind == "invoice":
        return [name]
    month = select(PlanGrant).where(
        PlanGrant.account_id == account_id,
        PlanGrant.source == source,
        PlanGrant.stripe_invoice_id.is_(None),
        PlanGrant.paid_until.is_not(None),
    )
    found = session.scalar(month) if kind == "plan" else None
    if found is None:
        return []
    invoices = select(PlanGrant.stripe_invoice_id).where(
        PlanGrant.account_id == account_id,
        PlanGrant.stripe_subscription_id == found.stripe_subscription_id,
        PlanGrant.paid_until == found.paid_until,
        PlanGrant.stripe_invoice_id.is_not(None),
    )
    return [str(invoice_id) for invoice_id in session.scalars(invoices.order_by(PlanGrant.stripe_invoice_id))]


def _settled_and_credited(
    session: Session, account_id: int, invoice_ids: Sequence[str], payments: Sequence[Payment]
) -> tuple[int, int]:
    """Return what invoices were settled with in all, and what credit notes gave back of it other than by refunds.

    Of an invoice that was copied before that was noted, its charges are all that is known. One that asked for less than
    its charges took - a debt of the customer was on it - was settled with those.
    """
    query = select(Invoice).where(Invoice.account_id == account_id, Invoice.stripe_id.in_(invoice_ids))
    known = {row.stripe_id: row for row in session.scalars(query)} if invoice_ids else {}
    settled = 0
    for invoice_id in invoice_ids:
        row = known.get(invoice_id)
        charged = sum(payment.amount_cents for payment in payments if payment.stripe_invoice_id == invoice_id)
        settled += max(charged, (row.settled_cents or 0) if row is not None else 0)
    credited = sum(row.credited_cents for row in known.values())
    return settled, credited + _share_of_the_end(session, known)


def _share_of_the_end(session: Session, invoices: dict[str, Invoice]) -> int:
    """Return these invoices' share of what the end of their subscription gave back for time that was not used."""
    ids = {row.stripe_subscription_id for row in invoices.values()}
    subscription = session.get(Subscription, ids.pop()) if len(ids) == 1 and None not in ids else None
    back = _given_back_by_the_end(session, subscription) if subscription is not None else 0
    if subscription is None or not back:
        return 0
    running = select(PlanGrant.stripe_invoice_id).where(*_runs_beyond_the_end(subscription))
    paid = select(Invoice).where(Invoice.stripe_id.in_(running))
    settled = {row.stripe_id: row.settled_cents or row.paid_cents for row in session.scalars(paid)}
    total = sum(settled.values())
    return back * sum(settled.get(invoice_id, 0) for invoice_id in invoices) // total if total else 0


def _given_back_by_the_end(session: Session, subscription: Subscription) -> int:
    """Return the cents that the end of a subscription, or the pause it ended in, put on the customer's balance.

    Those are its last invoices, if they do nothing but give back. The site itself ends and pauses without.
    """
    if subscription.ended_at is None:
        return 0
    paid = (Invoice.stripe_subscription_id == subscription.stripe_id, Invoice.status == "paid")
    last_charge = select(func.max(Invoice.issued_at)).where(*paid, Invoice.total_cents >= 0).scalar_subquery()
    giving = (
        select(Invoice.total_cents, StripeObject.body)
        .join(StripeObject, (StripeObject.kind == "invoice") & (StripeObject.stripe_id == Invoice.stripe_id))
        .where(*paid, Invoice.total_cents < 0, Invoice.issued_at >= last_charge)
    )
    rows = session.execute(giving).all()
    return -sum(int(row.total_cents) for row in rows if plan_periods.plan_line(json.loads(row.body)) is None)


def _runs_beyond_the_end(subscription: Subscription) -> tuple[ColumnElement[bool], ...]:
    of_it = PlanGrant.stripe_subscription_id == subscription.stripe_id
    return of_it, PlanGrant.paid_until > subscription.ended_at


def _disputed(session: Session, payments: Sequence[Payment]) -> dict[str, int]:
    """Return how many cents the disputes of payments hold or have taken, by the charge."""
    asked = {p.stripe_charge_id: p for p in payments if p.dispute_status in DISPUTED}
    if not asked:
        return {}
    query = select(Dispute).where(Dispute.stripe_charge_id.in_(asked), Dispute.stripe_status.in_(DISPUTED))
    found: dict[str, int] = {}
    for row in session.scalars(query):
        payment = asked[row.stripe_charge_id]
        # One in another currency says nothing about a share.
        cents = row.amount_cents if row.currency == payment.currency else payment.amount_cents
        found[row.stripe_charge_id] = found.get(row.stripe_charge_id, 0) + cents
    return {charge_id: found.get(charge_id, payment.amount_cents) for charge_id, payment in asked.items()}


def _cents_of(payment: Payment, disputed: dict[str, int], more_cents: int) -> int:
    """Return how much of a payment went back, when that much more is refunded; never more than it was."""
    gone = payment.refunded_cents + more_cents + disputed.get(payment.stripe_charge_id, 0)
    return min(gone, payment.amount_cents)
