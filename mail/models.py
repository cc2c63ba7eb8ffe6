"""The outbox table: one row per mail that some transaction promised."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

import clock
from database import BigId, UtcDateTime
from extensions import Base

PENDING = "pending"
SENT = "sent"
KEPT = "kept"
DEAD = "dead"
CANCELLED = "cancelled"


class Email(Base):
    """A mail to be sent; `context` (JSON) holds ids and facts, never a secret: links are made when it is rendered."""

    __tablename__ = "emails"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'sent', 'kept', 'dead', 'cancelled')", name="status"),
        CheckConstraint("attempts >= 0", name="attempts"),
        Index(None, "status", "priority", "next_at"),
        Index(None, "to_address", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(32), unique=True, default=lambda: uuid4().hex)
    dedupe_key: Mapped[str] = mapped_column(String(255), unique=True)
    account_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("accounts.id"), index=True)
    to_address: Mapped[str] = mapped_column(String(254))
    template: Mapped[str] = mapped_column(String(80))
    context: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(default=5)
    status: Mapped[str] = mapped_column(String(16), default=PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_after: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
