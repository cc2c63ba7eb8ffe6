"""Who may use the back office: named, taken away and listed from the command line, and written down for ever."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts import audit, people, sessions
from accounts.models import STAFF, Role, User

ACTOR = "command line"


class NoSuchPerson(LookupError):
    """Nobody has signed up with this address."""


class NotConfirmed(Exception):
    """The address was never confirmed, so nobody knows whose it is."""


def everybody(session: Session) -> Sequence[User]:
    """Return who may use the back office, by address."""
    return session.scalars(select(User).where(User.roles.any(Role.name == STAFF)).order_by(User.email_key)).all()


def add(session: Session, email: str) -> bool:
    """Let a person use the back office; False when they could before.

    Raises NoSuchPerson, and NotConfirmed: whoever reads a customer's data must have shown who they are.
    """
    user = _person(session, email)
    if not user.is_verified:
        raise NotConfirmed(user.email)
    if user.is_staff:
        return False
    user.roles.append(_role(session))
    _tell(session, user, "staff.add", is_staff=True)
    return True


def remove(session: Session, email: str) -> bool:
    """Close the back office to a person and end their sessions; False when it was closed. Raises NoSuchPerson."""
    user = _person(session, email)
    if not user.is_staff:
        return False
    user.roles = [role for role in user.roles if role.name != STAFF]
    sessions.revoke_all(session, user.id)
    _tell(session, user, "staff.remove", is_staff=False)
    return True


def _person(session: Session, email: str) -> User:
    user = people.find_user(session, email)
    if user is None:
        raise NoSuchPerson(email)
    return user


def _role(session: Session) -> Role:
    role = session.scalar(select(Role).where(Role.name == STAFF))
    return role or Role(name=STAFF, description="May use the back office")


def _tell(session: Session, user: User, action: str, *, is_staff: bool) -> None:
    audit.record(
        session,
        actor=ACTOR,
        action=action,
        about=("user", user.email),
        key=f"staff:{secrets.token_hex(16)}",
        before={"staff": not is_staff},
        after={"staff": is_staff},
    )
