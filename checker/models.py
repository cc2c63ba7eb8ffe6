"""The table of reports. The CV itself is not kept: it is the customer's, and nobody needs it twice."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import clock
from database import BigId, UtcDateTime
from extensions import Base


def new_public_id() -> str:
    """Return the random part of a report's address; 128 bits, so that it cannot be guessed."""
    return secrets.token_hex(16)


class Report(Base):
    """A report that was paid for: one debit, one row."""

    __tablename__ = "reports"
    __table_args__ = (
        UniqueConstraint("account_id", "idempotency_key"),
        Index(None, "account_id", "id"),
        CheckConstraint("score BETWEEN 0 AND 100", name="score"),
        CheckConstraint("pages > 0", name="pages"),
        CheckConstraint("credits > 0", name="credits"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    transaction_id: Mapped[int] = mapped_column(BigId, ForeignKey("ledger_transactions.id"), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(80))
    score: Mapped[int]
    pages: Mapped[int]
    credits: Mapped[int]
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
