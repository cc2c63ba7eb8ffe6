"""Ask Stripe what happened, so that webhooks are only the faster of two ways."""

from __future__ import annotations

from datetime import timedelta

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
from billing import gateway, inbox
from billing.models import Cursor
from config import Config

CURSOR = "stripe_events"
# Events can become visible out of order: each poll looks back this far before the newest one seen.
OVERLAP = timedelta(minutes=10)


def poll() -> int:
    """Take in every event that Stripe has and the inbox has not; return how many were new.

    The cursor moves after the events are stored. Raises errors.StripeError.
    """
    config: Config = current_app.config["TOLLGATE"]
    since = database.write(_position)
    events = list(gateway.list_events(since=since - int(OVERLAP.total_seconds()), types=sorted(inbox.HANDLED)))
    new = 0
    for event in sorted(events, key=lambda e: e["created"]):
        new += database.write(inbox.receive, event, source="poll", livemode=config.is_live)
    if events:
        database.write(_move, max(event["created"] for event in events))
    return new


def _position(session: Session) -> int:
    """Return where to go on from, and write the start down: a worker that sleeps before the first event misses none."""
    known = session.scalar(select(Cursor.position).where(Cursor.name == CURSOR))
    if known is not None:
        return known
    position = int(clock.now().timestamp())
    _move(session, position)
    return position


def _move(session: Session, position: int) -> None:
    insert = database.insert(session, Cursor).values(name=CURSOR, position=position, moved_at=clock.now())
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"position": position, "moved_at": clock.now()},
            where=Cursor.position < position,
        )
    )
