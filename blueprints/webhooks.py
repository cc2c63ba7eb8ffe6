"""Where Stripe tells us that something changed."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import structlog
from flask import Blueprint, Response, current_app, request
from sqlalchemy.exc import SQLAlchemyError

import database
import failpoints
import group_commit
from billing import gateway, inbox, pulse
from billing.errors import ForeignSignature, UnverifiedWebhook
from config import Config
from extensions import csrf, db
from web import gates

bp = Blueprint("webhooks", __name__)
log = structlog.get_logger(__name__)

NOTE_SECONDS = 60.0


@bp.post("/webhooks/stripe")
@gates.machines
@csrf.exempt
def stripe() -> Response:
    """Store a signed event and answer 200; the worker does the rest.

    200 is never sent before the event is committed. 400 for everything that is not provably Stripe's, and then
    nothing is stored; 503 when the database cannot take it, so that Stripe delivers it again.
    """
    request.max_content_length = gateway.MAX_WEBHOOK_BYTES
    config: Config = current_app.config["TOLLGATE"]
    try:
        event, text = gateway.verify_event(request.get_data(cache=False), request.headers.get("Stripe-Signature", ""))
    except UnverifiedWebhook as error:
        log.warning("webhook refused", reason=str(error))
        if isinstance(error, ForeignSignature):
            _note_for_the_doctor()
        return _answer(400)
    failpoints.hit("ingest.verified")
    try:
        _store(event, text, livemode=config.is_live)
    except SQLAlchemyError:
        log.exception("webhook not stored", event_id=event["id"])
        return _answer(503)
    failpoints.hit("ingest.committed")
    return _answer(200)


def _store(event: dict[str, Any], text: str, *, livemode: bool) -> None:
    dialect = db.engine.dialect
    group_commit.store(inbox.receiving(dialect, event, text, source="webhook", livemode=livemode))


def _note_for_the_doctor() -> None:
    # Strangers can come here, so at most one write a minute is made of what they send.
    last = current_app.extensions.get("webhooks.noted_at", -NOTE_SECONDS)
    if time.monotonic() - last < NOTE_SECONDS:
        return
    current_app.extensions["webhooks.noted_at"] = time.monotonic()
    with suppress(SQLAlchemyError):
        database.write(pulse.note, pulse.SIGNATURE_REFUSED)


def _answer(status: int) -> Response:
    return Response(status=status, content_type="text/plain")
