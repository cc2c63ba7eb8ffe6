"""Ask Stripe what happened, so that webhooks are only the faster of two ways."""

from __future__ import annotations

from datetime import timedelta

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from billing import errors, gateway, inbox, pulse
from billing.models import Cursor
from config import Config
from extensions import db

CURSOR = "stripe_events"
# Events can become visible out of order: each poll looks back this far before the newest one seen.
OVERLAP = timedelta(minutes=10)


def poll() -> int:
    """Take in every event that Stripe has and the inbox has not; return how many were new.

    The cursor moves after the events are stored. Raises errors.StripeError.
    """
    config: Config = current_app.config["TOLLGATE"]
    since = database.write(_position)
    failpoints.hit("poll.positioned")
    try:
        events = list(gateway.list_events(since=since - int(OVERLAP.total_seconds()), types=sorted(inbox.HANDLED)))
    except errors.StripeKeyRefused:
        database.write(pulse.note, pulse.KEY_REFUSED)
        raise
    failpoints.hit("poll.listed")
    database.write(pulse.forget, pulse.KEY_REFUSED)
    new = 0
    known = inbox.known(db.session(), [event["id"] for event in events])
    # What is looked back at is mostly known: to write it down again would count deliveries that nobody made.
    for event in sorted((e for e in events if e["id"] not in known), key=lambda e: e["created"]):
        new += database.write(inbox.receive, event, source="poll", livemode=config.is_live)
        failpoints.hit("poll.stored")
    if events:
        database.write(_move, max(event["created"] for event in events))
        failpoints.hit("poll.moved")
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
