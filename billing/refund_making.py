"""Carrying refunds out at Stripe: under the intent's own key, by whoever comes first, the page or the worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import audit
from billing import errors, stripe_reversals, sync_queue
from billing.refunding import CREATING, MADE, REFUSED, Quote
from billing.reversals import RefundIntent

Json = dict[str, Any]
log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class _Task:
    """An intent to carry out; `is_repeated` when somebody may have asked Stripe for it before."""

    id: int
    public_id: str
    charge_id: str
    invoice_id: str | None
    amount_cents: int
    reason: str
    note: str
    is_repeated: bool


def preview_invoice(quoted: Quote) -> Json | None:
    """Let Stripe work out the credit note of a quote; None for a payment without an invoice. Raises StripeError."""
    if quoted.payment.stripe_invoice_id is None:
        return None
    return stripe_reversals.preview_credit_note(
        {
            "invoice": quoted.payment.stripe_invoice_id,
            "amount": quoted.amount_cents,
            "refund_amount": quoted.amount_cents,
        }
    )


def carry_out(intent_id: int) -> bool:
    """Make the refund of an intent at Stripe, once, and mark its charge dirty; False when Stripe refused it.

    Raises StripeUnavailable when Stripe does not answer: the worker tries again. Credits move when the charge is
    looked at again, as they do for every other refund.
    """
    task = database.write(_claim, intent_id)
    if task is None:
        return True
    failpoints.hit("refund.claimed")
    try:
        stripe_id = _find_made(task) if task.is_repeated else None
        stripe_id = stripe_id or _make(task)
        failpoints.hit("refund.made")
    except errors.StripeUnavailable as error:
        database.write(_postpone, task.id, str(error))
        raise
    except errors.StripeRefused as error:
        log.error("refund refused", charge=task.charge_id, error=str(error))
        database.write(_refuse, task.id, str(error))
        return False
    database.write(_keep, task.id, stripe_id)
    failpoints.hit("refund.committed")
    return True


def carry_out_due(limit: int = 20) -> int:
    """Carry out the intents that nobody has carried out in time; return how many were tried."""
    due = database.write(_due, limit)
    for intent_id in due:
        try:
            carry_out(intent_id)
        except errors.StripeError as error:
            log.warning("refund postponed", intent=intent_id, error=str(error))
    return len(due)


def _make(task: _Task) -> str:
    key, metadata = f"refund:{task.public_id}", {"intent": task.public_id}
    if task.invoice_id is None:
        params = {"charge": task.charge_id, "amount": task.amount_cents, "reason": task.reason, "metadata": metadata}
        return str(stripe_reversals.create_refund(params, idempotency_key=key)["id"])
    params = {
        "invoice": task.invoice_id,
        "amount": task.amount_cents,
        "refund_amount": task.amount_cents,
        "memo": task.note,
        "metadata": metadata,
    }
    if task.reason in {"duplicate", "fraudulent"}:  # a credit note has no word for a customer who asked
        params["reason"] = task.reason
    return str(stripe_reversals.create_credit_note(params, idempotency_key=key)["id"])


def _find_made(task: _Task) -> str | None:
    # Stripe forgets an idempotency key after a day; what was made keeps the intent's name.
    if task.invoice_id is None:
        return stripe_reversals.find_refund_of(task.public_id, charge_id=task.charge_id)
    return stripe_reversals.find_credit_note_of(task.public_id, invoice_id=task.invoice_id)


def _due(session: Session, limit: int) -> list[int]:
    query = select(RefundIntent.id).where(RefundIntent.status == CREATING, RefundIntent.next_at <= clock.now())
    return list(session.scalars(query.order_by(RefundIntent.next_at).limit(limit)))


def _claim(session: Session, intent_id: int) -> _Task | None:
    intent = session.get_one(RefundIntent, intent_id, with_for_update=True)
    if intent.status != CREATING:
        return None
    intent.attempts += 1
    intent.next_at = clock.now() + LEASE
    return _Task(
        intent.id,
        intent.public_id,
        intent.stripe_charge_id,
        intent.stripe_invoice_id,
        intent.amount_cents,
        intent.reason,
        intent.note,
        is_repeated=intent.attempts > 1,
    )


def _postpone(session: Session, intent_id: int, error: str) -> None:
    intent = session.get_one(RefundIntent, intent_id, with_for_update=True)
    intent.next_at = clock.now() + min(timedelta(seconds=2**intent.attempts), LONGEST_WAIT)
    intent.last_error = error[:2000]


def _refuse(session: Session, intent_id: int, error: str) -> None:
    intent = session.get_one(RefundIntent, intent_id, with_for_update=True)
    if intent.status != CREATING:
        return
    intent.status, intent.last_error = REFUSED, error[:2000]
    audit.record(
        session,
        actor="stripe",
        action="refund.refused",
        about=("charge", intent.stripe_charge_id),
        key=f"refused:{intent.public_id}",
        account_id=intent.account_id,
        after={"amount_cents": intent.amount_cents},
        reason=error[:2000],
    )


def _keep(session: Session, intent_id: int, stripe_id: str) -> None:
    intent = session.get_one(RefundIntent, intent_id, with_for_update=True)
    intent.status, intent.stripe_id, intent.last_error = MADE, stripe_id, None
    sync_queue.mark_dirty(session, "charge", intent.stripe_charge_id)
