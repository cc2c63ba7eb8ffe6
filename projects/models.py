"""The table of projects."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import clock
from database import BigId, UtcDateTime
from extensions import Base


def new_public_id() -> str:
    """Return the random part of a project's address; 128 bits, so that it cannot be guessed."""
    return secrets.token_hex(16)


class Project(Base):
    """Something that events are sent to; a plan allows so many of them at a time."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("account_id", "idempotency_key"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(80))
    idempotency_key: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
