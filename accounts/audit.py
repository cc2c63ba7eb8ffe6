"""What staff did, and who changed a team, for ever: who, what, to which object, how it was before and after, why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ForeignKey, Index, String, Table, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
from database import BigId, UtcDateTime
from extensions import Base
from ledger import append_only


class AuditEntry(Base):
    """One action of a member of staff, or of somebody who changed a team; the database refuses to change or remove it.

    `idempotency_key` is the one-time number of the form, so that a form sent twice acts once.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "account_id", "id"), Index(None, "object_kind", "object_id"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    actor: Mapped[str] = mapped_column(String(254))
    action: Mapped[str] = mapped_column(String(60))
    account_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("accounts.id"))
    object_kind: Mapped[str] = mapped_column(String(30))
    object_id: Mapped[str] = mapped_column(String(255))
    before: Mapped[str] = mapped_column(Text)
    after: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, default="")
    idempotency_key: Mapped[str] = mapped_column(String(255), unique=True)


append_only.protect(cast(Table, AuditEntry.__table__))


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    about: tuple[str, str],
    key: str,
    account_id: int | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Append an entry in the transaction of the change that it tells of; `about` is the kind and id of an object.

    `before` and `after` must be JSON without secrets. A key that was used before is refused by the database: ask
    `is_done` first, under the lock of what is changed.
    """
    session.add(
        AuditEntry(
            actor=actor,
            action=action,
            account_id=account_id,
            object_kind=about[0],
            object_id=about[1],
            before=json.dumps(dict(before or {})),
            after=json.dumps(dict(after or {})),
            reason=reason,
            idempotency_key=key,
        )
    )
    session.flush()


def is_done(session: Session, key: str) -> bool:
    """Tell whether the action under this one-time number has been done."""
    return session.scalar(select(AuditEntry.id).where(AuditEntry.idempotency_key == key)) is not None


def recent(
    session: Session, *, account_id: int | None = None, before_id: int | None = None, limit: int = 50
) -> Sequence[AuditEntry]:
    """Return the newest entries, of one account or of all, that came before the entry `before_id`."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if account_id is not None:
        query = query.where(AuditEntry.account_id == account_id)
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    return session.scalars(query).all()
