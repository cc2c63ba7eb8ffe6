"""Make, find and remove projects; how many there are is what the limit of that name counts."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts import people
from billing import limits
from projects.models import Project

LIMIT, METER = "projects", "events"


@limits.counts(LIMIT)
def count(session: Session, account_id: int) -> int:
    """Return how many projects an account has."""
    query = select(func.count()).select_from(Project).where(Project.account_id == account_id)
    return session.scalar(query) or 0


def make(session: Session, account_id: int, name: str, *, key: str) -> Project:
    """Make a project, once per key; raise LimitReached when the plan has no room for one more.

    The account's row is locked before counting, so that two requests at the last place take turns.
    """
    people.lock_account(session, account_id)
    made = session.scalar(select(Project).where(Project.account_id == account_id, Project.idempotency_key == key))
    if made is not None:
        return made
    limits.ensure_room(session, account_id, LIMIT)
    project = Project(account_id=account_id, name=name, idempotency_key=key)
    session.add(project)
    session.flush()
    return project


def recent(session: Session, account_id: int, limit: int = 100) -> list[Project]:
    """List an account's projects, the latest first."""
    query = select(Project).where(Project.account_id == account_id).order_by(Project.id.desc()).limit(limit)
    return list(session.scalars(query))


def find(session: Session, account_id: int, public_id: str) -> Project | None:
    """Find a project of an account; None for those of others."""
    return session.scalar(select(Project).where(Project.account_id == account_id, Project.public_id == public_id))


def remove(session: Session, account_id: int, public_id: str) -> bool:
    """Remove a project and make room for another; return whether it was there."""
    people.lock_account(session, account_id)
    project = find(session, account_id, public_id)
    if project is None:
        return False
    session.delete(project)
    session.flush()
    return True


def forget(session: Session, account_id: int) -> None:
    """Take the names off an account's projects; what was counted for them stays, because it was billed."""
    session.execute(update(Project).where(Project.account_id == account_id).values(name="Deleted project"))
