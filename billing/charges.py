"""Copy what became of a charge - refunds, disputes - and make the credits it paid for follow."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing import sync_queue
from billing.models import Payment
from ledger import clawback, freezing, granting

Json = dict[str, Any]

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
        _claw(session, account_id, payment.grant_source, charge, statuses, fence=fence)
    _freeze_or_thaw(session, account_id, charge["id"], statuses)


def is_recorded(session: Session, charge_id: str) -> bool:
    """Tell whether a charge's payment has been recorded."""
    return session.scalar(select(Payment.id).where(Payment.stripe_charge_id == charge_id)) is not None


def _claw(
    session: Session, account_id: int, source: str, charge: Json, dispute_statuses: list[str], *, fence: int
) -> None:
    target = clawback.target(
        granting.get_grant(session, account_id, source).credits,
        paid_cents=charge["amount_captured"],
        refunded_cents=charge["amount_refunded"],
        is_disputed=any(status in DISPUTED for status in dispute_statuses),
    )
    clawback.claw_to(session, account_id, source, target, version=fence)


def _ask_for_its_purchase(session: Session, charge: Json) -> None:
    if charge.get("purchase") and charge["paid"]:
        kind, object_id = charge["purchase"]
        sync_queue.mark_dirty(session, kind, object_id)


def _freeze_or_thaw(session: Session, account_id: int, charge_id: str, dispute_statuses: list[str]) -> None:
    cause = f"dispute:{charge_id}"
    if any(status in UNDECIDED for status in dispute_statuses):
        freezing.freeze(session, account_id, cause, reason="A payment is disputed; spending waits for the bank's word")
    else:
        freezing.unfreeze(session, account_id, cause, reason="The dispute is closed")
