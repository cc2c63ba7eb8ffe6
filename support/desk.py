"""The support desk: a question is kept with its promise and mailed to the operator, and staff marks it as answered.

The answer itself goes by mail, from person to person; the desk only knows whether it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.orm import Session

import clock
from accounts import audit, people
from accounts.models import Account, User
from mail import outbox
from support import hours
from support.hours import Desk
from support.models import SupportRequest

MOST_PER_HOUR = 5
HOUR = timedelta(hours=1)


class TooManyRequests(Exception):
    """The person has asked as often as one may in an hour."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and for which account."""

    user_id: int
    account_id: int
    email: str


def ask(
    session: Session,
    asker: Asker,
    *,
    subject: str,
    message: str,
    is_priority: bool,
    desk: Desk,
    operator: str,
    key: str,
) -> SupportRequest:
    """Keep a question, once per one-time number, and promise its mails: to the operator, and to who asked.

    Raises TooManyRequests. The person's account is locked first, so that forms sent at once are counted in turn.
    """
    people.lock_account(session, asker.account_id)
    mine = select(SupportRequest).where(SupportRequest.user_id == asker.user_id)
    kept = session.scalar(mine.where(SupportRequest.idempotency_key == key))
    if kept is not None:
        return kept
    _refuse_floods(session, asker.user_id)
    now = clock.now()
    made = SupportRequest(
        account_id=asker.account_id,
        user_id=asker.user_id,
        subject=subject,
        message=message,
        is_priority=is_priority,
        idempotency_key=key,
        created_at=now,
        due_at=hours.due_at(now, desk, is_priority=is_priority),
    )
    session.add(made)
    session.flush()
    for template, to in (("support_request", operator), ("support_received", asker.email)):
        outbox.queue(
            session,
            template,
            to=to,
            context={"request": made.public_id},
            dedupe_key=f"{template}:{made.public_id}",
            account_id=asker.account_id,
        )
    return made


def asked_by(session: Session, user_id: int, limit: int = 20) -> Sequence[SupportRequest]:
    """Return what a person asked, whatever account they acted for, the latest first."""
    mine = select(SupportRequest).where(SupportRequest.user_id == user_id)
    return session.scalars(mine.order_by(SupportRequest.id.desc()).limit(limit)).all()


def waiting(session: Session, limit: int = 200) -> Sequence[Row[SupportRequest, User, Account]]:
    """Return what waits for an answer with who asked, the first due first."""
    query = _with_people().where(SupportRequest.answered_at.is_(None)).order_by(SupportRequest.due_at)
    return session.execute(query.limit(limit)).all()


def answered(session: Session, limit: int = 50) -> Sequence[Row[SupportRequest, User, Account]]:
    """Return what was answered with who asked, the latest answer first."""
    query = _with_people().where(SupportRequest.answered_at.is_not(None))
    return session.execute(query.order_by(SupportRequest.answered_at.desc()).limit(limit)).all()


def count_waiting(session: Session, *, only_overdue: bool = False) -> int:
    """Count what waits for an answer, or of that what should have had one."""
    query = select(func.count()).select_from(SupportRequest).where(SupportRequest.answered_at.is_(None))
    if only_overdue:
        query = query.where(SupportRequest.due_at <= clock.now())
    return session.scalars(query).one()


def mark_answered(session: Session, public_id: str, *, actor: str, key: str) -> SupportRequest | None:
    """Note that a question was answered, with its line in the audit log; None when there is none. Twice counts once."""
    query = select(SupportRequest).where(SupportRequest.public_id == public_id).with_for_update()
    found = session.scalar(query)
    if found is None or found.answered_at is not None or audit.is_done(session, key):
        return found
    found.answered_at = clock.now()
    audit.record(
        session,
        actor=actor,
        action="support.answered",
        about=("support_request", public_id),
        key=key,
        account_id=found.account_id,
        after={"subject": found.subject, "was_late": found.due_at <= found.answered_at},
    )
    return found


def _refuse_floods(session: Session, user_id: int) -> None:
    lately = select(func.count()).select_from(SupportRequest).where(SupportRequest.user_id == user_id)
    if session.scalars(lately.where(SupportRequest.created_at > clock.now() - HOUR)).one() >= MOST_PER_HOUR:
        raise TooManyRequests(user_id)


def _with_people() -> Select[SupportRequest, User, Account]:
    query = select(SupportRequest, User, Account).join(User, User.id == SupportRequest.user_id)
    return query.join(Account, Account.id == SupportRequest.account_id)


def forget(session: Session, account_id: int) -> None:
    """Remove the words of what was asked for an account; a question without an answer is closed."""
    asked = update(SupportRequest).where(SupportRequest.account_id == account_id)
    session.execute(asked.where(SupportRequest.answered_at.is_(None)).values(answered_at=clock.now()))
    session.execute(asked.values(subject="Deleted", message="Deleted"))
