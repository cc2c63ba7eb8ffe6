"""The queue of Stripe objects to fetch again: dirty marks, leases, fences, and what is done about failures.

Why it converges: an event raises `dirty` after its change happened; a claim reads `dirty` and takes a fence before it
fetches; so whoever sets `clean` to that value has seen the change or something newer, and an answer with an older
fence is thrown away.

Why nothing is given up in an outage: only what an object does itself counts against it - errors of its own, workers
that end while they hold it, and, once an hour, errors of Stripe's while others of its kind come through.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import clock
from billing import leases
from billing.models import StripeObject, SyncTask
from prepared import ONE, Prepared

Json = dict[str, Any]

LEASE = timedelta(seconds=20)
MAX_ATTEMPTS = 12
SHORTEST_WAIT = timedelta(seconds=1)
# After an outage everything is tried again within this time.
LONGEST_PASSING_WAIT = timedelta(seconds=60)
# How long Stripe must fail for one object, while others of its kind come through, to be counted as one attempt.
ALONE = timedelta(hours=1)


@dataclass(frozen=True)
class Claim:
    """The right to fetch one object: whatever it brings covers the dirty marks up to `dirty`."""

    kind: str
    object_id: str
    dirty: int
    fence: int
    attempts: int
    # Whether it was counted as an attempt: not when the holder before it lives and merely could not put it back.
    is_counted: bool = True


def mark(insert: Any) -> Any:
    """Return an INSERT into the queue, of either database's kind, that marks what is there already as dirtier."""
    return insert.on_conflict_do_update(
        index_elements=["kind", "object_id"],
        set_={
            "dirty": SyncTask.dirty + ONE,
            "next_at": insert.excluded.next_at,
            "state": literal_column("'live'"),
            "attempts": literal_column("0"),
            "first_dirty_at": func.coalesce(SyncTask.first_dirty_at, insert.excluded.first_dirty_at),
        },
    )


# Built once, as in the inbox: every webhook marks something.
MARK = Prepared(
    {"sqlite": mark(sqlite.insert(SyncTask)), "postgresql": mark(postgresql.insert(SyncTask))},
    columns=("kind", "object_id", "dirty", "next_at", "first_dirty_at"),
)


def mark_dirty(session: Session, kind: str, object_id: str) -> None:
    """Say that an object may have changed; a task that had given up lives again."""
    MARK.change(session.connection(), marking(kind, object_id))


def marking(kind: str, object_id: str) -> Json:
    """Return the parameters of MARK for an object that may have changed now."""
    now = clock.now()
    return {"kind": kind, "object_id": object_id, "dirty": 1, "next_at": now, "first_dirty_at": now}


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
        return claim_due(session) if free_leases_of_the_dead(session) else None
    if task.attempts >= MAX_ATTEMPTS:
        _bury(task)
        return claim_due(session)
    return _claim(session, task, now)


def free_leases_of_the_dead(session: Session) -> int:
    """End the leases whose holder's process is gone, instead of waiting for them to run out; return how many."""
    is_leased = (SyncTask.clean < SyncTask.dirty, SyncTask.state == "live", SyncTask.leased_until > clock.now())
    holders = session.scalars(select(SyncTask.leased_by).where(*is_leased).distinct()).all()
    gone = [name for name in holders if name and leases.is_gone(name)]
    if not gone:
        return 0
    freed = update(SyncTask).where(*is_leased, SyncTask.leased_by.in_(gone)).values(leased_until=None)
    return len(session.execute(freed.returning(SyncTask.object_id)).all())


def _bury(task: SyncTask) -> None:
    """Give up a task that has been claimed again and again and neither done nor put back: it ends its worker."""
    task.state, task.last_error = "dead", "every worker that claimed it ended before it was done"


def claim(session: Session, kind: str, object_id: str) -> Claim:
    """Take one task whoever holds it, for a page that cannot wait; the fence keeps the other holder harmless."""
    mark_dirty(session, kind, object_id)
    task = session.get_one(SyncTask, (kind, object_id), populate_existing=True)  # locked by the mark
    return _claim(session, task, clock.now())


def _claim(session: Session, task: SyncTask, now: datetime) -> Claim:
    # A holder that lives did not end by this object: the database was away when it wanted to put it back.
    is_counted = task.leased_by is None or not leases.is_here(task.leased_by)
    task.fence = (task.fence or _applied_fence(session, task)) + 1
    task.attempts += is_counted
    task.leased_until = now + LEASE
    task.leased_by = leases.holder()
    return Claim(task.kind, task.object_id, task.dirty, task.fence, task.attempts, is_counted)


def _applied_fence(session: Session, task: SyncTask) -> int:
    """Return the fence of what is known of an object: a task that was lost and made anew must not fall behind it."""
    known = session.get(StripeObject, (task.kind, task.object_id))
    return known.applied_fence if known else 0


def complete(session: Session, claim: Claim) -> None:
    """Stamp the dirty marks that a claim covered; marks made since stay."""
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.clean < claim.dirty)
        .values(clean=claim.dirty, attempts=0, last_error=None, failing_since=None)
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
    """Put a task back after an error of its own, with growing waits, or give it up; return whether it is dead now.

    A dead task stays visible and lives again with the next event or `flask webhooks replay`.
    """
    task = _held(session, claim)
    if task is None:
        return False
    task.state = "dead" if task.attempts >= MAX_ATTEMPTS else "live"
    task.failing_since = None
    _put_back(task, claim, error, _jittered(SHORTEST_WAIT * 2 ** max(task.attempts - 1, 0)))
    return task.state == "dead"


def postpone(session: Session, claim: Claim, error: str, *, retry_after: float = 0.0) -> bool:
    """Put a task back after a passing error, which is not the object's fault; return whether it is dead now.

    It is tried again within a minute for as long as the trouble lasts, not before `retry_after` seconds. Only when
    others of its kind come through for an hour and it never does is that counted as one attempt.
    """
    if claim.is_counted:
        _take_back_the_attempt(session, claim)
    task = _held(session, claim)
    if task is None:
        return False
    now = clock.now()
    if task.failing_since is None:
        task.failing_since = now
    elif now - task.failing_since >= ALONE and _others_came_through(session, task):
        task.failing_since = now
        task.attempts += 1
        task.state = "dead" if task.attempts >= MAX_ATTEMPTS else "live"
    wait = _jittered(min(max(now - task.failing_since, SHORTEST_WAIT), LONGEST_PASSING_WAIT))
    _put_back(task, claim, error, max(wait, timedelta(seconds=retry_after)))
    return task.state == "dead"


def _take_back_the_attempt(session: Session, claim: Claim) -> None:
    # Whoever holds it now: this claim's attempt was not the object's fault.
    session.execute(
        update(SyncTask)
        .where(SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.attempts > 0)
        .values(attempts=SyncTask.attempts - 1)
    )


def _held(session: Session, claim: Claim) -> SyncTask | None:
    """Lock the task of a claim; None when somebody else has claimed it since."""
    query = select(SyncTask).where(
        SyncTask.kind == claim.kind, SyncTask.object_id == claim.object_id, SyncTask.fence == claim.fence
    )
    return session.scalars(query.with_for_update()).first()


def _put_back(task: SyncTask, claim: Claim, error: str, wait: timedelta) -> None:
    if task.dirty > claim.dirty:
        task.state, wait = "live", timedelta(0)  # there is news, which may have mended it
    task.next_at = clock.now() + wait
    task.leased_until = task.leased_by = None
    task.last_error = error[:2000]


def _jittered(wait: timedelta) -> timedelta:
    return wait * (1 - 0.2 * random.random())  # noqa: S311 - so that not all come at once, not a secret


def _others_came_through(session: Session, task: SyncTask) -> bool:
    others = select(StripeObject.stripe_id).where(
        StripeObject.kind == task.kind,
        StripeObject.stripe_id != task.object_id,
        StripeObject.fetched_at >= task.failing_since,
    )
    return bool(session.scalar(select(others.exists())))


def kind_of(session: Session, object_id: str) -> str | None:
    """Return the kind of an object that was ever marked; None when it never was."""
    return session.scalar(select(SyncTask.kind).where(SyncTask.object_id == object_id))


def revive_all(session: Session) -> None:
    """Let everything that was given up be worked on again."""
    for kind, object_id in session.execute(
        select(SyncTask.kind, SyncTask.object_id).where(SyncTask.state == "dead").order_by(SyncTask.first_dirty_at)
    ).all():
        mark_dirty(session, kind, object_id)


def waiting(session: Session) -> int:
    """Count the live tasks that are not in line with Stripe yet."""
    query = select(func.count()).select_from(SyncTask).where(SyncTask.clean < SyncTask.dirty, SyncTask.state == "live")
    return session.scalar(query) or 0


def given_up(session: Session) -> int:
    """Count the tasks that were given up."""
    return session.scalar(select(func.count()).select_from(SyncTask).where(SyncTask.state == "dead")) or 0


def oldest_wait(session: Session) -> timedelta:
    """Return for how long the oldest live dirty mark has waited; zero when there is none."""
    query = select(func.min(SyncTask.first_dirty_at)).where(SyncTask.clean < SyncTask.dirty, SyncTask.state == "live")
    oldest = session.scalar(query)
    return clock.now() - oldest if oldest else timedelta(0)
