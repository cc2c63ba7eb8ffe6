"""Deciding on refunds: what one would do to the credits, and the intent that is written before Stripe is asked.

Nothing here asks Stripe (billing/refund_making.py does), and nothing moves credits: those follow the charge, as for a
refund made in Stripe's Dashboard.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import audit
from accounts.models import Account
from billing import returned
from billing.errors import BillingError
from billing.models import Payment
from billing.reversals import RefundIntent
from ledger import clawback
from ledger.clawback import Outlook

# Stripe's words for the reason, and ours: https://docs.stripe.com/api/refunds/create#create_refund-reason
REASONS = {
    "requested_by_customer": "The customer asked for it",
    "duplicate": "Charged twice",
    "fraudulent": "The payment was fraud",
}
# How long whoever wrote an intent has to carry it out before the worker does.
HEAD_START = timedelta(seconds=60)
CREATING, MADE, REFUSED = "creating", "made", "refused"


class RefundNotPossible(BillingError):
    """The payment cannot be refunded like this now; the text says why, in words for staff."""

    status = 409


@dataclass(frozen=True)
class Quote:
    """What a refund would do: money, and credits by `effect`; None where the payment brought no credits."""

    payment: Payment
    amount_cents: int
    left_cents: int
    effect: Outlook | None


def refundable_cents(payment: Payment) -> int:
    """Return how much of a payment has not been paid back."""
    return payment.amount_cents - payment.refunded_cents


def obstacle(session: Session, payment: Payment) -> str | None:
    """Return in words why nothing of a payment can be refunded now, None when something can."""
    if refundable_cents(payment) <= 0:
        return "It has been refunded in full."
    if payment.dispute_status in returned.DISPUTED:
        return "Its bank has a dispute about it: answer that instead. A lost one has paid back what it was about."
    if under_way(session, payment.stripe_charge_id) is not None:
        return "A refund of it is under way. Wait for it, then look again."
    return None


def quote(session: Session, payment: Payment, amount_cents: int) -> Quote:
    """Work out what refunding an amount would do; raises RefundNotPossible."""
    why = obstacle(session, payment)
    if why is not None:
        raise RefundNotPossible(why)
    left = refundable_cents(payment)
    if not 0 < amount_cents <= left:
        raise RefundNotPossible(
            "That is more than is left of the payment." if amount_cents > left else "Enter an amount."
        )
    return Quote(payment, amount_cents, left - amount_cents, _effect(session, payment, amount_cents))


def decide(
    session: Session,
    payment_id: int,
    amount_cents: int,
    expected: tuple[int, Outlook | None],
    *,
    reason: str,
    note: str,
    actor: str,
    key: str,
) -> RefundIntent:
    """Write down what shall be refunded, with its line in the audit log; the same key again returns the first intent.

    `expected` is what was shown: the cents left of the payment and the effect on credits. Raises RefundNotPossible
    when that has changed meanwhile.
    """
    account_id = session.get_one(Payment, payment_id).account_id
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    known = session.scalar(select(RefundIntent).where(RefundIntent.idempotency_key == key))
    if known is not None:
        return known
    payment = session.get_one(Payment, payment_id, populate_existing=True)
    quoted = quote(session, payment, amount_cents)
    if (quoted.left_cents, quoted.effect) != expected:
        raise RefundNotPossible("The payment or its credits have changed since you looked. Look again.")
    return _write(session, payment, amount_cents, reason=reason, note=note, actor=actor, key=key)


def decide_by_policy(session: Session, payment: Payment, *, key: str) -> None:
    """Write down the refund that a policy asks for, of all that is left; once per key, and never beside another."""
    known = select(RefundIntent.id).where(RefundIntent.idempotency_key == key)
    if session.scalar(known) is not None or obstacle(session, payment) is not None:
        return
    amount_cents, note = refundable_cents(payment), "The card's bank warned of fraud"
    _write(session, payment, amount_cents, reason="fraudulent", note=note, actor="policy", key=key)


def under_way(session: Session, charge_id: str) -> RefundIntent | None:
    """Find the intent of a charge that has not been carried out yet."""
    query = select(RefundIntent).where(RefundIntent.stripe_charge_id == charge_id, RefundIntent.status == CREATING)
    return session.scalar(query)


def _write(
    session: Session, payment: Payment, amount_cents: int, *, reason: str, note: str, actor: str, key: str
) -> RefundIntent:
    intent = RefundIntent(
        public_id=secrets.token_hex(16),
        idempotency_key=key,
        account_id=payment.account_id,
        stripe_charge_id=payment.stripe_charge_id,
        stripe_invoice_id=payment.stripe_invoice_id,
        method="credit_note" if payment.stripe_invoice_id else "refund",
        amount_cents=amount_cents,
        currency=payment.currency,
        reason=reason,
        note=note,
        actor=actor,
        status=CREATING,
        next_at=clock.now() + HEAD_START,
        created_at=clock.now(),
    )
    session.add(intent)
    session.flush()
    failpoints.hit("refund.decided")
    audit.record(
        session,
        actor=actor,
        action="refund.decided",
        about=("charge", payment.stripe_charge_id),
        key=key,
        account_id=payment.account_id,
        before={"refunded_cents": payment.refunded_cents},
        after={"refunded_cents": payment.refunded_cents + amount_cents, "method": intent.method, "reason": reason},
        reason=note,
    )
    return intent


def _effect(session: Session, payment: Payment, amount_cents: int) -> Outlook | None:
    """Add up what a refund would do to each of the grants that follow its payment."""
    more = {payment.id: amount_cents}
    effects = [_effect_on(session, payment, source, more) for source in returned.sources_of(session, payment)]
    if not effects:
        return None
    unused, owed = sum(effect.unused for effect in effects), sum(effect.owed for effect in effects)
    return Outlook(
        granted=sum(effect.granted for effect in effects),
        clawed=sum(effect.clawed for effect in effects),
        unused=unused,
        expired=sum(effect.expired for effect in effects),
        owed=owed,
        balance=effects[0].balance + effects[0].unused - unused,
        debt=effects[0].debt - effects[0].owed + owed,
    )


def _effect_on(session: Session, payment: Payment, source: str, more: dict[int, int]) -> Outlook:
    granted = clawback.preview(session, payment.account_id, source, 0).granted
    target = returned.credits_of(session, payment.account_id, source, granted=granted, more=more)
    return clawback.preview(session, payment.account_id, source, target)
