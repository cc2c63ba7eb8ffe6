"""Finding customers for staff: by address, name, our id, or any id of Stripe's that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, or_, select
from sqlalchemy.orm import Session

from accounts.models import OWNER, Account, FormerCustomer, Membership, User
from billing.models import Payment, Subscription
from billing.reversals import Dispute, Refund
from ledger.models import Wallet


@dataclass(frozen=True)
class Row:
    """One customer in the list; figures are those of the wallet."""

    id: int
    public_id: str
    name: str
    email: str
    plan_key: str | None
    stripe_status: str | None
    balance: int
    debt: int
    is_paused: bool
    created_at: datetime


def find(session: Session, text: str, *, before_id: int | None = None, limit: int = 50) -> list[Row]:
    """Return the customers that a text names, the newest first; without a text all of them."""
    email = _owner_email()
    query = (
        select(
            Account.id,
            Account.public_id,
            Account.name,
            email,
            Subscription.plan_key,
            Subscription.stripe_status,
            Wallet.balance,
            Wallet.debt,
            Wallet.frozen_reason,
            Account.created_at,
        )
        .outerjoin(Wallet, Wallet.account_id == Account.id)
        .outerjoin(Subscription, (Subscription.account_id == Account.id) & Subscription.is_primary)
        .order_by(Account.id.desc())
        .limit(limit)
    )
    if text:
        query = query.where(or_(*_matches(text, email)))
    if before_id is not None:
        query = query.where(Account.id < before_id)
    return [
        Row(*row[:3], row[3] or "", row[4], row[5], row[6] or 0, row[7] or 0, row[8] is not None, row[9])
        for row in session.execute(query)
    ]


def _owner_email() -> ScalarSelect[str]:
    return (
        select(User.email)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.account_id == Account.id, Membership.role == OWNER)
        .order_by(Membership.id)
        .limit(1)
        .correlate(Account)
        .scalar_subquery()
    )


def _matches(text: str, email: ScalarSelect[str]) -> Sequence[ColumnElement[bool]]:
    payment = (
        Payment.stripe_charge_id,
        Payment.stripe_payment_intent_id,
        Payment.stripe_invoice_id,
        Payment.stripe_checkout_session_id,
    )
    return (
        email.icontains(text, autoescape=True),
        Account.name.icontains(text, autoescape=True),
        Account.public_id == text,
        Account.stripe_customer_id == text,
        Account.id.in_(select(FormerCustomer.account_id).where(FormerCustomer.stripe_customer_id == text)),
        Account.id.in_(select(Subscription.account_id).where(Subscription.stripe_id == text)),
        Account.id.in_(select(Payment.account_id).where(or_(*(column == text for column in payment)))),
        Account.id.in_(select(Refund.account_id).where(Refund.stripe_id == text)),
        Account.id.in_(select(Dispute.account_id).where(Dispute.stripe_id == text)),
    )
