"""Make our state equal to Stripe's: fetch a dirty object outside any transaction, apply it inside one.

One Kind per sort of object says how it is fetched and applied. The same code serves the worker (`run_due`) and a page
that a person waits for (`run_now`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
from accounts.models import Account
from billing import charges, checkout, fulfilment, gateway, notices, subscriptions, sync_queue
from billing.models import StripeObject, SyncTask
from billing.sync_queue import Claim
from extensions import db

Json = dict[str, Any]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Kind:
    """How one kind of Stripe object is fetched, and applied to the account that it belongs to."""

    fetch: Callable[[str, bool], Json]
    apply: Callable[[Session, int, Json, Claim], None]


def run_due() -> bool:
    """Bring the object that waits longest in line with Stripe; return False when none was due.

    Never raises for what Stripe or one object does: the task is put back and others go on.
    """
    claim = database.write(sync_queue.claim_due)
    if claim is None:
        return False
    try:
        _run(claim, quick=False)
    except Exception as error:
        _put_back(claim, error)
    return True


def run_now(kind: str, object_id: str) -> None:
    """Bring one object in line with Stripe at once, for a page; raises errors.StripeError within about 5 s.

    On failure the task stays dirty and the worker goes on with it.
    """
    claim = database.write(sync_queue.claim, kind, object_id)
    try:
        _run(claim, quick=True)
    except Exception as error:
        _put_back(claim, error)
        raise


def drain(limit: int = 10_000) -> int:
    """Run due tasks until none is left; return how many ran."""
    for count in range(limit):
        if not run_due():
            return count
    return limit


def _run(claim: Claim, *, quick: bool) -> None:
    fetched = KINDS[claim.kind].fetch(claim.object_id, quick)
    database.write(_apply, claim, fetched)


def _put_back(claim: Claim, error: Exception) -> None:
    is_dead = database.write(sync_queue.fail, claim, f"{type(error).__name__}: {error}")
    task = {"kind": claim.kind, "object_id": claim.object_id, "attempts": claim.attempts}
    if is_dead:
        log.error("sync given up", **task, exc_info=error)
    else:
        log.warning("sync failed", **task, error=str(error))


def _apply(session: Session, claim: Claim, fetched: Json) -> None:
    """Write what was fetched, unless a later fetch has been applied already; then stamp the claim."""
    account_id = _lock_account(session, _customer_of(fetched))
    if _is_newest(session, claim, fetched) and account_id is not None:
        KINDS[claim.kind].apply(session, account_id, fetched, claim)
    sync_queue.complete(session, claim)


def _lock_account(session: Session, customer_id: str | None) -> int | None:
    """Lock the account's row before anything else, so that syncs, spends and checkouts of one account take turns."""
    if customer_id is None:
        return None
    query = select(Account.id).where(Account.stripe_customer_id == customer_id).with_for_update()
    return session.scalar(query)


def _is_newest(session: Session, claim: Claim, fetched: Json) -> bool:
    values = {
        "stripe_customer_id": _customer_of(fetched),
        "applied_fence": claim.fence,
        "fetched_at": clock.now(),
        "body": json.dumps(fetched, separators=(",", ":")),
    }
    insert = database.insert(session, StripeObject).values(kind=claim.kind, stripe_id=claim.object_id, **values)
    upsert = insert.on_conflict_do_update(
        index_elements=["kind", "stripe_id"], set_=values, where=StripeObject.applied_fence < claim.fence
    )
    return session.execute(upsert.returning(StripeObject.stripe_id)).scalar_one_or_none() is not None


def _customer_of(fetched: Json) -> str | None:
    customer = fetched.get("customer")
    return customer["id"] if isinstance(customer, dict) else customer


# Kinds -------------------------------------------------------------------------------------------------------------


def _apply_session(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    checkout.close(session, fetched)
    fulfilment.fulfil_session(session, account_id, fetched)
    if fetched["mode"] == "subscription" and fetched["status"] == "complete":
        _mark(session, "subscription", fetched.get("subscription"))
        _mark(session, "invoice", fetched.get("invoice"))


def _mark(session: Session, kind: str, named: Json | str | None) -> None:
    object_id = named.get("id") if isinstance(named, dict) else named
    if object_id and session.get(SyncTask, (kind, object_id)) is None:
        sync_queue.mark_dirty(session, kind, object_id)


def _apply_subscription(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    row = subscriptions.apply(session, account_id, fetched)
    notices.after_subscription(session, account_id, row)
    checkout.close_subscribed(session, fetched)


def _apply_invoice(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    fulfilment.fulfil_invoice(session, account_id, fetched)
    notices.after_invoice(session, account_id, fetched)


def _apply_charge(session: Session, account_id: int, fetched: Json, claim: Claim) -> None:
    charges.apply(session, account_id, fetched, fence=claim.fence)


def _fetch_charge(charge_id: str, quick: bool) -> Json:
    """Fetch a charge and, under `purchase`, the checkout session or invoice to record it by, unless that was done."""
    charge = gateway.retrieve_charge(charge_id, quick=quick)
    payment_intent = charge.get("payment_intent")
    is_known = charges.is_recorded(db.session(), charge_id)
    charge["purchase"] = None if is_known or not payment_intent else _purchase_of(payment_intent)
    return charge


def _purchase_of(payment_intent_id: str) -> tuple[str, str] | None:
    invoice_id = gateway.find_invoice_of_payment(payment_intent_id)
    if invoice_id:
        return "invoice", invoice_id
    found = gateway.find_checkout_session(payment_intent_id)
    return ("checkout_session", found["id"]) if found else None


KINDS: dict[str, Kind] = {
    "checkout_session": Kind(lambda i, quick: gateway.retrieve_checkout_session(i, quick=quick), _apply_session),
    "subscription": Kind(lambda i, quick: gateway.retrieve_subscription(i, quick=quick), _apply_subscription),
    "invoice": Kind(lambda i, quick: gateway.retrieve_invoice(i, quick=quick), _apply_invoice),
    "charge": Kind(_fetch_charge, _apply_charge),
}
