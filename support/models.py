"""The table of what people asked support."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import clock
from accounts.models import new_public_id
from database import BigId, UtcDateTime
from extensions import Base

MAX_SUBJECT = 120
MAX_MESSAGE = 5_000


class SupportRequest(Base):
    """A question of a person; `is_priority` and `due_at` are what their plan promised when they asked."""

    __tablename__ = "support_requests"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint("due_at > created_at", name="due_later"),
        Index(None, "answered_at", "due_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    subject: Mapped[str] = mapped_column(String(MAX_SUBJECT))
    message: Mapped[str] = mapped_column(Text)
    is_priority: Mapped[bool] = mapped_column()
    idempotency_key: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether the promise is broken."""
        return self.answered_at is None and self.due_at <= now
