"""Another e-mail address for a person: asked for, mailed to the new one, and made only when that one is confirmed.

Until then nothing changes, so an address can neither be taken hostage nor mistyped into a stranger's hands. What
becomes possible by it is decided by the new address alone: it is as if the person had signed up with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, Index, Select, String, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
import failpoints
from accounts import audit, former_mailboxes, people, sessions
from accounts.identity import email_key
from accounts.models import OWNER, Account, Membership, User, new_public_id
from accounts.people import AddressTaken
from database import BigId, UtcDateTime
from extensions import Base

LIFETIME = timedelta(hours=24)
_IS_OPEN = text("confirmed_at IS NULL AND cancelled_at IS NULL")


class EmailChange(Base):
    """A wish for another address; of a person at most one is open, and one that ran out is open until the next."""

    __tablename__ = "email_changes"
    __table_args__ = (
        Index(None, "user_id"),
        Index("ix_email_changes_open", "user_id", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        CheckConstraint("confirmed_at IS NULL OR cancelled_at IS NULL", name="one_end"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"))
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(640))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ChangeGone(LookupError):
    """The change was cancelled or replaced, ran out, or never was this person's."""


@dataclass(frozen=True)
class Changed:
    """What a confirmation did: from which address to which, and which accounts are billed to it from now on."""

    old: str
    new: str
    account_ids: tuple[int, ...]


def start(session: Session, user_id: int, email: str) -> EmailChange:
    """Write down that a person wants another address; it takes the place of a wish for a third one that waits.

    Whether somebody has that address is not looked at, so that nobody can ask us for it.
    """
    _lock_person(session, user_id)
    known = pending(session, user_id)
    if known is not None and known.email == email:
        return known  # a form sent twice
    _cancel_open(session, user_id)
    now = clock.now()
    row = EmailChange(user_id=user_id, email=email, email_key=email_key(email), expires_at=now + LIFETIME)
    session.add(row)
    session.flush()
    failpoints.hit("address.asked")
    return row


def cancel(session: Session, user_id: int) -> bool:
    """Take back what waits; return whether anything did."""
    _lock_person(session, user_id)
    return _cancel_open(session, user_id)


def pending(session: Session, user_id: int) -> EmailChange | None:
    """Return the change that waits for its confirmation."""
    waiting = _open_of(user_id).where(EmailChange.expires_at > clock.now())
    return session.scalar(waiting)


def find_waiting(session: Session, public_id: str) -> EmailChange | None:
    """Return a change that can still be confirmed, for the mail that leads to it."""
    row = session.scalar(select(EmailChange).where(EmailChange.public_id == public_id))
    return row if row is not None and _waits(row) else None


def find_own(session: Session, user_id: int, public_id: str) -> EmailChange | None:
    """Return a person's own change that waits, or the one that gave them their present address; None for others."""
    mine = (
        select(EmailChange)
        .join(User, User.id == EmailChange.user_id)
        .where(EmailChange.public_id == public_id, EmailChange.user_id == user_id)
        .where(or_(EmailChange.confirmed_at.is_(None), EmailChange.email == User.email))
    )
    row = session.scalar(mine)
    return row if row is not None and (row.confirmed_at is not None or _waits(row)) else None


def confirm(session: Session, public_id: str, user_id: int, *, except_session: int | None) -> Changed | None:
    """Give a person the address that they have shown to be theirs, once; None when this change was made before.

    Every other session ends, and links that were mailed to the old address open nothing any more. Raises ChangeGone,
    and AddressTaken when somebody has it by now. The accounts that are billed to the person are locked first, so that
    whoever is just writing down for Stripe whose they are takes turns with it.
    """
    account_ids = _lock_owned_accounts(session, user_id)
    user = _lock_person(session, user_id)
    row = session.scalar(
        select(EmailChange).where(EmailChange.public_id == public_id, EmailChange.user_id == user_id).with_for_update()
    )
    if row is not None and row.confirmed_at is not None and row.email == user.email:
        return None
    if row is None or not _waits(row):
        raise ChangeGone(public_id)
    old = user.email
    _move(session, user, row.email)
    row.confirmed_at = clock.now()
    _rename_personal(session, user, old)
    for account_id in account_ids:
        former_mailboxes.remember(session, account_id, old)
    sessions.revoke_all(session, user_id, except_id=except_session)
    audit.record(
        session,
        actor=old,
        action="person.email_changed",
        about=("user", str(user_id)),
        key=f"email_change:{public_id}",
        account_id=account_ids[0] if account_ids else None,
        before={"email": old},
        after={"email": user.email},
    )
    failpoints.hit("address.changed")
    # As after a sign-up: what waits for whoever has this address is theirs.
    people.verify(session, user)
    return Changed(old, user.email, account_ids)


def _move(session: Session, user: User, email: str) -> None:
    owner = people.find_user(session, email)
    if owner is not None and owner.id != user.id:
        raise AddressTaken(email)
    try:
        with session.begin_nested():
            user.email, user.email_key = email, email_key(email)
            user.fs_uniquifier = people.new_uniquifier()
    except IntegrityError as error:
        # A sign-up with this address that is confirmed in the same moment is seen only here.
        raise AddressTaken(email) from error


def _rename_personal(session: Session, user: User, old: str) -> None:
    """Let an account that nobody gave a name of its own follow the address."""
    unnamed = Account.personal_user_id == user.id, Account.name == old.partition("@")[0]
    session.execute(update(Account).where(*unnamed).values(name=user.email.partition("@")[0]))


def _lock_owned_accounts(session: Session, user_id: int) -> tuple[int, ...]:
    mine = select(Membership.account_id).where(Membership.user_id == user_id, Membership.role == OWNER)
    owned = select(Account.id).where(Account.id.in_(mine)).order_by(Account.id)
    return tuple(session.scalars(owned.with_for_update()))


def _lock_person(session: Session, user_id: int) -> User:
    return session.get_one(User, user_id, with_for_update=True, populate_existing=True)


def _cancel_open(session: Session, user_id: int) -> bool:
    row = session.scalar(_open_of(user_id).with_for_update())
    if row is None:
        return False
    row.cancelled_at = clock.now()
    session.flush()
    return True


def _open_of(user_id: int) -> Select[EmailChange]:
    return select(EmailChange).where(
        EmailChange.user_id == user_id, EmailChange.confirmed_at.is_(None), EmailChange.cancelled_at.is_(None)
    )


def _waits(row: EmailChange) -> bool:
    return row.confirmed_at is None and row.cancelled_at is None and row.expires_at > clock.now()
