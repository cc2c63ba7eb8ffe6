"""What a load balancer and an operator ask."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from billing import sync_queue
from extensions import db, limiter
from web import gates

bp = Blueprint("health", __name__)

TOO_OLD = timedelta(seconds=60)


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
    """Answer 200 when the database serves and nothing waits for the worker longer than a minute; else 503."""
    try:
        db.session.execute(text("SELECT 1"))
        waiting = sync_queue.oldest_wait(db.session())
    except SQLAlchemyError:
        return jsonify(status="unavailable", database="unreachable"), 503
    is_late = waiting > TOO_OLD
    body = jsonify(status="late" if is_late else "ok", oldest_sync_seconds=round(waiting.total_seconds(), 1))
    return body, 503 if is_late else 200
