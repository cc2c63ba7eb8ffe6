"""Signed-in browsers as rows, so that a copied cookie is worthless once its row is revoked or too old."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

import clock
from accounts import rows
from accounts.models import Account, User, UserSession
from accounts.rows import AccountRow, PersonRow
from prepared import Reading

IDLE = timedelta(hours=12)
LIFETIME = timedelta(days=14)
REMEMBERED_IDLE = timedelta(days=14)
REMEMBERED_LIFETIME = timedelta(days=30)
# How stale last_seen_at may be: it bounds what a busy browser writes.
TOUCH_EVERY = timedelta(minutes=10)
KEEP_ENDED = timedelta(days=30)
# For how long a given password stands for dangerous actions too.
RECENT = timedelta(minutes=30)


class Live(NamedTuple):
    """A session that has not ended: its row's id, whose it is, and their personal account.

    `confirmed_at` is when the password was given the last time: where it began, or since then when asked again.
    """

    id: int
    last_seen_at: datetime
    confirmed_at: datetime
    person: PersonRow
    account: AccountRow | None


def _live(session_id: int, last_seen_at: datetime, confirmed_at: datetime, *columns: Any) -> Live:
    person, account = columns[: len(rows.PERSON_COLUMNS)], columns[len(rows.PERSON_COLUMNS) :]
    has_account = account[0] is not None
    return Live(
        session_id, last_seen_at, confirmed_at, PersonRow(*person), AccountRow(*account) if has_account else None
    )


# Every page of a signed-in person begins with it.
_LIVE = Reading(
    select(
        UserSession.id,
        UserSession.last_seen_at,
        func.coalesce(UserSession.confirmed_at, UserSession.created_at),
        *rows.PERSON_COLUMNS,
        *rows.ACCOUNT_COLUMNS,
    )
    .select_from(UserSession)
    .join(User, User.id == UserSession.user_id)
    .outerjoin(Account, Account.personal_user_id == User.id)
    .where(UserSession.token_hash == bindparam("token_hash"), UserSession.revoked_at.is_(None))
    .where(UserSession.idle_expires_at > bindparam("now"), UserSession.expires_at > bindparam("now"), User.active),
    _live,
)


def start(session: Session, user_id: int, *, is_remembered: bool, address: str = "", user_agent: str = "") -> str:
    """Open a session and return its secret, which is stored nowhere but in the browser."""
    now = clock.now()
    token = secrets.token_urlsafe(32)
    session.add(
        UserSession(
            token_hash=hash_of(token),
            user_id=user_id,
            is_remembered=is_remembered,
            last_seen_at=now,
            idle_expires_at=now + (REMEMBERED_IDLE if is_remembered else IDLE),
            expires_at=now + (REMEMBERED_LIFETIME if is_remembered else LIFETIME),
            address=network_of(address),
            user_agent=user_agent[:255],
        )
    )
    return token


def find(session: Session, token: str) -> Live | None:
    """Return the live session behind a secret; None when it ended or its person is disabled."""
    return _LIVE.first(session, token_hash=hash_of(token), now=clock.now())


def needs_touch(found: Live) -> bool:
    """Tell whether the session was last seen so long ago that it should be noted."""
    return clock.now() - found.last_seen_at >= TOUCH_EVERY


def touch(session: Session, session_id: int) -> None:
    """Note that the browser was here now, which postpones the idle end but never the absolute one."""
    row = session.get(UserSession, session_id)
    if row is None or row.revoked_at is not None:
        return
    row.last_seen_at = clock.now()
    idle = REMEMBERED_IDLE if row.is_remembered else IDLE
    row.idle_expires_at = min(row.last_seen_at + idle, row.expires_at)


def is_recent(found: Live) -> bool:
    """Tell whether the password of a session was given lately."""
    return clock.now() - found.confirmed_at < RECENT


def confirm(session: Session, session_id: int) -> None:
    """Note that the password was given again now, in this session alone."""
    session.execute(update(UserSession).where(UserSession.id == session_id).values(confirmed_at=clock.now()))


def revoke(session: Session, session_id: int) -> None:
    """End one session."""
    ended = update(UserSession).where(UserSession.id == session_id, UserSession.revoked_at.is_(None))
    session.execute(ended.values(revoked_at=clock.now()))


def revoke_own(session: Session, user_id: int, session_id: int) -> bool:
    """End one session of a person; False when it is nobody's, another's, or ended before."""
    mine = update(UserSession).where(UserSession.id == session_id, UserSession.user_id == user_id)
    ended = mine.where(UserSession.revoked_at.is_(None)).values(revoked_at=clock.now()).returning(UserSession.id)
    return session.execute(ended).scalar_one_or_none() is not None


def revoke_all(session: Session, user_id: int, *, except_id: int | None = None) -> None:
    """End every session of a person, or all but one."""
    ended = update(UserSession).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if except_id is not None:
        ended = ended.where(UserSession.id != except_id)
    session.execute(ended.values(revoked_at=clock.now()))


def live(session: Session, user_id: int) -> list[UserSession]:
    """Return the person's live sessions, the last used first."""
    now = clock.now()
    mine = (
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
        .where(UserSession.idle_expires_at > now, UserSession.expires_at > now)
        .order_by(UserSession.last_seen_at.desc())
    )
    return list(session.scalars(mine))


def sweep(session: Session) -> int:
    """Forget sessions that ended long ago; return how many."""
    old = delete(UserSession).where(UserSession.expires_at < clock.now() - KEEP_ENDED).returning(UserSession.id)
    return len(session.scalars(old).all())


def hash_of(token: str) -> str:
    """Return how a secret of 256 random bits is stored; it is random, so a fast hash is safe."""
    return hashlib.sha256(token.encode()).hexdigest()


def network_of(address: str) -> str:
    """Return the network an address is in (/24 or /48): enough to recognise a place, too little to track a person."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False))
