"""From a filled-in form to a person: a sign-up waits until its address is confirmed, and only then makes a user."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import people
from accounts.identity import email_key
from accounts.models import Signup, User
from accounts.sessions import hash_of

LIFETIME = timedelta(hours=24)


class SignupGone(LookupError):
    """The sign-up was confirmed before, ran out, or never was."""


def start(session: Session, email: str, *, password_hash: str, next_path: str) -> tuple[Signup, str]:
    """Store a sign-up for 24 hours and return it with the secret that marks the browser it came from.

    It does the same work whether the address is known or not, so that neither the answer nor its time tells.
    """
    now = clock.now()
    session.execute(delete(Signup).where(Signup.expires_at < now))
    browser = secrets.token_urlsafe(32)
    signup = Signup(
        email=email,
        email_key=email_key(email),
        password=password_hash,
        browser_hash=hash_of(browser),
        next_path=next_path,
        expires_at=now + LIFETIME,
    )
    session.add(signup)
    session.flush()
    return signup, browser


def find(session: Session, public_id: str) -> Signup | None:
    """Return a sign-up that is still in time, confirmed or not."""
    return session.scalar(select(Signup).where(Signup.public_id == public_id, Signup.expires_at > clock.now()))


def find_of_browser(session: Session, browser: str) -> Signup | None:
    """Return the sign-up that was started by the browser which holds this secret."""
    return session.scalar(
        select(Signup).where(Signup.browser_hash == hash_of(browser), Signup.expires_at > clock.now())
    )


def is_from(signup: Signup, browser: str) -> bool:
    """Tell whether this browser started the sign-up."""
    return secrets.compare_digest(signup.browser_hash, hash_of(browser))


def confirm(session: Session, public_id: str) -> User:
    """Make the user and the personal account; the other sign-ups of the address are dropped.

    Raises SignupGone when it was confirmed before or ran out, and people.AddressTaken.
    """
    # Every sign-up of the address is locked, in one order: two of them confirmed at once would each hold the row that
    # the other has to drop.
    email_key = session.scalar(select(Signup.email_key).where(Signup.public_id == public_id))
    rivals = select(Signup).where(Signup.email_key == email_key).order_by(Signup.id).with_for_update()
    signup = next((row for row in session.scalars(rivals) if row.public_id == public_id), None)
    now = clock.now()
    if signup is None or signup.confirmed_at is not None or signup.expires_at <= now:
        raise SignupGone(public_id)
    user = people.create_user(session, email=signup.email, password_hash=signup.password, confirmed_at=now)
    signup.confirmed_at, signup.password = now, ""
    session.flush()
    session.execute(delete(Signup).where(Signup.email_key == signup.email_key, Signup.id != signup.id))
    failpoints.hit("verify.confirmed")
    return user
