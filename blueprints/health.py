"""What a load balancer, an alarm and an operator ask."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from billing import pulse, sync_queue
from extensions import db, limiter
from web import gates

bp = Blueprint("health", __name__)

TOO_OLD = timedelta(seconds=60)
TOO_QUIET = timedelta(seconds=45)


@bp.get("/healthz")
@gates.public
@limiter.exempt
def alive() -> Response:
    """Answer 200 as long as the process serves."""
    return jsonify(status="ok")


@bp.get("/readyz")
@gates.public
@limiter.exempt
def ready() -> tuple[Response, int]:
    """Answer 200 when this process can serve, which needs the database; else 503, for a load balancer.

    How long the oldest object has waited for the worker is told and takes nobody out of service.
    """
    try:
        waiting = sync_queue.oldest_wait(db.session())
    except SQLAlchemyError:
        return _database_away()
    return jsonify(status="ok", oldest_sync_seconds=round(waiting.total_seconds(), 1)), 200


@bp.get("/healthz/worker")
@gates.public
@limiter.exempt
def working() -> tuple[Response, int]:
    """Answer 200 while the work behind the pages goes on; else 503, for an alarm, with what is wrong.

    Wrong is: nothing was heard of a worker for 45 seconds, an object waits longer than a minute, or Stripe refuses the
    key.
    """
    session = db.session()
    try:
        waiting = sync_queue.oldest_wait(session)
        beat = pulse.age(session, pulse.WORKER)
        is_refused = pulse.age(session, pulse.KEY_REFUSED) is not None
        given_up = sync_queue.given_up(session)
    except SQLAlchemyError:
        return _database_away()
    signs = {
        "no worker runs": beat is None or beat > TOO_QUIET,
        "objects wait": waiting > TOO_OLD,
        "Stripe refuses the key": is_refused,
    }
    wrong = [sign for sign, is_seen in signs.items() if is_seen]
    body = jsonify(
        status="late" if wrong else "ok",
        wrong=wrong,
        oldest_sync_seconds=round(waiting.total_seconds(), 1),
        worker_seen_seconds=None if beat is None else round(beat.total_seconds(), 1),
        given_up=given_up,
    )
    return body, 503 if wrong else 200


def _database_away() -> tuple[Response, int]:
    return jsonify(status="unavailable", database="unreachable"), 503
