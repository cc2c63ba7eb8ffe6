"""A second subscription that was paid although one was live - in an old tab, say - is ended and its money given back.

The checkout prevents it as far as anybody can; this is for what it cannot. Sync marks such a subscription, and the
worker ends it as it would fetch an object: once more on every failure, visible when it gives up.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import people
from billing import access, errors, gateway, money, stripe_reversals, sync_queue
from billing.models import StripeObject, Subscription, SyncTask
from extensions import db
from mail import links, outbox

Json = dict[str, Any]

KIND = "extra_subscription"
# Whatever has lived beside another for longer is for a person to look at: `flask doctor` names it.
YOUNG = timedelta(days=1)
# What a subscription says at Stripe that was ended for this reason.
ENDED_BECAUSE = "A second one."


def mark(session: Session, account_id: int) -> None:
    """Have every extra subscription of an account ended; the caller holds the account's lock."""
    for stripe_id in _extra_ones(session, account_id):
        if session.get(SyncTask, (KIND, stripe_id)) is None:
            sync_queue.mark_dirty(session, KIND, stripe_id)


def end(stripe_id: str, quick: bool = False) -> Json:
    """End a subscription at Stripe and pay back what was paid for it, if it is an extra one still; return what it is.

    Under `paid_back` the answer has the payments that went back, and under `to_balance` the cents that its invoices had
    taken from the customer's balance, by invoice. Safe to repeat after a crash anywhere: what has ended is not ended
    again, and each payment is paid back under a key of its own.
    """
    found = gateway.call(lambda c: c.v1.subscriptions.retrieve(stripe_id), quick=quick)
    row = db.session().get(Subscription, stripe_id)
    is_extra = row is not None and stripe_id in _extra_ones(db.session(), row.account_id, is_ending=True)
    # What was ended here is paid back, however long Stripe takes to let us: it may fail under one key for a day.
    if not (is_extra or _was_ended_here(found)):
        return {**found, "paid_back": [], "to_balance": {}}
    if found["status"] in access.LIVE:
        why: Any = {"prorate": False, "invoice_now": False, "cancellation_details": {"comment": ENDED_BECAUSE}}
        found = gateway.call(lambda c: c.v1.subscriptions.cancel(stripe_id, why), quick=quick)
        failpoints.hit("extra.ended")
    settled = [invoice for invoice in _invoices_of(stripe_id) if invoice["status"] == "paid"]
    paid_back = [_pay_back(stripe_id, intent) for invoice in settled for intent in _payments_of(invoice)]
    to_balance = {invoice["id"]: _return_to_balance(stripe_id, invoice) for invoice in settled}
    return {**found, "paid_back": paid_back, "to_balance": {i: cents for i, cents in to_balance.items() if cents}}


def apply(session: Session, account_id: int, fetched: Json) -> None:
    """Have everything looked at that ending it has changed, and tell its buyer."""
    if fetched["status"] in access.LIVE:
        return
    sync_queue.mark_dirty(session, "subscription", fetched["id"])
    for paid in fetched["paid_back"]:
        sync_queue.mark_dirty(session, "charge", paid["charge"])
    for invoice_id in fetched["to_balance"]:
        sync_queue.mark_dirty(session, "invoice", invoice_id)
    to_card = sum(paid["amount_cents"] for paid in fetched["paid_back"])
    to_balance = sum(fetched["to_balance"].values())
    if not (to_card or to_balance):
        return
    try:
        email = people.owner_email(session, account_id)
    except people.AccountNotFound:
        return
    outbox.queue(
        session,
        "second_subscription",
        to=email,
        context={
            "amount": money.in_words(to_card, fetched["currency"]) if to_card else None,
            "to_balance": money.in_words(to_balance, fetched["currency"]) if to_balance else None,
            "billing_url": links.to("billing.index"),
        },
        dedupe_key=f"second-subscription:{fetched['id']}",
        account_id=account_id,
    )


def _extra_ones(session: Session, account_id: int, *, is_ending: bool = False) -> list[str]:
    """List the subscriptions that our checkout sold beside the one that the account lives by, a short time ago.

    With `is_ending` one counts that has just ended: whoever ended it may have been killed before paying back.
    """
    rows = session.scalars(select(Subscription).where(Subscription.account_id == account_id)).all()
    primary = next((row for row in rows if row.is_primary), None)
    if primary is None or not _was_sold_here(session, primary.stripe_id):
        return []
    since = max(primary.started_at, clock.now() - YOUNG)
    return [
        row.stripe_id
        for row in rows
        if row is not primary
        and (row.stripe_status in access.LIVE or (is_ending and row.stripe_status == "canceled"))
        and row.started_at >= since
        and _was_sold_here(session, row.stripe_id)
    ]


def _was_ended_here(stripe_subscription: Json) -> bool:
    details = stripe_subscription.get("cancellation_details") or {}
    if stripe_subscription["status"] != "canceled" or details.get("comment") != ENDED_BECAUSE:
        return False
    # Customers write comments too, in the Portal: words alone pay nobody back. Only young ones are ended here.
    return bool(stripe_subscription["ended_at"] - stripe_subscription["created"] <= 2 * YOUNG.total_seconds())


def _was_sold_here(session: Session, stripe_id: str) -> bool:
    """Tell whether our checkout made it: what somebody set up in Stripe's Dashboard was meant."""
    mirrored = session.get(StripeObject, ("subscription", stripe_id))
    return mirrored is not None and bool((json.loads(mirrored.body).get("metadata") or {}).get("intent"))


def _invoices_of(stripe_id: str) -> list[Json]:
    params: Any = {"subscription": stripe_id, "limit": 100, "expand": ["data.payments"]}
    listed: list[Json] = gateway.call(lambda c: c.v1.invoices.list(params))["data"]
    return listed


def _payments_of(invoice: Json) -> list[Json]:
    paid = [payment for payment in (invoice.get("payments") or {}).get("data", []) if payment["status"] == "paid"]
    ids = [payment["payment"].get("payment_intent") for payment in paid]
    intents = [gateway.retrieve_payment_intent(intent_id) for intent_id in ids if intent_id]
    return [intent for intent in intents if intent.get("latest_charge")]


def _return_to_balance(stripe_id: str, invoice: Json) -> int:
    """Give the customer's balance what an invoice took from it besides the charge; return how many cents.

    By credit note, so that the invoice says so, and its credits go back with it.
    """
    cents: int = max(0, (invoice.get("ending_balance") or 0) - invoice["starting_balance"])
    # Stripe forgets keys after a day; what was made keeps the subscription's name.
    if not cents or stripe_reversals.find_credit_note_of(stripe_id, invoice_id=invoice["id"]):
        return cents
    params = {
        "invoice": invoice["id"],
        "amount": cents,
        "credit_amount": cents,
        "reason": "duplicate",
        "memo": "A second subscription was ended",
        "metadata": {"intent": stripe_id},
    }
    with suppress(errors.StripeRefused):  # it has been given back in the Dashboard meanwhile
        stripe_reversals.create_credit_note(params, idempotency_key=f"extra-balance:{invoice['id']}")
    return cents


def _pay_back(stripe_id: str, intent: Json) -> Json:
    wanted = {"payment_intent": intent["id"], "reason": "duplicate", "metadata": {"extra_subscription": stripe_id}}
    with suppress(errors.StripeRefused):  # it has been paid back in the Dashboard meanwhile
        stripe_reversals.create_refund(wanted, idempotency_key=f"extra:{stripe_id}:{intent['id']}")
        failpoints.hit("extra.paid_back")
    return {"charge": intent["latest_charge"], "amount_cents": intent["amount_received"]}
