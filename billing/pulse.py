"""Signs of life, and of trouble, that one process leaves in the database for others to see.

Health pages and `flask doctor` run elsewhere than the worker: what it does, and what was refused, has to be written.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

import clock
import database
from billing.models import Cursor

WORKER = "worker"
KEY_REFUSED = "stripe_key_refused"
SIGNATURE_REFUSED = "webhook_signature_refused"


def note(session: Session, name: str) -> None:
    """Write down that something happened just now."""
    now = clock.now()
    values = {"position": int(now.timestamp()), "moved_at": now}
    insert = database.insert(session, Cursor).values(name=name, **values)
    session.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))


def forget(session: Session, name: str) -> None:
    """Say that it is over; nothing happens when it was never noted."""
    session.execute(delete(Cursor).where(Cursor.name == name))


def age(session: Session, name: str) -> timedelta | None:
    """Return how long ago something was noted last; None when never, or when it is over."""
    at = session.scalar(select(Cursor.moved_at).where(Cursor.name == name))
    return None if at is None else clock.now() - at
