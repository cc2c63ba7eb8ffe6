"""Where Stripe tells us that something changed."""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, current_app, request
from sqlalchemy.exc import SQLAlchemyError

import database
from billing import gateway, inbox
from billing.errors import UnverifiedWebhook
from config import Config
from extensions import csrf, limiter
from web import gates

bp = Blueprint("webhooks", __name__)
log = structlog.get_logger(__name__)


@bp.post("/webhooks/stripe")
@gates.public
@csrf.exempt
@limiter.exempt
def stripe() -> Response:
    """Store a signed event and answer 200; the worker does the rest.

    200 is never sent before the event is committed. 400 for everything that is not provably Stripe's, and then
    nothing is stored; 503 when the database cannot take it, so that Stripe delivers it again.
    """
    request.max_content_length = gateway.MAX_WEBHOOK_BYTES
    config: Config = current_app.config["TOLLGATE"]
    try:
        event = gateway.verify_event(request.get_data(cache=False), request.headers.get("Stripe-Signature", ""))
    except UnverifiedWebhook as error:
        log.warning("webhook refused", reason=str(error))
        return _answer(400)
    try:
        database.write(inbox.receive, event, source="webhook", livemode=config.is_live)
    except SQLAlchemyError:
        log.exception("webhook not stored", event_id=event["id"])
        return _answer(503)
    return _answer(200)


def _answer(status: int) -> Response:
    return Response(status=status, content_type="text/plain")
