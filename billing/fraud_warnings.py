"""Early fraud warnings: a card's bank says that a charge is probably fraud, before anybody disputes it.

What a warning does is the catalogue's policy `fraud_warning`: "show" it to staff, "pause" the account's spending
besides, or "refund" the charge besides. It follows from the present state of the warning and its charge, so that
duplicates and reordering change nothing; a refund in full, a dispute and a word of staff end the pause.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from billing import catalog, freezes, refunding, returned, sync_queue
from billing.models import Payment
from billing.reversals import Dispute, FraudWarning
from billing.subscriptions import instant

Json = dict[str, Any]

PAUSES = frozenset({"pause", "refund"})


def apply(session: Session, account_id: int, warning: Json) -> None:
    """Copy a fetched warning, and do what the policy asks for."""
    values = {
        "account_id": account_id,
        "stripe_charge_id": warning["charge"],
        "fraud_type": warning["fraud_type"],
        "is_actionable": warning["actionable"],
        "created_at": instant(warning["created"]) or clock.now(),
    }
    insert = database.insert(session, FraudWarning).values(stripe_id=warning["id"], **values)
    session.execute(insert.on_conflict_do_update(index_elements=["stripe_id"], set_=values))
    failpoints.hit("fraud.copied")
    # A warning is settled by a refund in full or by a dispute: hear of those before spending goes on.
    sync_queue.mark_dirty(session, "charge", warning["charge"])
    follow(session, account_id, warning["charge"])
    failpoints.hit("fraud.followed")


def follow(session: Session, account_id: int, charge_id: str) -> None:
    """Pause or resume spending, and decide on a refund, as the warnings of a charge and its state ask for."""
    warnings = session.scalars(select(FraudWarning).where(FraudWarning.stripe_charge_id == charge_id)).all()
    if not warnings:
        return
    payment = session.scalar(select(Payment).where(Payment.stripe_charge_id == charge_id))
    if payment is None:
        return  # recorded in a moment; its charge is looked at again then
    policy = catalog.current().policies.fraud_warning
    cause = f"fraud:{charge_id}"
    if _is_settled(session, payment):
        freezes.let_go(session, account_id, cause, reason="The card's bank has nothing open about this payment")
        return
    if policy in PAUSES:
        freezes.stop(session, account_id, cause, reason="A card's bank questions a payment; spending waits")
    if policy == "refund" and any(warning.is_actionable for warning in warnings):
        refunding.decide_by_policy(session, payment, key=f"policy:{warnings[0].stripe_id}")


def _is_settled(session: Session, payment: Payment) -> bool:
    """Tell whether the credits have followed what settles a warning; Stripe's own word may come before they have."""
    if payment.refunded_cents >= payment.amount_cents:
        return True
    # A dispute has a pause of its own, and takes the credits; an inquiry has none, and takes nothing.
    disputes = select(Dispute.stripe_id).where(
        Dispute.stripe_charge_id == payment.stripe_charge_id, Dispute.stripe_status.not_in(returned.INQUIRIES)
    )
    return session.scalars(disputes).first() is not None
