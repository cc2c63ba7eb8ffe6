"""What of a grant's payments went back, by refunds or for disputes, and how many credits that takes along."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from billing.models import Payment, PlanGrant
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
    paid = aliased(PlanGrant)
    months = (
        select(PlanGrant.source)
        .join(
            paid,
            (paid.stripe_subscription_id == PlanGrant.stripe_subscription_id)
            & (paid.paid_until == PlanGrant.paid_until),
        )
        .where(
            paid.account_id == payment.account_id,
            paid.stripe_invoice_id == payment.stripe_invoice_id,
            PlanGrant.account_id == payment.account_id,
            PlanGrant.stripe_invoice_id.is_(None),
        )
        .order_by(PlanGrant.starts_at)
    )
    return [*own, *session.scalars(months)]


def credits_of(session: Session, account_id: int, source: str, *, granted: int, more: dict[int, int]) -> int:
    """Return how many of a grant's credits its payments' present state takes back.

    A later month of a yearly plan was paid for by all invoices of its year. `more` adds cents to what was refunded of
    single payments, by their ids: what a refund would do.
    """
    payments = session.scalars(_payments_for(session, account_id, source)).all()
    return clawback.target(
        granted,
        paid_cents=sum(payment.amount_cents for payment in payments),
        returned_cents=sum(cents_of(payment, more.get(payment.id, 0)) for payment in payments),
    )


def claw(session: Session, account_id: int, source: str) -> None:
    """Take back the share of a grant that its payments have lost, whichever of them was looked at last."""
    grant = granting.get_grant(session, account_id, source)  # locks the wallet
    target = credits_of(session, account_id, source, granted=grant.credits, more={})
    if target != grant.clawed:
        clawback.claw_to(session, account_id, source, target)


def _payments_for(session: Session, account_id: int, source: str) -> Select[Payment]:
    mine = select(Payment).where(Payment.account_id == account_id)
    month = select(PlanGrant).where(
        PlanGrant.account_id == account_id,
        PlanGrant.source == source,
        PlanGrant.stripe_invoice_id.is_(None),
        PlanGrant.paid_until.is_not(None),
    )
    found = session.scalar(month) if source.startswith("plan:") else None
    if found is None:
        return mine.where(Payment.grant_source == source)
    invoices = select(PlanGrant.stripe_invoice_id).where(
        PlanGrant.account_id == account_id,
        PlanGrant.stripe_subscription_id == found.stripe_subscription_id,
        PlanGrant.paid_until == found.paid_until,
    )
    return mine.where(Payment.stripe_invoice_id.in_(invoices))


def cents_of(payment: Payment, more_cents: int = 0) -> int:
    """Return how much of a payment went back, when that much more is refunded."""
    if payment.dispute_status in DISPUTED:
        return payment.amount_cents
    return min(payment.refunded_cents + more_cents, payment.amount_cents)
