"""Copy what became of a charge - refunds, disputes - and make the credits it paid for follow."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing import sync_queue
from billing.models import Payment
from ledger import clawback, freezing

Json = dict[str, Any]
log = structlog.get_logger(__name__)

# While the bank decides, the money is gone; an inquiry (warning_*) has moved none yet.
DISPUTED = frozenset({"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"})
UNDECIDED = DISPUTED - {"lost"}


def apply(session: Session, account_id: int, charge: Json, *, fence: int) -> None:
    """Make the payment and its credits equal to a fetched charge, in both directions.

    The claw-back is a target computed from the charge's cumulative refunds and its disputes, never a difference per
    event: duplicates, partial refunds, a refund that fails later and a dispute that is won all end where Stripe is.
    A charge whose payment is not recorded yet makes its checkout or invoice dirty, which records it.
    """
    payment = session.scalar(select(Payment).where(Payment.stripe_charge_id == charge["id"]))
    if payment is None:
        _ask_for_its_purchase(session, charge)
        return
    statuses = [d["status"] for d in charge["disputes"]]
    payment.refunded_cents = charge["amount_refunded"]
    payment.dispute_status = statuses[0] if statuses else None
    session.flush()
    if payment.grant_source is not None:
        clawback.claw_share(
            session,
            account_id,
            payment.grant_source,
            refunded=refunded_share(charge, statuses),
            of=charge["amount_captured"],
            version=fence,
        )
    _freeze_or_thaw(session, account_id)


def refunded_share(charge: Json, dispute_statuses: list[str]) -> int:
    """Return how many of the captured cents count as gone: all while a dispute is open or lost, else the refunds."""
    if any(status in DISPUTED for status in dispute_statuses):
        return int(charge["amount_captured"])
    return int(charge["amount_refunded"])


def _ask_for_its_purchase(session: Session, charge: Json) -> None:
    if charge.get("purchase") and charge["paid"]:
        kind, object_id = charge["purchase"]
        sync_queue.mark_dirty(session, kind, object_id)


def _freeze_or_thaw(session: Session, account_id: int) -> None:
    query = select(Payment.id).where(Payment.account_id == account_id, Payment.dispute_status.in_(UNDECIDED)).limit(1)
    if session.scalar(query) is not None:
        freezing.freeze(session, account_id, reason="dispute")
    else:
        freezing.unfreeze(session, account_id, reason="dispute")
