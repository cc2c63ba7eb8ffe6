"""Which accounts a mailbox once had and has no more, so that leaving one brings nothing a second time.

Kept is a SHA-256 of the mailbox alone: enough to recognise an address that comes back, and no list of addresses.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
import database
from accounts.identity import mailbox_key
from accounts.sessions import hash_of
from database import BigId, UtcDateTime
from extensions import Base


class FormerMailbox(Base):
    """That an account was billed to whoever had this mailbox, until then."""

    __tablename__ = "former_mailboxes"

    mailbox_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    left_at: Mapped[datetime] = mapped_column(UtcDateTime)


def remember(session: Session, account_id: int, address: str) -> None:
    """Write down that an account leaves an address; safe to repeat."""
    left = database.insert(session, FormerMailbox).values(
        mailbox_hash=hash_of_mailbox(address), account_id=account_id, left_at=clock.now()
    )
    session.execute(left.on_conflict_do_nothing(index_elements=["mailbox_hash", "account_id"]))


def accounts_of(session: Session, address: str) -> list[int]:
    """Return the accounts that an address had before, however it was tagged."""
    query = select(FormerMailbox.account_id).where(FormerMailbox.mailbox_hash == hash_of_mailbox(address))
    return list(session.scalars(query.order_by(FormerMailbox.account_id)))


def hash_of_mailbox(address: str) -> str:
    """Return what a mailbox is recognised by, however its address is tagged."""
    return hash_of(f"mailbox:{mailbox_key(address)}")
