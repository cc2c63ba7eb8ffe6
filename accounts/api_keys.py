"""Keys by which programs sign in for an account: made, found by their secret, revoked.

Of a secret only the SHA-256 is kept: it is 256 random bits, so a fast hash is safe, and whoever makes a key sees its
secret once. A key acts for the account and stands on the person who made it: when that person is disabled or no longer
an owner or admin of the account, it opens nothing.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, String, UniqueConstraint, bindparam, func, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
from accounts import people
from accounts.models import ADMIN, OWNER, Account, Membership, User, new_public_id
from accounts.sessions import hash_of
from database import BigId, UtcDateTime
from extensions import Base

MARK = "tg_live_"
SHOWN = len(MARK) + 6
MOST_LIVE = 20
MAX_NAME = 60
# How stale last_used_at may be: it bounds what a busy program writes.
TOUCH_EVERY = timedelta(minutes=1)
MAY_HOLD = (OWNER, ADMIN)


class ApiKey(Base):
    """A key of an account; `prefix` is what pages show of it, `secret_hash` what it is recognised by."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("account_id", "idempotency_key"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=new_public_id)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    created_by: Mapped[int] = mapped_column(BigId, ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    prefix: Mapped[str] = mapped_column(String(20))
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    idempotency_key: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class TooManyKeys(Exception):
    """The account has as many keys as one may have."""


# Built once: every request of a program begins with it.
_LIVE = (
    select(ApiKey, User, Account, Membership.role)
    .join(Account, Account.id == ApiKey.account_id)
    .join(User, User.id == ApiKey.created_by)
    .join(Membership, (Membership.account_id == ApiKey.account_id) & (Membership.user_id == ApiKey.created_by))
    .where(ApiKey.secret_hash == bindparam("secret_hash"), ApiKey.revoked_at.is_(None))
    .where(User.active, Membership.role.in_(MAY_HOLD))
)


def new_secret() -> str:
    """Return a secret of 256 random bits, marked so that scanners of leaked code know what it is."""
    return MARK + secrets.token_hex(32)


def make(session: Session, account_id: int, user_id: int, name: str, *, secret: str, key: str) -> ApiKey | None:
    """Make a key, once per one-time number `key`; None when that has made one, whose secret nobody knows any more.

    Raises TooManyKeys. The account's row is locked before counting, so that two forms at the last place take turns.
    """
    people.lock_account(session, account_id)
    mine = select(ApiKey.id).where(ApiKey.account_id == account_id)
    if session.scalar(mine.where(ApiKey.idempotency_key == key)) is not None:
        return None
    live = select(func.count()).select_from(ApiKey).where(ApiKey.revoked_at.is_(None))
    if session.scalars(live.where(ApiKey.account_id == account_id)).one() >= MOST_LIVE:
        raise TooManyKeys(account_id)
    made = ApiKey(
        account_id=account_id,
        created_by=user_id,
        name=name,
        prefix=secret[:SHOWN],
        secret_hash=hash_of(secret),
        idempotency_key=key,
    )
    session.add(made)
    session.flush()
    return made


def find(session: Session, secret: str) -> tuple[ApiKey, User, Account, str] | None:
    """Return the live key behind a secret, who it stands on, the account and their role in it; None for all others."""
    row = session.execute(_LIVE, {"secret_hash": hash_of(secret)}).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3])


def needs_touch(row: ApiKey) -> bool:
    """Tell whether the key was last seen so long ago that it should be noted."""
    return row.last_used_at is None or clock.now() - row.last_used_at >= TOUCH_EVERY


def touch(session: Session, key_id: int) -> None:
    """Note that the key was used now, at most once in TOUCH_EVERY whatever the number of requests at once."""
    now = clock.now()
    is_stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - TOUCH_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, is_stale).values(last_used_at=now))


def revoke(session: Session, account_id: int, public_id: str) -> ApiKey | None:
    """End a key of an account at once and for good; None when the account has no such key. Doing it again is fine."""
    people.lock_account(session, account_id)
    row = find_own(session, account_id, public_id)
    if row is not None and row.revoked_at is None:
        row.revoked_at = clock.now()
    return row


def find_own(session: Session, account_id: int, public_id: str) -> ApiKey | None:
    """Find a key of an account, live or revoked; None for those of other accounts."""
    return session.scalar(select(ApiKey).where(ApiKey.account_id == account_id, ApiKey.public_id == public_id))


def listed(session: Session, account_id: int, limit: int = 50) -> list[tuple[ApiKey, str]]:
    """Return an account's keys with the addresses of those who made them: live ones first, the newest first."""
    query = (
        select(ApiKey, User.email)
        .join(User, User.id == ApiKey.created_by)
        .where(ApiKey.account_id == account_id)
        .order_by(ApiKey.revoked_at.is_not(None), ApiKey.id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]
