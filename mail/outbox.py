"""The outbox: a mail is queued in the transaction that causes it, and sent by the worker at least once.

A crash between the mail server's yes and our note of it sends the mail again with the same Message-ID, so that mail
programs show it once. Nothing secret is stored: see mail/preparing.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Insert, Update, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from extensions import db
from mail import preparing, rendering, smtp
from mail.models import CANCELLED, DEAD, KEPT, PENDING, SENT, Email
from mail.preparing import NotNeeded, Prepared

LEASE = timedelta(seconds=60)
FIRST_RETRY = timedelta(seconds=30)
LAST_RETRY = timedelta(hours=6)
MAX_ATTEMPTS = 15
# The template of the mail that says that an account is deleted.
FAREWELL = "account_deleted"


@dataclass(frozen=True)
class Claim:
    """A mail that this process may send until its lease ends; `attempt` tells it from later claims of the same row."""

    id: int
    attempt: int
    uuid: str
    mail: Prepared


def queue(
    session: Session,
    template: str,
    *,
    to: str,
    context: Mapping[str, Any],
    dedupe_key: str,
    account_id: int | None = None,
    priority: int = 5,
    not_after: datetime | None = None,
) -> bool:
    """Promise a mail in the caller's transaction; return False when this dedupe_key was promised before.

    `template` names a folder of templates/mail; `context` must be JSON without secrets. Lower `priority` leaves
    first (0: somebody waits for it). After `not_after` the mail is cancelled instead of sent.
    """
    now = clock.now()
    insert = _insert(session).values(
        dedupe_key=dedupe_key,
        to_address=to,
        template=template,
        context=json.dumps(dict(context)),
        account_id=account_id,
        priority=priority,
        not_after=not_after,
        next_at=now,
        created_at=now,
    )
    is_new = session.scalar(insert.returning(Email.id)) is not None
    failpoints.hit("outbox.queued")
    return is_new


def queued_since(session: Session, to: str, since: datetime, *, account_id: int | None = None) -> int:
    """Count the mails promised to an address since an instant, by all or by one account, whatever became of them."""
    count = select(func.count()).select_from(Email).where(Email.to_address == to, Email.created_at >= since)
    if account_id is not None:
        count = count.where(Email.account_id == account_id)
    return session.scalar(count) or 0


def readdress(session: Session, old: str, new: str, account_ids: Sequence[int]) -> None:
    """Send what waits for an address about these accounts to another one: whose they are can be reached there now."""
    waiting = update(Email).where(Email.status == PENDING, Email.to_address == old, Email.account_id.in_(account_ids))
    session.execute(waiting.values(to_address=new))


def forget_address(session: Session, old: str, nobody: str) -> None:
    """Take an address off every mail to it; one that waits is not sent any more."""
    waiting = update(Email).where(Email.to_address == old, Email.status == PENDING)
    session.execute(waiting.values(status=CANCELLED, last_error="the account was deleted", leased_until=None))
    session.execute(update(Email).where(Email.to_address == old).values(to_address=nobody, context="{}"))


def forget_farewells(session: Session) -> int:
    """Take the addresses off the mails that told people of the end of their account, once they have left; count them.

    It is the last place where such an address stands.
    """
    left = update(Email).where(Email.template == FAREWELL, Email.status.not_in((PENDING, DEAD)))
    gone = left.where(Email.to_address.not_like(f"%@{people.NOBODY}"))
    return len(session.execute(gone.values(to_address=f"farewell@{people.NOBODY}").returning(Email.id)).all())


def send_due(limit: int = 100) -> int:
    """Send up to `limit` mails that are due and return how many left (or were kept, when no server is configured).

    Call it outside of any transaction, in an app context. It stops early when the mail server cannot be reached.
    """
    done = 0
    with smtp.Mailer() as mailer:
        for _ in range(limit):
            claim = database.write(_claim)
            if claim is None or not _deliver(mailer, claim):
                break
            done += 1
    return done


def oldest_pending_at(session: Session) -> datetime | None:
    """Return since when the longest waiting mail has been due, for the readiness check."""
    return session.scalar(select(func.min(Email.next_at)).where(Email.status == PENDING))


def find_dead(session: Session, uuid: str) -> Email | None:
    """Find a mail that was given up, and lock it until the transaction ends."""
    return session.scalar(select(Email).where(Email.uuid == uuid, Email.status == DEAD).with_for_update())


def revive(session: Session, email: Email) -> None:
    """Queue a mail that was given up again, with all of its attempts; it has the Message-ID that it had."""
    email.status, email.attempts, email.next_at = PENDING, 0, clock.now()
    email.leased_until = email.not_after = None
    session.flush()


def _insert(session: Session) -> Insert:
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(Email).on_conflict_do_nothing(index_elements=["dedupe_key"])
    return postgresql.insert(Email).on_conflict_do_nothing(index_elements=["dedupe_key"])


def _claim(session: Session) -> Claim | None:
    now = clock.now()
    due = (
        select(Email)
        .where(Email.status == PENDING, Email.next_at <= now)
        .where(or_(Email.leased_until.is_(None), Email.leased_until <= now))
        .order_by(Email.priority, Email.next_at, Email.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    email = session.scalar(due)
    if email is None:
        return None
    email.attempts += 1
    email.leased_until = now + LEASE
    mail = Prepared(email.template, email.to_address, json.loads(email.context))
    if email.not_after is not None and email.not_after <= now:
        email.status, email.last_error = CANCELLED, "not sent in time"
        session.flush()
        return _claim(session)
    return Claim(email.id, email.attempts, email.uuid, mail)


def _deliver(mailer: smtp.Mailer, claim: Claim) -> bool:
    """Send one mail and note the outcome; False ends the round."""
    failpoints.hit("outbox.claimed")
    try:
        prepared = preparing.prepare(db.session(), claim.mail)
        message = rendering.render(prepared, claim.uuid)
        db.session.rollback()
        failpoints.hit("outbox.rendered")
        mailer.send(message)
        failpoints.hit("outbox.sent")
    except NotNeeded as reason:
        database.write(_note, claim, status=CANCELLED, last_error=str(reason))
    except smtp.Refused as error:
        database.write(_note, claim, status=DEAD, last_error=str(error))
    except smtp.Unreachable as error:
        database.write(_postpone, claim, str(error))
        failpoints.hit("outbox.postponed")
        return False
    except Exception as error:
        # A template or a row that cannot be rendered must not hold up the mails behind it.
        database.write(_postpone, claim, repr(error))
    else:
        database.write(_note, claim, status=SENT if mailer.is_configured else KEPT, last_error=None)
    failpoints.hit("outbox.committed")
    return True


def _note(session: Session, claim: Claim, *, status: str, last_error: str | None) -> None:
    sent_at = clock.now() if status == SENT else None
    session.execute(
        _claimed(claim).values(status=status, last_error=_short(last_error), leased_until=None, sent_at=sent_at)
    )
    failpoints.hit("outbox.noted")


def _postpone(session: Session, claim: Claim, error: str) -> None:
    if claim.attempt >= MAX_ATTEMPTS:
        _note(session, claim, status=DEAD, last_error=error)
        return
    wait = min(FIRST_RETRY * 2 ** (claim.attempt - 1), LAST_RETRY)
    session.execute(_claimed(claim).values(next_at=clock.now() + wait, leased_until=None, last_error=_short(error)))


def _claimed(claim: Claim) -> Update:
    # A process whose lease ran out must not overwrite what the next one noted.
    return update(Email).where(Email.id == claim.id, Email.attempts == claim.attempt, Email.status == PENDING)


def _short(error: str | None) -> str | None:
    return error[:500] if error else error
