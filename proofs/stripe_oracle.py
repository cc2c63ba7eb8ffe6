"""What must be true of every account, worked out from Stripe's objects and the catalogue file alone.

It shares no code with what it judges (billing/): it lists Stripe's objects through the SDK and reads the amounts of
credits from the catalogue. Histories that it judges cross no expiry of credits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Account
from billing import catalog
from billing.models import Payment, Subscription, SyncTask
from ledger import invariants
from ledger.models import Bucket, Transaction, Wallet

Json = dict[str, Any]

MONEY_IS_GONE = {"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"}
MOST_PROBLEMS = 20


@dataclass
class Truth:
    """What Stripe says of one customer."""

    # Credits by source; those of one subscription's period are one sum, however its invoices share it.
    packs: dict[str, int] = field(default_factory=dict)
    periods: dict[tuple[str, int], int] = field(default_factory=dict)
    invoices: dict[str, tuple[str, int]] = field(default_factory=dict)
    subscriptions: dict[str, tuple[object, ...]] = field(default_factory=dict)
    payments: dict[str, tuple[object, ...]] = field(default_factory=dict)
    # Of each charge the share of its credits that is taken back, as a pair: so many of so many cents.
    taken_back: dict[str, tuple[int, int]] = field(default_factory=dict)
    charge_of_source: dict[str, str] = field(default_factory=dict)
    is_frozen: bool = False


@dataclass(frozen=True)
class Verdict:
    """How much was compared, and what differs."""

    compared: int
    problems: list[str]


def judge(session: Session, client: stripe.StripeClient) -> Verdict:
    """Compare every account with what Stripe's objects say, and check the ledger's invariants."""
    truths = ask(client)
    problems = invariants.violations(session)
    compared = 0
    for account in session.scalars(select(Account).order_by(Account.id)):
        truth = truths.pop(account.stripe_customer_id or "", Truth())
        compared += 1 + len(truth.subscriptions) + len(truth.payments)
        problems += [f"account {account.id}: {problem}" for problem in _differences(session, account.id, truth)]
    problems += [f"the customer {stripe_id} paid and no account knows it" for stripe_id in truths]
    for task in session.scalars(select(SyncTask).where(SyncTask.clean < SyncTask.dirty)):
        problems.append(f"{task.kind} {task.object_id} was never finished: {task.state}, {task.last_error}")
    return Verdict(compared, problems[:MOST_PROBLEMS])


def ask(client: stripe.StripeClient) -> dict[str, Truth]:
    """Return what Stripe's objects say, by customer; customers who did nothing are left out."""
    truths: dict[str, Truth] = defaultdict(Truth)
    prices = {p["id"]: p for p in _all(client.v1.prices.list({"limit": 100}))}
    disputes: dict[str, list[str]] = defaultdict(list)
    for dispute in _all(client.v1.disputes.list({"limit": 100})):
        disputes[dispute["charge"]].append(dispute["status"])
    charges = {c["id"]: c for c in _all(client.v1.charges.list({"limit": 100})) if c["status"] == "succeeded"}
    charge_of = {c["payment_intent"]: c["id"] for c in charges.values()}
    for charge in charges.values():
        _learn_charge(truths[charge["customer"]], charge, disputes[charge["id"]])
    for bought in _all(client.v1.checkout.sessions.list({"limit": 100, "expand": ["data.line_items"]})):
        if bought["mode"] == "payment" and bought["payment_status"] == "paid":
            _learn_pack(truths[bought["customer"]], bought, charge_of)
    for invoice in _all(client.v1.invoices.list({"limit": 100, "status": "paid", "expand": ["data.payments"]})):
        _learn_invoice(truths[invoice["customer"]], invoice, prices, charge_of)
    for subscription in _all(client.v1.subscriptions.list({"limit": 100, "status": "all"})):
        truths[subscription["customer"]].subscriptions[subscription["id"]] = _facts_of(subscription)
    return dict(truths)


def _learn_charge(truth: Truth, charge: Json, disputes: list[str]) -> None:
    taken = charge["amount_captured"] if MONEY_IS_GONE & set(disputes) else charge["amount_refunded"]
    truth.taken_back[charge["id"]] = (taken, charge["amount_captured"])
    latest = disputes[0] if disputes else None
    truth.payments[charge["id"]] = (charge["amount_captured"], charge["amount_refunded"], latest)
    truth.is_frozen |= bool((MONEY_IS_GONE - {"lost"}) & set(disputes))


def _learn_pack(truth: Truth, bought: Json, charge_of: dict[str, str]) -> None:
    charge_id = charge_of[bought["payment_intent"]]
    source = f"charge:{charge_id}"
    truth.charge_of_source[source] = charge_id
    truth.packs[source] = sum(_credits(line["price"]) * line["quantity"] for line in bought["line_items"]["data"])


def _learn_invoice(truth: Truth, invoice: Json, prices: dict[str, Json], charge_of: dict[str, str]) -> None:
    subscription_id = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    paid_for = [line for line in invoice["lines"]["data"] if line["amount"] >= 0]
    if subscription_id is None or not paid_for:
        return
    newest = max(paid_for, key=lambda line: (line["period"]["end"], line["amount"]))
    period = (subscription_id, newest["period"]["end"])
    credits = _credits(prices[newest["pricing"]["price_details"]["price"]]) * newest["quantity"]
    source = f"invoice:{invoice['id']}"
    truth.invoices[source] = period
    truth.periods[period] = max(credits, truth.periods.get(period, 0))
    for paid in invoice["payments"]["data"]:
        if paid["payment"].get("payment_intent") in charge_of:
            truth.charge_of_source[source] = charge_of[paid["payment"]["payment_intent"]]


def _credits(price: Json) -> int:
    return catalog.current().offer(price["metadata"]["price_key"]).credits


def _facts_of(subscription: Json) -> tuple[object, ...]:
    (item,) = subscription["items"]["data"]
    cancels_at = subscription["cancel_at"]
    if cancels_at is None and subscription["cancel_at_period_end"]:
        cancels_at = item["current_period_end"]
    return (
        subscription["status"],
        item["price"]["id"],
        item["quantity"],
        item["current_period_start"],
        item["current_period_end"],
        cancels_at,
        subscription["ended_at"],
    )


def _all(listed: Any) -> Iterator[Json]:
    return (item.to_dict() for item in listed.auto_paging_iter())


def _differences(session: Session, account_id: int, truth: Truth) -> Iterator[str]:
    yield from _different("subscription", truth.subscriptions, dict(_subscriptions(session, account_id)))
    yield from _different("payment", truth.payments, dict(_payments(session, account_id)))
    buckets = list(session.scalars(select(Bucket).where(Bucket.account_id == account_id)))
    yield from _different("grant", truth.packs, {b.source: b.granted for b in buckets if b.kind == "purchase"})
    yield from _different("credits of a period", truth.periods, _periods(truth, buckets))
    yield from _clawed(truth, buckets)
    known = set(truth.packs) | set(truth.invoices)
    own = {b.source for b in buckets if not b.source.startswith("plan:free:")}
    yield from (f"{source} was granted and nobody paid for it" for source in sorted(own - known))
    yield from _totals(session, account_id, truth, buckets)


def _different(what: str, expected: dict[Any, Any], found: dict[Any, Any]) -> Iterator[str]:
    for key in sorted(expected.keys() | found.keys(), key=str):
        if expected.get(key) != found.get(key):
            yield f"{what} {key} is {found.get(key)} here and {expected.get(key)} at Stripe"


def _subscriptions(session: Session, account_id: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    for row in session.scalars(select(Subscription).where(Subscription.account_id == account_id)):
        times = (row.period_starts_at, row.period_ends_at, row.cancels_at, row.ended_at)
        yield row.stripe_id, (row.stripe_status, row.stripe_price_id, row.quantity, *map(_epoch, times))


def _payments(session: Session, account_id: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    for row in session.scalars(select(Payment).where(Payment.account_id == account_id)):
        yield row.stripe_charge_id, (row.amount_cents, row.refunded_cents, row.dispute_status)


def _periods(truth: Truth, buckets: Iterable[Bucket]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = defaultdict(int)
    for bucket in buckets:
        if bucket.source in truth.invoices:
            found[truth.invoices[bucket.source]] += bucket.granted
    return dict(found)


def _clawed(truth: Truth, buckets: Iterable[Bucket]) -> Iterator[str]:
    for bucket in buckets:
        taken, paid = truth.taken_back.get(truth.charge_of_source.get(bucket.source, ""), (0, 1))
        due = math.ceil(bucket.granted * taken / paid)
        if bucket.clawed != due:
            yield f"of {bucket.source} {bucket.clawed} credits are taken back, not {due} of {bucket.granted}"


def _totals(session: Session, account_id: int, truth: Truth, buckets: Iterable[Bucket]) -> Iterator[str]:
    """Compare the wallet with the sum over Stripe's payments, less what was spent."""
    wallet = session.get(Wallet, account_id)
    balance, debt = (wallet.balance, wallet.debt) if wallet else (0, 0)
    spent = sum(
        session.scalars(
            select(Transaction.used).where(Transaction.account_id == account_id, Transaction.kind == "spend")
        )
    )
    free = sum(b.granted for b in buckets if b.source.startswith("plan:free:"))
    owed = free + sum(truth.packs.values()) + sum(truth.periods.values())
    owed -= sum(math.ceil(n * taken / paid) for n, (taken, paid) in _shares(truth, buckets)) + spent
    if balance - debt != owed:
        yield f"the balance is {balance} and the debt {debt}, where Stripe's payments less {spent} spent make {owed}"
    if wallet is not None and (wallet.frozen_reason is not None) != truth.is_frozen:
        yield f"spending is {'frozen' if wallet.frozen_reason else 'free'}, against what the disputes say"


def _shares(truth: Truth, buckets: Iterable[Bucket]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield each paid source's credits, with the share of its charge that went back."""
    granted = {**{b.source: b.granted for b in buckets if b.source in truth.invoices}, **truth.packs}
    for source, credits in granted.items():
        yield credits, truth.taken_back.get(truth.charge_of_source.get(source, ""), (0, 1))


def _epoch(at: datetime | None) -> int | None:
    return None if at is None else int(at.astimezone(UTC).timestamp())
