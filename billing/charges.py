"""Copy what became of a charge - refunds, disputes - and make the credits it paid for follow."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from billing import fraud_warnings, freezes, returned, sync_queue
from billing.models import Invoice, Payment
from billing.reversals import Dispute, Refund
from billing.subscriptions import instant

Json = dict[str, Any]


def apply(session: Session, account_id: int, charge: Json) -> None:
    """Make the payment and its credits equal to a fetched charge, in both directions.

    The claw-back is a target computed from the cumulative refunds and the disputes of all payments of the grant, never
    a difference per event: duplicates, partial refunds, a refund that fails later and a dispute that is won all end
    where Stripe is. The caller holds the account's lock and the charge's fence. A charge whose payment is not recorded
    yet makes its checkout or invoice dirty, which records it.
    """
    payment = session.scalar(select(Payment).where(Payment.stripe_charge_id == charge["id"]))
    if payment is None:
        _ask_for_its_purchase(session, charge)
        return
    statuses = [dispute["status"] for dispute in charge["disputes"]]
    payment.refunded_cents = charge["amount_refunded"]
    payment.dispute_status = _status_that_counts(statuses)
    _copy_refunds(session, account_id, charge)
    _copy_disputes(session, account_id, charge)
    _ask_what_settled_its_invoice(session, payment)
    failpoints.hit("charge.copied")
    for source in returned.sources_of(session, payment):
        returned.claw(session, account_id, source)
        failpoints.hit("charge.clawed")
    _freeze_or_thaw(session, account_id, charge["id"], statuses)
    failpoints.hit("charge.frozen")
    fraud_warnings.follow(session, account_id, charge["id"])


def is_recorded(session: Session, charge_id: str) -> bool:
    """Tell whether a charge's payment has been recorded."""
    return session.scalar(select(Payment.id).where(Payment.stripe_charge_id == charge_id)) is not None


def _status_that_counts(statuses: list[str]) -> str | None:
    """Return the status of the dispute that keeps the money, if one does, else of the newest."""
    return next((status for status in statuses if status in returned.DISPUTED), statuses[0] if statuses else None)


def _ask_for_its_purchase(session: Session, charge: Json) -> None:
    if charge.get("purchase") and charge["paid"]:
        kind, object_id = charge["purchase"]
        sync_queue.mark_dirty(session, kind, object_id)


def _ask_what_settled_its_invoice(session: Session, payment: Payment) -> None:
    """Have an invoice looked at that was copied before it was noted what else than charges had paid it."""
    if payment.stripe_invoice_id is None or not (payment.refunded_cents or payment.dispute_status):
        return
    invoice = session.get(Invoice, payment.stripe_invoice_id)
    if invoice is None or invoice.settled_cents is None:
        sync_queue.mark_dirty(session, "invoice", payment.stripe_invoice_id)


def _freeze_or_thaw(session: Session, account_id: int, charge_id: str, dispute_statuses: list[str]) -> None:
    cause = f"dispute:{charge_id}"
    if any(status in returned.UNDECIDED for status in dispute_statuses):
        freezes.stop(session, account_id, cause, reason="A payment is disputed; spending waits for the bank's word")
    else:
        freezes.let_go(session, account_id, cause, reason="The dispute is closed")


def _copy_refunds(session: Session, account_id: int, charge: Json) -> None:
    for refund in charge["refunds"]["data"]:
        values = {
            "account_id": account_id,
            "stripe_charge_id": charge["id"],
            "amount_cents": refund["amount"],
            "currency": refund["currency"],
            "stripe_status": refund["status"],
            "reason": refund["reason"],
            "failure_reason": refund.get("failure_reason"),
            "created_at": instant(refund["created"]),
        }
        insert = database.insert(session, Refund).values(stripe_id=refund["id"], **values)
        session.execute(insert.on_conflict_do_update(index_elements=["stripe_id"], set_=values))


def _copy_disputes(session: Session, account_id: int, charge: Json) -> None:
    for dispute in charge["disputes"]:
        row = session.get(Dispute, dispute["id"]) or Dispute(stripe_id=dispute["id"], closed_at=None)
        details = dispute["evidence_details"]
        evidence = {name: text for name, text in dispute["evidence"].items() if isinstance(text, str) and text}
        row.account_id = account_id
        row.stripe_charge_id = charge["id"]
        row.stripe_status = dispute["status"]
        row.reason = dispute["reason"]
        row.amount_cents = dispute["amount"]
        row.currency = dispute["currency"]
        row.due_at = instant(details["due_by"])
        row.submissions = details["submission_count"]
        row.evidence = json.dumps(evidence)
        row.created_at = instant(dispute["created"]) or clock.now()
        if dispute["status"] in returned.CLOSED:
            row.closed_at = row.closed_at or clock.now()
        else:
            row.closed_at = None
        session.add(row)
