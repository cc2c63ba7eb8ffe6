"""What differs between a page of Stripe's objects and our books: pure comparison, which asks and changes nothing.

Each function takes Stripe's own dicts and yields differences; nothing is said of customers that are not ours, because
one Stripe account may serve other shops too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from accounts.models import Account
from billing import access, catalog, customers, plan_periods, returned, subscriptions
from billing.models import CheckoutIntent, Payment, PlanGrant, StripeObject, Subscription
from billing.purchase_tables import TopUp
from billing.reversals import Dispute, Refund
from ledger.models import Bucket

Json = dict[str, Any]

# Of a subscription's row, what the object alone decides. The card that it charges is not told by a list.
COPIED = (
    "stripe_status",
    "price_key",
    "plan_key",
    "stripe_price_id",
    "amount_cents",
    "currency",
    "quantity",
    "period_starts_at",
    "period_ends_at",
    "trial_ends_at",
    "cancels_at",
    "ended_at",
    "started_at",
)


@dataclass(frozen=True)
class Difference:
    """One object that is not here what it is at Stripe; `is_mendable` when fetching it again makes it equal."""

    kind: str
    object_id: str
    words: str
    is_mendable: bool = True


def in_customers(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find customers that were made for an account which knows of none: a backup was restored, or a save was lost."""
    named = {c["metadata"]["account"]: c["id"] for c in page if c.get("metadata", {}).get("account")}
    query = select(Account.public_id).where(Account.public_id.in_(named), Account.stripe_customer_id.is_(None))
    for public_id in session.scalars(query):
        yield Difference("customer", named[public_id], f"belongs to account {public_id}, which has no customer")


def in_subscriptions(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find subscriptions whose row is missing or says something else, and live ones that nobody here has."""
    owners = _accounts_of(session, page)
    query = select(Subscription).where(Subscription.stripe_id.in_([s["id"] for s in page]))
    known = {row.stripe_id: row for row in session.scalars(query)}
    primaries = set(
        session.scalars(
            select(Subscription.account_id).where(
                Subscription.account_id.in_(owners.values()), Subscription.is_primary.is_(True)
            )
        )
    )
    for theirs in page:
        account_id, ours = owners.get(theirs["customer"]), known.get(theirs["id"])
        if account_id is None:
            if theirs["status"] in access.LIVE and (theirs.get("metadata") or {}).get("intent"):
                words = f"charges the customer {theirs['customer']}, whom no account here owns"
                yield Difference("subscription", theirs["id"], words, is_mendable=False)
        elif ours is None:
            yield Difference("subscription", theirs["id"], "is not here")
        elif ours.account_id != account_id:
            words = f"is account {ours.account_id}'s here and account {account_id}'s at Stripe"
            yield Difference("subscription", theirs["id"], words, is_mendable=False)
        elif wrong := _other_columns(ours, theirs):
            yield Difference("subscription", theirs["id"], f"differs in {', '.join(wrong)}")
        elif theirs["status"] in access.LIVE and account_id not in primaries:
            yield Difference("subscription", theirs["id"], "is live, and its account lives by none")


def in_invoices(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find paid invoices that have never been seen paid, or whose plan was in no catalogue then and is now."""
    owners = _accounts_of(session, page)
    mirrored = _mirrored(session, "invoice", page)
    granted = set(session.scalars(select(PlanGrant.stripe_invoice_id).where(PlanGrant.stripe_invoice_id.in_(mirrored))))
    for theirs in page:
        if theirs["customer"] not in owners or theirs["status"] != "paid":
            continue
        ours = mirrored.get(theirs["id"], {"status": "unknown"})
        if ours["status"] != "paid":
            yield Difference("invoice", theirs["id"], f"is paid at Stripe and {ours['status']} here")
        elif theirs.get("post_payment_credit_notes_amount") != ours.get("post_payment_credit_notes_amount"):
            yield Difference("invoice", theirs["id"], "has credit notes that were not seen here")
        elif theirs["id"] not in granted and plan_periods.pays_for_a_plan(ours):
            yield Difference("invoice", theirs["id"], "paid for a plan and brought nothing")


def in_plan_grants(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find plans' grants that are older than the note until when they were paid for: their year follows no refund."""
    for stripe_invoice_id in session.scalars(without_end().where(_of_invoices(page))):
        words = "paid for a plan, and it is not noted until when: a refund would pass its later months by"
        yield Difference("invoice", str(stripe_invoice_id), words)


def without_end() -> Select[str | None]:
    """Select the invoices of plans' grants that nothing says the end of; what the catalogue does not list stays so."""
    listed = [plan.key for plan in catalog.current().plans]
    return select(PlanGrant.stripe_invoice_id).where(
        PlanGrant.stripe_invoice_id.is_not(None), PlanGrant.paid_until.is_(None), PlanGrant.plan_key.in_(listed)
    )


def _of_invoices(page: Sequence[Json]) -> ColumnElement[bool]:
    return PlanGrant.stripe_invoice_id.in_([row["id"] for row in page])


def in_charges(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find successful charges that are recorded nowhere, or whose refunds, disputes or claw-backs differ."""
    owners = _accounts_of(session, page)
    payments = _payments(session, [c["id"] for c in page])
    disputes = _dispute_statuses(session, payments)
    for theirs in page:
        if theirs["customer"] not in owners or theirs["status"] != "succeeded":
            continue
        ours = payments.get(theirs["id"])
        if ours is None:
            yield Difference("charge", theirs["id"], "is recorded nowhere")
        elif ours.refunded_cents != theirs["amount_refunded"]:
            words = f"has {theirs['amount_refunded']} cents refunded at Stripe and {ours.refunded_cents} here"
            yield Difference("charge", theirs["id"], words)
        elif ours.dispute_status not in disputes.get(theirs["id"], set() if theirs["disputed"] else {None}):
            yield Difference("charge", theirs["id"], f"has the dispute status {ours.dispute_status} against Stripe's")
        elif wrong := _clawed_wrongly(session, ours):
            yield Difference("charge", theirs["id"], wrong)


def in_refunds(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find refunds of our payments, however old the payment, that were last seen in another state or never."""
    ours = set(_payments(session, [r["charge"] for r in page]))
    query = select(Refund.stripe_id, Refund.stripe_status).where(Refund.stripe_id.in_([r["id"] for r in page]))
    yield from _reversed(page, ours, dict(session.execute(query).all()), "refund")


def in_disputes(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find disputes of our payments that were last seen in another state or never."""
    ours = set(_payments(session, [d["charge"] for d in page]))
    query = select(Dispute.stripe_id, Dispute.stripe_status).where(Dispute.stripe_id.in_([d["id"] for d in page]))
    yield from _reversed(page, ours, dict(session.execute(query).all()), "dispute")


def _reversed(page: Sequence[Json], ours: set[str], known: dict[str, str], what: str) -> Iterator[Difference]:
    for theirs in page:
        here = known.get(theirs["id"], "unknown")
        if theirs["charge"] in ours and here != theirs["status"]:
            words = f"has the {what} {theirs['id']}, which is {theirs['status']} at Stripe and {here} here"
            yield Difference("charge", theirs["charge"], words)


def in_checkout_sessions(session: Session, page: Sequence[Json]) -> Iterator[Difference]:
    """Find our checkouts that ended at Stripe and not here, or were never seen complete."""
    owners = _accounts_of(session, page)
    query = select(CheckoutIntent).where(CheckoutIntent.stripe_session_id.in_([s["id"] for s in page]))
    intents = {row.stripe_session_id: row.status for row in session.scalars(query)}
    mirrored = _mirrored(session, "checkout_session", page)
    for theirs in page:
        if theirs["customer"] not in owners or theirs["status"] == "open":
            continue
        seen = mirrored.get(theirs["id"], {})
        ours = intents.get(theirs["id"], theirs["status"])
        if theirs["status"] == "complete" and (seen.get("status"), seen.get("payment_status")) != (
            "complete",
            theirs["payment_status"],
        ):
            yield Difference("checkout_session", theirs["id"], "is complete at Stripe and was not seen so here")
        elif ours in {"creating", "open"}:
            yield Difference("checkout_session", theirs["id"], f"is {theirs['status']} at Stripe and {ours} here")


def is_ours(session: Session, payment_intent_id: str) -> bool:
    """Tell whether a payment is one that we asked for by ourselves, with a saved card."""
    return session.scalar(select(TopUp.id).where(TopUp.stripe_payment_intent_id == payment_intent_id)) is not None


def _other_columns(ours: Subscription, theirs: Json) -> list[str]:
    copied = subscriptions.copy_of(theirs)
    return [name for name in COPIED if getattr(ours, name) != getattr(copied, name)]


def _clawed_wrongly(session: Session, ours: Payment) -> str | None:
    wrong = (_clawed_wrongly_of(session, ours, source) for source in returned.sources_of(session, ours))
    return next((words for words in wrong if words is not None), None)


def _clawed_wrongly_of(session: Session, ours: Payment, source: str) -> str | None:
    bucket = session.scalar(select(Bucket).where(Bucket.account_id == ours.account_id, Bucket.source == source))
    if bucket is None:
        return f"paid for {source}, which is not in the ledger"
    target = returned.credits_of(session, ours.account_id, source, granted=bucket.granted, more={})
    if bucket.clawed == target:
        return None
    return f"has {bucket.clawed} credits taken back instead of {target} of {bucket.granted}"


def _dispute_statuses(session: Session, charge_ids: Iterable[str]) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    query = select(Dispute.stripe_charge_id, Dispute.stripe_status).where(Dispute.stripe_charge_id.in_(charge_ids))
    for charge_id, status in session.execute(query):
        found.setdefault(charge_id, set()).add(status)
    return found


def _payments(session: Session, charge_ids: list[str]) -> dict[str, Payment]:
    query = select(Payment).where(Payment.stripe_charge_id.in_(charge_ids))
    return {row.stripe_charge_id: row for row in session.scalars(query)}


def _mirrored(session: Session, kind: str, page: Sequence[Json]) -> dict[str, Json]:
    query = select(StripeObject.stripe_id, StripeObject.body).where(
        StripeObject.kind == kind, StripeObject.stripe_id.in_([thing["id"] for thing in page])
    )
    return {stripe_id: json.loads(body) for stripe_id, body in session.execute(query)}


def _accounts_of(session: Session, page: Sequence[Json]) -> dict[str, int]:
    """Return the accounts here that own the customers of a page."""
    return customers.owners_of(session, {thing["customer"] for thing in page if thing.get("customer")})
