"""Evidence against a dispute: the text fields that Stripe's API knows, filled in from what we know ourselves.

Documents, such as receipts and mails as files: billing/evidence_files.py.
"""

from __future__ import annotations

import json

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts import people
from accounts.models import OWNER, Membership, UserSession
from billing.models import Payment
from billing.money import in_words
from billing.reversals import Dispute
from ledger.models import Transaction

# Stripe takes 20,000 characters per field: https://docs.stripe.com/api/disputes/evidence_object
MAX_LENGTH = 20_000
LINES = 100
OPEN = frozenset({"needs_response", "warning_needs_response"})

FIELDS: dict[str, tuple[str, str]] = {
    "product_description": ("What was sold", "What the customer got for the payment, and how it was described."),
    "customer_email_address": ("Customer's e-mail address", ""),
    "customer_name": ("Customer's name", "As on the account or the card."),
    "service_date": ("Day of delivery", "Credits are there within seconds of the payment."),
    "access_activity_log": ("Log of use", "What was used after the payment, and when and from where people signed in."),
    "cancellation_rebuttal": ("Why it had not been cancelled", "Only where the customer says that it had been."),
    "refund_refusal_explanation": ("Why it is not refunded", "Only where the customer asked for a refund."),
    "duplicate_charge_explanation": ("Why it is no duplicate", "Only where the customer says that they paid twice."),
    "uncategorized_text": ("Anything else", "Such as what was written back and forth; quote it with dates."),
}


def is_open(dispute: Dispute) -> bool:
    """Tell whether evidence can still be given."""
    return dispute.stripe_status in OPEN


def filled_in(session: Session, dispute: Dispute) -> dict[str, str]:
    """Return what the form begins with: what Stripe holds already, else what we know."""
    saved = held(dispute)
    suggested = {} if saved else suggest(session, dispute)
    return {name: saved.get(name, suggested.get(name, "")) for name in FIELDS}


def held(dispute: Dispute) -> dict[str, str]:
    """Return the fields of ours that Stripe holds words for; none of them can be emptied again."""
    saved: dict[str, str] = json.loads(dispute.evidence)
    return {name: text for name, text in saved.items() if name in FIELDS}


def suggest(session: Session, dispute: Dispute) -> dict[str, str]:
    """Return what our own books say for each field; empty where they say nothing."""
    payment = session.scalar(select(Payment).where(Payment.stripe_charge_id == dispute.stripe_charge_id))
    if payment is None:
        return {}
    used = _used_since(session, payment)
    log = [*used, *_sign_ins(session, payment.account_id)]
    spent = sum(line.used for line in _uses(session, payment))
    amount = in_words(payment.amount_cents, payment.currency)
    return {
        "product_description": f"{payment.description}: access to a web service, delivered at once to the account.",
        "customer_email_address": people.owner_email(session, payment.account_id),
        "service_date": f"{payment.paid_at:%Y-%m-%d}",
        "access_activity_log": "\n".join(log)[:MAX_LENGTH],
        "uncategorized_text": (
            f"{amount} was paid on {payment.paid_at:%Y-%m-%d %H:%M} UTC. "
            f"Since then the account has used {spent} credits of the service, as the log shows."
        ),
    }


def _uses(session: Session, payment: Payment) -> list[Transaction]:
    query = (
        select(Transaction)
        .where(Transaction.account_id == payment.account_id, Transaction.used > 0, Transaction.at >= payment.paid_at)
        .order_by(Transaction.id)
        .limit(LINES)
    )
    return list(session.scalars(query))


def _used_since(session: Session, payment: Payment) -> list[str]:
    lines = _uses(session, payment)
    return [f"{line.at:%Y-%m-%d %H:%M:%S} UTC: used {line.used} credits: {line.reason}" for line in lines]


def _sign_ins(session: Session, account_id: int) -> list[str]:
    query = (
        select(UserSession)
        .join(Membership, Membership.user_id == UserSession.user_id)
        .where(Membership.account_id == account_id, Membership.role == OWNER)
        .order_by(UserSession.created_at)
        .limit(LINES)
    )
    return [
        f"{row.created_at:%Y-%m-%d %H:%M:%S} UTC: signed in from {row.address or 'an unknown network'}"
        f"{f' with {row.user_agent}' if row.user_agent else ''}; last seen {row.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"
        for row in session.scalars(query)
    ]
