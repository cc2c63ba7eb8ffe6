"""Tables of money that goes back or may have to: refunds and what was asked for, disputes, warnings of fraud."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from database import BigId, UtcDateTime
from extensions import Base


class Refund(Base):
    """A refund at Stripe, as last fetched with its charge; one that fails later says so here."""

    __tablename__ = "refunds"

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_charge_id: Mapped[str] = mapped_column(String(255), index=True)
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    stripe_status: Mapped[str] = mapped_column(String(30))
    reason: Mapped[str | None] = mapped_column(String(60))
    failure_reason: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RefundIntent(Base):
    """A refund that somebody decided on, written down before Stripe is asked, so that it is made once and not lost.

    A credit note is the refund of an invoice, and keeps the invoice right. At most one intent of a charge is under way.
    """

    __tablename__ = "refund_intents"
    __table_args__ = (
        CheckConstraint("method IN ('refund', 'credit_note')", name="method"),
        CheckConstraint("status IN ('creating', 'made', 'refused')", name="status"),
        CheckConstraint("amount_cents > 0", name="amount"),
        Index(
            "uq_refund_intents_under_way",
            "stripe_charge_id",
            unique=True,
            sqlite_where=text("status = 'creating'"),
            postgresql_where=text("status = 'creating'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    # The form's one-time number, or the warning that a policy answers.
    idempotency_key: Mapped[str] = mapped_column(String(255), unique=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_charge_id: Mapped[str] = mapped_column(String(255), index=True)
    stripe_invoice_id: Mapped[str | None] = mapped_column(String(255))
    method: Mapped[str] = mapped_column(String(20))
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    reason: Mapped[str] = mapped_column(String(60))
    note: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(254))
    status: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    stripe_id: Mapped[str | None] = mapped_column(String(255))
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Dispute(Base):
    """A dispute or an inquiry at Stripe, as last fetched with its charge; `evidence` (JSON) is what Stripe holds."""

    __tablename__ = "disputes"

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_charge_id: Mapped[str] = mapped_column(String(255), index=True)
    stripe_status: Mapped[str] = mapped_column(String(40), index=True)
    reason: Mapped[str] = mapped_column(String(60))
    amount_cents: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    submissions: Mapped[int]
    evidence: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When a decided dispute was first seen decided.
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class FraudWarning(Base):
    """What a card's bank reported about a charge before anybody disputed it."""

    __tablename__ = "fraud_warnings"

    stripe_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    stripe_charge_id: Mapped[str] = mapped_column(String(255), index=True)
    fraud_type: Mapped[str] = mapped_column(String(60))
    is_actionable: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FreezeWaiver(Base):
    """Staff's decision that an account may spend although a cause would freeze it, such as `dispute:ch_...`."""

    __tablename__ = "freeze_waivers"

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    cause: Mapped[str] = mapped_column(String(200), primary_key=True)
    actor: Mapped[str] = mapped_column(String(254))
    reason: Mapped[str] = mapped_column(Text)
    waived_at: Mapped[datetime] = mapped_column(UtcDateTime)
