"""The inbox of Stripe's events: store each once, and mark what it speaks of as dirty.

A payload is a hint, never a fact: the worker fetches the object again (billing/sync.py), so duplicates, reordering
and old API versions stop mattering.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import clock
from billing import gateway, sync_queue
from billing.models import StripeEvent

Json = dict[str, Any]


def _itself(kind: str) -> Callable[[Json], tuple[str, str | None]]:
    return lambda thing: (kind, thing.get("id"))


def _charge_of(thing: Json) -> tuple[str, str | None]:
    charge = thing.get("latest_charge") if thing.get("object") == "payment_intent" else thing.get("charge")
    return "charge", charge.get("id") if isinstance(charge, dict) else charge


def _subscription_of(schedule: Json) -> tuple[str, str | None]:
    # A schedule that let go of its subscription still says which one it was.
    named = schedule.get("subscription") or schedule.get("released_subscription")
    return "subscription", named.get("id") if isinstance(named, dict) else named


# Why we listen: each line is a change that moves access, credits or a mail. Subscribe the endpoint to exactly these.
HANDLED: dict[str, Callable[[Json], tuple[str, str | None]]] = {
    # A checkout ended: bought, paid late, failed late, or abandoned.
    "checkout.session.completed": _itself("checkout_session"),
    "checkout.session.async_payment_succeeded": _itself("checkout_session"),
    "checkout.session.async_payment_failed": _itself("checkout_session"),
    "checkout.session.expired": _itself("checkout_session"),
    # A subscription began, changed or ended.
    "customer.subscription.created": _itself("subscription"),
    "customer.subscription.updated": _itself("subscription"),
    "customer.subscription.deleted": _itself("subscription"),
    "customer.subscription.paused": _itself("subscription"),
    "customer.subscription.resumed": _itself("subscription"),
    "customer.subscription.trial_will_end": _itself("subscription"),
    "customer.subscription.pending_update_applied": _itself("subscription"),
    "customer.subscription.pending_update_expired": _itself("subscription"),
    # A change was planned for the end of a period, given up, or made.
    "subscription_schedule.updated": _subscription_of,
    "subscription_schedule.released": _subscription_of,
    "subscription_schedule.canceled": _subscription_of,
    "subscription_schedule.completed": _subscription_of,
    # A period was paid, or was not.
    "invoice.paid": _itself("invoice"),
    "invoice.payment_failed": _itself("invoice"),
    "invoice.payment_action_required": _itself("invoice"),
    "invoice.voided": _itself("invoice"),
    "invoice.marked_uncollectible": _itself("invoice"),
    # Money arrived, or went back.
    "payment_intent.succeeded": _charge_of,
    "charge.refunded": _itself("charge"),
    "refund.created": _charge_of,
    "refund.updated": _charge_of,
    "refund.failed": _charge_of,
    "charge.dispute.created": _charge_of,
    "charge.dispute.updated": _charge_of,
    "charge.dispute.closed": _charge_of,
    "charge.dispute.funds_withdrawn": _charge_of,
    "charge.dispute.funds_reinstated": _charge_of,
}


def _store(insert: Any) -> Any:
    statement = insert(StripeEvent.__table__)
    seen_again = {"deliveries": StripeEvent.deliveries + 1}
    return statement.on_conflict_do_update(index_elements=["stripe_id"], set_=seen_again).returning(
        StripeEvent.deliveries
    )


# Built once: composing a statement costs more than running it, and webhooks come in bursts.
_STORE = {"sqlite": _store(sqlite.insert), "postgresql": _store(postgresql.insert)}


def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
    """Store a verified event and mark its object dirty; return whether it was new.

    An event seen before only counts the delivery. One of no interest, of the other mode, or of a connected account is
    stored without effect, so that it can be seen.
    """
    kind, object_id = _subject(event, livemode=livemode)
    values = {
        "stripe_id": event["id"],
        "type": event["type"],
        "api_version": event.get("api_version"),
        "livemode": event["livemode"],
        "object_kind": kind,
        "object_id": object_id,
        "payload": json.dumps(event, separators=(",", ":")),
        "source": source,
        "created_at": datetime.fromtimestamp(event["created"], UTC),
        "received_at": clock.now(),
    }
    connection = session.connection()
    is_new: bool = connection.execute(_STORE[connection.dialect.name], values).scalar_one() == 1
    if is_new and kind and object_id:
        sync_queue.mark_dirty(session, kind, object_id)
    return is_new


def replay(session: Session, event_id: str) -> bool:
    """Mark the object of a stored event dirty again; return whether there was such an event with an effect."""
    found = session.execute(
        select(StripeEvent.object_kind, StripeEvent.object_id).where(StripeEvent.stripe_id == event_id)
    ).first()
    if found is None or found.object_kind is None or found.object_id is None:
        return False
    sync_queue.mark_dirty(session, found.object_kind, found.object_id)
    return True


def _subject(event: Json, *, livemode: bool) -> tuple[str | None, str | None]:
    find = HANDLED.get(event["type"])
    if find is None or event["livemode"] != livemode or event.get("account"):
        return None, None
    kind, object_id = find(event["data"]["object"])
    return (kind, object_id) if gateway.is_id(object_id) else (None, None)
