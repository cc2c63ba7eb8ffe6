"""The queue of Stripe objects to fetch again: dirty marks, leases and fences.

Why it converges: an event raises `dirty` after its change happened; a claim reads `dirty` and takes a fence before it
fetches; so whoever sets `clean` to that value has seen the change or something newer, and an answer with an older
fence is thrown away.
"""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import clock
from billing.models import SyncTask

LEASE = timedelta(seconds=20)
MAX_ATTEMPTS = 12
LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True)
class Claim:
    """The right to fetch one object: whatever it brings covers the dirty marks up to `dirty`."""

    kind: str
    object_id: str
    dirty: int
    fence: int
    attempts: int


def _mark(insert: Any) -> Any:
    statement = insert(SyncTask.__table__)
    return statement.on_conflict_do_update(
        index_elements=["kind", "object_id"],
        set_={
            "dirty": SyncTask.dirty + 1,
            "next_at": statement.excluded.next_at,
            "state": "live",
            "attempts": 0,
            "first_dirty_at": func.coalesce(SyncTask.first_dirty_at, statement.excluded.first_dirty_at),
        },
    )


# Built once, as in the inbox: every webhook marks something.
_MARK = {"sqlite": _mark(sqlite.insert), "postgresql": _mark(postgresql.insert)}


def mark_dirty(session: Session, kind: str, object_id: str) -> None:
    """Say that an object may have changed; a task that had given up lives again."""
    now = clock.now()
    connection = session.connection()
    connection.execute(
        _MARK[connection.dialect.name],
        {"kind": kind, "object_id": object_id, "dirty": 1, "next_at": now, "first_dirty_at": now},
    )


def claim_due(session: Session) -> Claim | None:
    """Take the due task that waits longest, or None; the claim must be committed before anything is fetched."""
    now = clock.now()
    due = (
        select(SyncTask)
        .where(
            SyncTask.clean < SyncTask.dirty,
            SyncTask.state == "live",
            SyncTask.next_at <= now,
            or_(SyncTask.leased_until.is_(None), SyncTask.leased_until <= now),
        )
        .order_by(SyncTask.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)  # nothing on SQLite, where the transaction itself is exclusive
    )
    task = session.scalars(due).first()
    if task is None:
        return None
    if task.attempts >= MAX_ATTEMPTS:
        _bury(session, task)
        return claim_due(session)
    return _claim(session, task, now)


def _bury(session: Session, task: SyncTask) -> None:
    """Give up a task that has been claimed again and again and neither done nor put back: it ends its worker."""
    task.state, task.last_error = "dead", "every worker that claimed it ended before it was done"
    session.flush()


def claim(session: Session, kind: str, object_id: str) -> Claim:
    """Take one task whoever holds it, for a page that cannot wait; the fence keeps the other holder harmless."""
    mark_dirty(session, kind, object_id)
    task = session.get_one(SyncTask, (kind, object_id), with_for_update=True, populate_existing=True)
    return _claim(session, task, clock.now())


def _claim(session: Session, task: SyncTask, now: datetime) -> Claim:
    task.fence += 1
    task.attempts += 1
    task.leased_until = now + LEASE
    task.leased_by = f"{socket.gethostname()}:{os.getpid()}"
    session.flush()
    return Claim(task.kind, task.object_id, task.dirty, task.fence, task.attempts)


def complete(session: Session, claim: Claim) -> None:
    """Stamp the dirty marks that a claim covered; marks made since stay."""
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.clean < claim.dirty)
        .values(clean=claim.dirty, attempts=0, last_error=None)
    )
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.fence == claim.fence)
        .values(leased_until=None, leased_by=None)
    )
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.clean == SyncTask.dirty)
        .values(first_dirty_at=None)
    )


def fail(session: Session, claim: Claim, error: str) -> bool:
    """Put a task back with growing waits, or give it up; return whether it is dead now.

    A dead task stays visible and lives again with the next event or `flask webhooks replay`.
    """
    is_dead = claim.attempts >= MAX_ATTEMPTS
    wait = min(timedelta(seconds=2 ** (claim.attempts - 1)), LONGEST_WAIT)
    wait *= 1 + 0.2 * random.random()  # noqa: S311 - jitter, not a secret
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.fence == claim.fence)
        .values(
            next_at=clock.now() + wait,
            leased_until=None,
            leased_by=None,
            last_error=error[:2000],
            state="dead" if is_dead else "live",
        )
    )
    return is_dead


def waiting(session: Session) -> int:
    """Count the live tasks that are not in line with Stripe yet."""
    query = select(func.count()).select_from(SyncTask).where(SyncTask.clean < SyncTask.dirty, SyncTask.state == "live")
    return session.scalar(query) or 0


def oldest_wait(session: Session) -> timedelta:
    """Return for how long the oldest live dirty mark has waited; zero when there is none."""
    query = select(func.min(SyncTask.first_dirty_at)).where(SyncTask.clean < SyncTask.dirty, SyncTask.state == "live")
    oldest = session.scalar(query)
    return clock.now() - oldest if oldest else timedelta(0)
