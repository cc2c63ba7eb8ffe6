"""The inbox of Stripe's events: store each once, and mark what it speaks of as dirty.

A payload is a hint, never a fact: the worker fetches the object again (billing/sync.py), so duplicates, reordering
and old API versions stop mattering.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from sqlalchemy import Dialect, Table, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import clock
import failpoints
from billing import gateway, sync_queue
from billing.models import StripeEvent, SyncTask
from prepared import ONE, Prepared

Json = dict[str, Any]
Ready = tuple[str, Any]


def _itself(kind: str) -> Callable[[Json], tuple[str, str | None]]:
    return lambda thing: (kind, thing.get("id"))


def _charge_of(thing: Json) -> tuple[str, str | None]:
    charge = thing.get("latest_charge") if thing.get("object") == "payment_intent" else thing.get("charge")
    return "charge", charge.get("id") if isinstance(charge, dict) else charge


def _payment(thing: Json) -> tuple[str, str | None]:
    metadata = thing.get("metadata")
    is_top_up = isinstance(metadata, dict) and bool(metadata.get("top_up"))
    return ("payment_intent", thing.get("id")) if is_top_up else _charge_of(thing)


def _failed_payment(thing: Json) -> tuple[str, str | None]:
    kind, object_id = _payment(thing)
    # A checkout's page tells of a refused card by itself, and its charge has moved nothing.
    return (kind, object_id) if kind == "payment_intent" else (kind, None)


def _customer_of(thing: Json) -> tuple[str, str | None]:
    customer = thing.get("customer")
    return "customer", customer.get("id") if isinstance(customer, dict) else customer


def _invoice_of(note: Json) -> tuple[str, str | None]:
    invoice = note.get("invoice")
    return "invoice", invoice.get("id") if isinstance(invoice, dict) else invoice


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
    # What Stripe says that a customer may use: these summaries have no id, so the customer's stands for it.
    "entitlements.active_entitlement_summary.updated": lambda thing: ("entitlements", thing.get("customer")),
    # A period was paid, or was not.
    "invoice.paid": _itself("invoice"),
    "invoice.payment_failed": _itself("invoice"),
    "invoice.payment_action_required": _itself("invoice"),
    "invoice.voided": _itself("invoice"),
    "invoice.marked_uncollectible": _itself("invoice"),
    # What was paid went back by credit note: to the card, to the customer's balance, or outside Stripe.
    "credit_note.created": _invoice_of,
    "credit_note.updated": _invoice_of,
    "credit_note.voided": _invoice_of,
    # A card was saved, renewed or removed, or another one is the default; a customer was deleted, cards and all.
    "customer.updated": _itself("customer"),
    "customer.deleted": _itself("customer"),
    "payment_method.attached": _customer_of,
    "payment_method.detached": _customer_of,
    "payment_method.updated": _customer_of,
    "payment_method.automatically_updated": _customer_of,
    # Money arrived, or went back.
    "payment_intent.succeeded": _payment,
    "payment_intent.payment_failed": _failed_payment,
    "payment_intent.canceled": _failed_payment,
    "charge.refunded": _itself("charge"),
    "refund.created": _charge_of,
    "refund.updated": _charge_of,
    "refund.failed": _charge_of,
    "charge.dispute.created": _charge_of,
    "charge.dispute.updated": _charge_of,
    "charge.dispute.closed": _charge_of,
    "charge.dispute.funds_withdrawn": _charge_of,
    "charge.dispute.funds_reinstated": _charge_of,
    # A card's bank reported fraud before anybody disputed, or the report became pointless.
    "radar.early_fraud_warning.created": _itself("fraud_warning"),
    "radar.early_fraud_warning.updated": _itself("fraud_warning"),
}


# Nothing asks for an event that is older than what Stripe lists: 30 days, https://docs.stripe.com/api/events. The rest
# is for people who look into something; payloads hold names and addresses, so it is not for ever.
KEEP = timedelta(days=90)
# How many ids one question to the database may name.
ASKED_AT_ONCE = 500

COLUMNS = (
    *("stripe_id", "type", "api_version", "livemode", "object_kind", "object_id"),
    *("payload", "source", "created_at", "received_at"),
)
_EVENTS, _TASKS = cast(Table, StripeEvent.__table__), cast(Table, SyncTask.__table__)
_EVENT = {name: bindparam(f"event_{name}", type_=_EVENTS.c[name].type) for name in COLUMNS}


def _storing(insert: Any) -> Any:
    seen_again = {"deliveries": _EVENTS.c.deliveries + ONE}
    stored = insert.values(_EVENT).on_conflict_do_update(index_elements=["stripe_id"], set_=seen_again)
    return stored.returning(_EVENTS.c.deliveries)


def _storing_and_marking() -> Any:
    """Return both steps as one statement, which PostgreSQL commits without being asked: one round trip, not four."""
    stored = _storing(postgresql.insert(_EVENTS))
    new = stored.returning(_EVENTS.c.object_kind, _EVENTS.c.object_id, _EVENTS.c.received_at).cte("stored")
    seen, now = new.c, new.c.received_at
    task = {
        "kind": new.c.object_kind,
        "object_id": new.c.object_id,
        "dirty": ONE,
        "next_at": now,
        "first_dirty_at": now,
    }
    tasks = select(*task.values()).where(seen.deliveries == ONE, seen.object_id.is_not(None))
    return sync_queue.mark(postgresql.insert(_TASKS).from_select(list(task), tasks)).add_cte(new)


# Built once: composing a statement costs more than running it, and webhooks come in bursts.
_STORE = Prepared({"sqlite": _storing(sqlite.insert(_EVENTS)), "postgresql": _storing(postgresql.insert(_EVENTS))})
_STORE_AND_MARK = Prepared(_storing_and_marking())


def receive(session: Session, event: Json, *, source: str, livemode: bool) -> bool:
    """Store a verified event and mark its object dirty; return whether it was new.

    An event seen before only counts the delivery. One of no interest, of the other mode, or of a connected account is
    stored without effect, so that it can be seen.
    """
    row = _row(event, json.dumps(event, separators=(",", ":")), source=source, livemode=livemode)
    is_new = _STORE.first(session.connection(), row) == (1,)
    failpoints.hit("ingest.stored")
    if is_new and row["event_object_id"]:
        sync_queue.mark_dirty(session, row["event_object_kind"], row["event_object_id"])
        failpoints.hit("ingest.marked")
    return is_new


def known(session: Session, stripe_ids: Sequence[str]) -> set[str]:
    """Return which of these events are stored already."""
    found: set[str] = set()
    for start in range(0, len(stripe_ids), ASKED_AT_ONCE):
        some = stripe_ids[start : start + ASKED_AT_ONCE]
        found.update(session.scalars(select(StripeEvent.stripe_id).where(StripeEvent.stripe_id.in_(some))))
    return found


def receiving(dialect: Dialect, event: Json, payload: str, *, source: str, livemode: bool) -> Callable[[Any], None]:
    """Return what `receive` does as work for group_commit.store; the payload is kept as it came."""
    row = _row(event, payload, source=source, livemode=livemode)
    if dialect.name == "postgresql":
        return partial(_run_both, _STORE_AND_MARK.ready(dialect, row))
    kind, object_id = row["event_object_kind"], row["event_object_id"]
    mark = sync_queue.MARK.ready(dialect, sync_queue.marking(kind, object_id)) if object_id else None
    return partial(_run_in_turn, _STORE.ready(dialect, row), mark)


def _run_both(store_and_mark: Ready, cursor: Any) -> None:
    cursor.execute(*store_and_mark)
    failpoints.hit("ingest.stored")
    failpoints.hit("ingest.marked")


def _run_in_turn(store: Ready, mark: Ready | None, cursor: Any) -> None:
    is_new = cursor.execute(*store).fetchone()[0] == 1
    failpoints.hit("ingest.stored")
    if is_new and mark is not None:
        cursor.execute(*mark)
        failpoints.hit("ingest.marked")


def _row(event: Json, payload: str, *, source: str, livemode: bool) -> Json:
    kind, object_id = _subject(event, livemode=livemode)
    return {
        "event_stripe_id": event["id"],
        "event_type": event["type"],
        "event_api_version": event.get("api_version"),
        "event_livemode": event["livemode"],
        "event_object_kind": kind,
        "event_object_id": object_id,
        "event_payload": payload,
        "event_source": source,
        "event_created_at": datetime.fromtimestamp(event["created"], UTC),
        "event_received_at": clock.now(),
    }


def replay(session: Session, name: str) -> bool:
    """Mark the object of a stored event dirty again, or an object that was worked on before; False for anything else.

    `name` is the id of an event or of an object.
    """
    found = session.execute(
        select(StripeEvent.object_kind, StripeEvent.object_id).where(StripeEvent.stripe_id == name)
    ).first()
    kind, object_id = found or (sync_queue.kind_of(session, name), name)
    if kind is None or object_id is None:
        return False
    sync_queue.mark_dirty(session, kind, object_id)
    return True


def sweep(session: Session, *, limit: int = 500) -> int:
    """Forget events that came more than KEEP ago, oldest first; return how many.

    What they made dirty stands in the queue and not in them, so work that waits, or was given up, loses nothing.
    """
    old = select(StripeEvent.stripe_id).where(StripeEvent.received_at < clock.now() - KEEP)
    oldest = old.order_by(StripeEvent.received_at).limit(limit)
    gone = delete(StripeEvent).where(StripeEvent.stripe_id.in_(oldest)).returning(StripeEvent.stripe_id)
    return len(session.scalars(gone).all())


def _subject(event: Json, *, livemode: bool) -> tuple[str | None, str | None]:
    find = HANDLED.get(event["type"])
    if find is None or event["livemode"] != livemode or event.get("account"):
        return None, None
    kind, object_id = find(event["data"]["object"])
    if object_id is None and isinstance(former := event["data"].get("previous_attributes"), dict):
        kind, object_id = find(former)  # a card that was removed names its customer no more
    return (kind, object_id) if gateway.is_id(object_id) else (None, None)
