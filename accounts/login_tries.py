"""How often a password was guessed for one person, wherever the guesses came from, and how long to wait after that.

Counted is what was typed, whether or not anybody has such an address, so that waiting tells nothing. A browser in which
the person has logged in before is counted by itself: strangers who guess cannot make it wait.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
import database
from accounts.identity import email_key
from accounts.sessions import hash_of
from database import UtcDateTime
from extensions import Base

FREE = 10
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(days=1)


class LoginTries(Base):
    """The tries in a row for one subject, of which none was right; a hash, so that the table lists no addresses."""

    __tablename__ = "login_tries"

    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    tries: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    opens_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TooManyTries(Exception):
    """So many passwords were wrong that the next one has to wait until `opens_at`."""

    def __init__(self, opens_at: datetime) -> None:
        super().__init__(f"wait until {opens_at.isoformat()}")
        self.opens_at = opens_at


def by_address(email: str) -> str:
    """Return the subject of guesses for an address, however it is spelled."""
    return hash_of(f"address:{email_key(email)}")


def by_browser(nonce: str) -> str:
    """Return the subject of guesses from one browser that has logged in before."""
    return hash_of(f"browser:{nonce}")


def by_person(user_id: int) -> str:
    """Return the subject of guesses by somebody who is signed in and is asked for the password again."""
    return hash_of(f"person:{user_id}")


def count(session: Session, subject: str) -> None:
    """Count a try before its password is looked at, so that many at once are no way around; raise TooManyTries.

    Who has to wait is not counted, so asking again makes no wait longer. The first FREE tries are followed by no wait,
    each later one by twice the wait before, up to LONGEST_WAIT.
    """
    now = clock.now()
    new = database.insert(session, LoginTries).values(subject=subject, tries=0, last_at=now, opens_at=now)
    session.execute(new.on_conflict_do_nothing())
    row = session.get_one(LoginTries, subject, with_for_update=True)
    if row.opens_at > now:
        raise TooManyTries(row.opens_at)
    row.tries = 1 if now - row.last_at >= FORGOTTEN_AFTER else row.tries + 1
    row.last_at, row.opens_at = now, now + wait_after(row.tries)


def wait_after(tries: int) -> timedelta:
    """Return how long the next try has to wait after so many wrong ones."""
    if tries < FREE:
        return timedelta()
    # The exponent is bounded too: nobody knows how long somebody will go on.
    doubled = 1 << min(tries - FREE, 16)
    return min(FIRST_WAIT * doubled, LONGEST_WAIT)


def forget(session: Session, subject: str) -> None:
    """Begin to count anew, because a password was right or was set by a mailed link."""
    session.execute(delete(LoginTries).where(LoginTries.subject == subject))


def sweep(session: Session) -> int:
    """Remove what would begin anew anyway; return how many rows."""
    old = delete(LoginTries).where(LoginTries.last_at < clock.now() - FORGOTTEN_AFTER)
    return len(session.scalars(old.returning(LoginTries.subject)).all())
