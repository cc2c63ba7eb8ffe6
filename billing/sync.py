"""Make our state equal to Stripe's: fetch a dirty object outside any transaction, apply it inside one.

One Kind per sort of object says how it is fetched and applied. The same code serves the worker (`run_due`) and a page
that a person waits for (`run_now`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from accounts.models import Account
from billing import (
    access,
    auto_top_ups,
    charges,
    checkout,
    collecting,
    customers,
    entitlements,
    errors,
    extra_subscriptions,
    fraud_warnings,
    fulfilment,
    gateway,
    invoice_history,
    invoices,
    link_purchases,
    metered_items,
    notices,
    receipts,
    returned,
    saved_cards,
    standing,
    stripe_reversals,
    stripe_usage,
    subscriptions,
    sync_queue,
    top_ups,
    trials,
)
from billing.models import StripeObject, Subscription, SyncTask
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


def drain(limit: int = 10_000, *, seconds: float = math.inf) -> int:
    """Run due tasks until none is left, or so many ran, or so long; return how many ran."""
    give_up_at = time.monotonic() + seconds
    for count in range(limit):
        if time.monotonic() >= give_up_at or not run_due():
            return count
    return limit


def _run(claim: Claim, *, quick: bool) -> None:
    failpoints.hit("sync.claimed", claim.kind)
    fetched = KINDS[claim.kind].fetch(claim.object_id, quick)
    failpoints.hit("sync.fetched", claim.kind)
    database.write(_apply, claim, fetched)
    failpoints.hit("sync.committed", claim.kind)


def _put_back(claim: Claim, error: Exception) -> None:
    failpoints.hit("sync.failed")
    words = f"{type(error).__name__}: {error}"
    if _is_passing(error):
        retry_after = getattr(error, "retry_after", 0.0)
        is_dead = database.write(sync_queue.postpone, claim, words, retry_after=retry_after)
    else:
        is_dead = database.write(sync_queue.fail, claim, words)
    failpoints.hit("sync.put_back")
    facts = {"kind": claim.kind, "object_id": claim.object_id, "attempts": claim.attempts}
    if isinstance(error, errors.StripeError):
        facts |= {"code": error.code, "request_id": error.request_id}
    if is_dead:
        log.error("sync given up", **facts, exc_info=error)
    elif isinstance(error, errors.StripeKeyRefused):
        log.critical("Stripe refuses the key", **facts, error=str(error))
    elif isinstance(error, errors.StripeRefused):
        log.error("sync refused", **facts, error=str(error))
    else:
        log.warning("sync failed", **facts, error=str(error))


def _is_passing(error: Exception) -> bool:
    """Tell whether the same object may be brought in line later without anybody mending it."""
    if isinstance(error, errors.StripeError):
        return error.is_passing
    return isinstance(error, (OperationalError, InterfaceError, PoolTimeout))


def _apply(session: Session, claim: Claim, fetched: Json) -> None:
    """Write what was fetched, unless a later fetch has been applied already; then stamp the claim."""
    account_id = _lock_account(session, _customer_of(fetched))
    if _is_newest(session, claim, fetched):
        if account_id is not None:
            KINDS[claim.kind].apply(session, account_id, fetched, claim)
        else:
            link_purchases.apply(session, claim.kind, fetched)
        failpoints.hit("sync.applied", claim.kind)
    sync_queue.complete(session, claim)
    failpoints.hit("sync.stamped", claim.kind)


def _lock_account(session: Session, customer_id: str | None) -> int | None:
    """Lock the account's row before anything else, so that syncs, spends and checkouts of one account take turns."""
    if customer_id is None:
        return None
    query = select(Account.id).where(Account.stripe_customer_id == customer_id).with_for_update()
    found = session.scalar(query)
    if found is None and (found := customers.owner_of(session, customer_id)) is not None:
        people.lock_account(session, found)  # it was deleted at Stripe; what it had bought is still the account's
    return found


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
    _mark(session, "subscription", fetched.get("subscription"))
    _mark(session, "invoice", fetched.get("invoice"))


def _mark(session: Session, kind: str, named: Json | str | None) -> None:
    object_id = named.get("id") if isinstance(named, dict) else named
    if object_id and session.get(SyncTask, (kind, object_id)) is None:
        sync_queue.mark_dirty(session, kind, object_id)


def _apply_subscription(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    row = subscriptions.apply(session, account_id, fetched)
    metered_items.apply(session, row, fetched)
    _take_back_after_the_end(session, account_id, row.stripe_id)
    notices.after_subscription(session, account_id, row)
    if trials.is_to_be_ended(session, fetched):
        sync_queue.mark_dirty(session, "subscription", row.stripe_id)  # another trial of its card came in between
    elif trials.was_ended(fetched):
        notices.after_second_trial(session, account_id, row)
    failpoints.hit("subscription.noticed")
    checkout.close_subscribed(session, fetched)
    _mark(session, "invoice", fetched.get("latest_invoice"))
    if fetched["status"] in access.LIVE:
        _mark(session, "collection", collecting.newer_card(fetched))
    extra_subscriptions.mark(session, account_id)
    _after(session, account_id, row)


def _apply_entitlements(_session: Session, _account_id: int, _fetched: Json, _claim: Claim) -> None:
    """Do nothing more: what Stripe says is kept as it is (billing/entitlements.py)."""


def _apply_invoice(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    fulfilment.fulfil_invoice(session, account_id, fetched)
    for invoice in (*fetched.get("earlier", ()), fetched):
        invoices.apply(session, account_id, invoice)
        # What it was settled with, and what went back of that, is known now.
        for source in returned.sources_of_invoice(session, account_id, invoice["id"]):
            returned.claw(session, account_id, source)
    _take_back_after_the_end(session, account_id, invoices.subscription_of(fetched))
    notices.after_invoice(session, account_id, fetched)
    _after(session, account_id, session.get(Subscription, invoices.subscription_of(fetched) or ""))


def _take_back_after_the_end(session: Session, account_id: int, stripe_subscription_id: str | None) -> None:
    """Take back what an end with a prorated credit gave money for: its invoice or the end may be heard of first."""
    for source in returned.sources_of_the_end(session, account_id, stripe_subscription_id or ""):
        returned.claw(session, account_id, source)


def _after(session: Session, account_id: int, subscription: Subscription | None) -> None:
    """Say what the owner has to know on every page, and have a new card pay what the old one did not."""
    standing.refresh(session, account_id)
    if subscription is not None:
        _mark(session, "collection", collecting.due(session, subscription))


def _apply_collection(session: Session, _account_id: int, fetched: Json, _claim: Claim) -> None:
    if fetched["invoice"]:
        sync_queue.mark_dirty(session, "invoice", fetched["invoice"])
    sync_queue.mark_dirty(session, "subscription", fetched["subscription"])


def _fetch_subscription(subscription_id: str, quick: bool) -> Json:
    """Fetch a subscription; one on a trial that its card had before is ended first (billing/trials.py)."""
    found = stripe_usage.retrieve_subscription(subscription_id, quick=quick)
    if not trials.is_to_be_ended(db.session(), found):
        return found
    gateway.cancel_subscription(
        subscription_id, comment=trials.ENDED_BECAUSE, idempotency_key=f"second-trial:{subscription_id}"
    )
    return stripe_usage.retrieve_subscription(subscription_id, quick=quick)


def _apply_charge(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    charges.apply(session, account_id, fetched)
    receipts.after_charge(session, account_id, fetched["id"])


def _apply_fraud_warning(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    fraud_warnings.apply(session, account_id, fetched)


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
    return ("checkout_session", found["id"]) if found else ("payment_intent", payment_intent_id)


def _apply_payment_intent(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    settled = top_ups.settle(session, account_id, fetched)
    if settled is not None:
        auto_top_ups.after_settled(session, settled)


def _apply_customer(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    if fetched.get("deleted"):
        customers.retire(session, account_id, fetched["id"])
        return
    if fetched["id"] != people.get_account(session, account_id).stripe_customer_id:
        return  # it was deleted meanwhile, and another one buys for the account
    saved_cards.apply(session, account_id, fetched)
    subscription = access.subscription_of(session, account_id)
    default = (fetched.get("invoice_settings") or {}).get("default_payment_method")
    if subscription is not None and default and default != subscription.payment_method_id:
        # It is to be charged to that card from now on, and what it owes too.
        sync_queue.mark_dirty(session, "subscription", subscription.stripe_id)


def _apply_extra_subscription(session: Session, account_id: int, fetched: Json, _claim: Claim) -> None:
    extra_subscriptions.apply(session, account_id, fetched)


KINDS: dict[str, Kind] = {
    "checkout_session": Kind(lambda i, quick: gateway.retrieve_checkout_session(i, quick=quick), _apply_session),
    "subscription": Kind(_fetch_subscription, _apply_subscription),
    "invoice": Kind(lambda i, quick: invoice_history.fetch(i, quick=quick), _apply_invoice),
    "charge": Kind(_fetch_charge, _apply_charge),
    "payment_intent": Kind(lambda i, quick: gateway.retrieve_payment_intent(i, quick=quick), _apply_payment_intent),
    "customer": Kind(lambda i, quick: saved_cards.fetch(i, quick=quick), _apply_customer),
    "fraud_warning": Kind(
        lambda i, quick: stripe_reversals.retrieve_fraud_warning(i, quick=quick), _apply_fraud_warning
    ),
    entitlements.KIND: Kind(lambda i, quick: stripe_usage.list_entitlements(i, quick=quick), _apply_entitlements),
    "collection": Kind(collecting.collect, _apply_collection),
    extra_subscriptions.KIND: Kind(extra_subscriptions.end, _apply_extra_subscription),
}
