"""What must be true of every account, worked out from Stripe's objects and the catalogue file alone.

It shares no code with what it judges (billing/): it lists Stripe's objects through the SDK and reads the amounts of
credits from the catalogue. How many credits expired it takes from the ledger, whose own invariants hold that, and says
whether they might: those of packs never do. The mails that a state calls for must have been promised, and none that it
does not call for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from billing import catalog
from billing.models import Payment, Subscription, SyncTask
from ledger import invariants
from ledger.models import Bucket, Transaction, Wallet
from mail.models import KEPT, SENT, Email

Json = dict[str, Any]

MONEY_IS_GONE = {"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"}
MOST_PROBLEMS = 20
TRIAL_NOTICE = timedelta(days=3)


@dataclass
class Truth:
    """What Stripe says of one customer."""

    # Credits by source. The invoices of one period share what its best plan brings, in the order of their payment.
    packs: dict[str, int] = field(default_factory=dict)
    invoices: dict[str, int] = field(default_factory=dict)
    best_of_period: dict[tuple[str, int], int] = field(default_factory=dict)
    subscriptions: dict[str, tuple[object, ...]] = field(default_factory=dict)
    payments: dict[str, tuple[object, ...]] = field(default_factory=dict)
    # Of each charge the cents that went back and those that were paid, the charges of each source, and what an invoice
    # was settled with in all.
    settled: dict[str, int] = field(default_factory=dict)
    went_back: dict[str, tuple[int, int]] = field(default_factory=dict)
    charges_of_source: dict[str, list[str]] = field(default_factory=dict)
    is_frozen: bool = False
    # The renewals that were tried at all, those that wait and how far they have come, and those that are paid.
    attempted: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    recovered: set[str] = field(default_factory=set)
    trials_ending: set[str] = field(default_factory=set)
    # Of each charge the key of its receipt, and of a purchase that is told otherwise the end of that key as well.
    receipts: dict[str, str | None] = field(default_factory=dict)

    @property
    def granted(self) -> dict[str, int]:
        """What each source brings; those that bring nothing are left out."""
        return {source: credits for source, credits in (self.packs | self.invoices).items() if credits}

    def taken_back(self, source: str) -> int:
        """Return how many credits of a source go back with its money."""
        shares = [self.went_back[charge_id] for charge_id in self.charges_of_source.get(source, [])]
        paid = max(sum(cents for _, cents in shares), self.settled.get(source, 0))
        return math.ceil(Fraction(self.granted[source] * sum(cents for cents, _ in shares), paid)) if paid else 0


@dataclass(frozen=True)
class Verdict:
    """How much was compared, and what differs."""

    compared: int
    problems: list[str]


def judge(session: Session, client: stripe.StripeClient, *, only: Collection[int] | None = None) -> Verdict:
    """Compare every account, or some by their ids, with Stripe's objects, and check the ledger's invariants."""
    accounts = select(Account).order_by(Account.id)
    if only is not None:
        accounts = accounts.where(Account.id.in_(only))
    rows = session.scalars(accounts).all()
    truths = ask(client) if only is None else ask(client, {r.stripe_customer_id for r in rows if r.stripe_customer_id})
    problems = invariants.violations(session)
    compared = 0
    for account in rows:
        truth = truths.pop(account.stripe_customer_id or "", Truth())
        compared += 1 + len(truth.subscriptions) + len(truth.payments)
        problems += [f"account {account.id}: {problem}" for problem in _differences(session, account.id, truth)]
    problems += [f"the customer {stripe_id} paid and no account knows it" for stripe_id in truths]
    for task in session.scalars(select(SyncTask).where(SyncTask.clean < SyncTask.dirty)):
        problems.append(f"{task.kind} {task.object_id} was never finished: {task.state}, {task.last_error}")
    return Verdict(compared, problems[:MOST_PROBLEMS])


def ask(client: stripe.StripeClient, customers: Collection[str] | None = None) -> dict[str, Truth]:
    """Return what Stripe's objects say, by customer, of all or of some; customers who did nothing are left out."""
    truths: dict[str, Truth] = defaultdict(Truth)
    prices = {p["id"]: p for p in _all(client.v1.prices.list({"limit": 100}))}
    for whose in [{}] if customers is None else [{"customer": customer} for customer in sorted(customers)]:
        _learn(truths, client, prices, {"limit": 100, **whose})
    return dict(truths)


def _learn(truths: dict[str, Truth], client: stripe.StripeClient, prices: dict[str, Json], which: Any) -> None:
    charges = {c["id"]: c for c in _all(client.v1.charges.list(which)) if c["status"] == "succeeded"}
    warned = {w["charge"] for w in _all(client.v1.radar.early_fraud_warnings.list({"limit": 100}))}
    charge_of = {c["payment_intent"]: c["id"] for c in charges.values()}
    for charge in charges.values():
        disputes = list(_all(client.v1.disputes.list({"charge": charge["id"]}))) if charge["disputed"] else []
        _learn_charge(truths[charge["customer"]], charge, disputes, is_warned_of=charge["id"] in warned)
    for bought in _all(client.v1.checkout.sessions.list({**which, "expand": ["data.line_items"]})):
        if bought["mode"] == "payment" and bought["payment_status"] == "paid":
            _learn_pack(truths[bought["customer"]], bought, charge_of)
    invoices = list(_all(client.v1.invoices.list({**which, "expand": ["data.payments"]})))
    for invoice in invoices:
        _learn_attempts(truths[invoice["customer"]], invoice)
    for invoice in sorted((each for each in invoices if each["status"] == "paid"), key=_place):
        _learn_invoice(truths[invoice["customer"]], invoice, prices, charge_of)
    for subscription in _all(client.v1.subscriptions.list({**which, "status": "all"})):
        _learn_subscription(truths[subscription["customer"]], subscription)


def _learn_subscription(truth: Truth, subscription: Json) -> None:
    truth.subscriptions[subscription["id"]] = facts = _facts_of(subscription)
    ends_at, cancels_at = subscription["trial_end"], facts[5]
    if subscription["status"] != "trialing" or cancels_at is not None:
        return
    if datetime.fromtimestamp(ends_at, UTC) - clock.now() <= TRIAL_NOTICE:
        truth.trials_ending.add(f"trial-ends:{subscription['id']}:{ends_at}")


def _place(invoice: Json) -> tuple[int, int, str]:
    return invoice["status_transitions"]["paid_at"], invoice["created"], invoice["number"]


def _learn_charge(truth: Truth, charge: Json, opened: list[Json], *, is_warned_of: bool) -> None:
    disputes = [dispute["status"] for dispute in opened]
    keeping = [status for status in disputes if status in MONEY_IS_GONE]
    kept = sum(dispute["amount"] for dispute in opened if dispute["status"] in MONEY_IS_GONE)
    paid = charge["amount_captured"]
    truth.went_back[charge["id"]] = (min(paid, charge["amount_refunded"] + kept), paid)
    truth.payments[charge["id"]] = (paid, charge["amount_refunded"], next(iter(keeping + disputes), None))
    truth.is_frozen |= bool((MONEY_IS_GONE - {"lost"}) & set(disputes))
    is_over = any(not status.startswith("warning_") for status in disputes) or charge["amount_refunded"] >= paid
    truth.is_frozen |= is_warned_of and not is_over and catalog.current().policies.fraud_warning != "show"
    promised = charge["metadata"]
    if paid:
        truth.receipts[f"receipt:{charge['id']}"] = promised.get("top_up")
    if promised.get("top_up"):  # paid with the saved card, without a checkout
        source = f"charge:{charge['id']}"
        truth.charges_of_source[source] = [charge["id"]]
        truth.packs[source] = catalog.current().offer(promised["price_key"]).credits


def _learn_pack(truth: Truth, bought: Json, charge_of: dict[str, str]) -> None:
    charge_id = charge_of[bought["payment_intent"]]
    source = f"charge:{charge_id}"
    truth.charges_of_source[source] = [charge_id]
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
    best = truth.best_of_period.get(period, 0)
    truth.invoices[source] = max(0, credits - best)
    truth.best_of_period[period] = max(credits, best)
    truth.settled[source] = invoice["total"] - invoice["pre_payment_credit_notes_amount"]
    intents = [paid["payment"].get("payment_intent") for paid in invoice["payments"]["data"]]
    truth.charges_of_source[source] = [charge_of[intent] for intent in intents if intent in charge_of]


def _learn_attempts(truth: Truth, invoice: Json) -> None:
    """Note how far a renewal has come that was tried in vain, or that it was paid in the end."""
    if invoice["billing_reason"] != "subscription_cycle" or not invoice["attempted"]:
        return
    truth.attempted.add(invoice["id"])
    if invoice["status"] == "open":
        is_last = invoice["next_payment_attempt"] is None
        truth.failed[invoice["id"]] = "final" if is_last else "first" if invoice["attempt_count"] == 1 else "second"
    elif invoice["status"] == "paid":
        truth.recovered.add(invoice["id"])


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
    buckets = {b.source: b for b in session.scalars(select(Bucket).where(Bucket.account_id == account_id))}
    paid = {source: b.granted for source, b in buckets.items() if not source.startswith("plan:free:")}
    yield from _different("grant", truth.granted, paid)
    clawed = {source: buckets[source].clawed for source in paid}
    yield from _different("taken back", {source: truth.taken_back(source) for source in truth.granted}, clawed)
    yield from _totals(session, account_id, truth, buckets.values())
    yield from _mails(session, account_id, truth)


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


def _totals(session: Session, account_id: int, truth: Truth, buckets: Collection[Bucket]) -> Iterator[str]:
    """Compare the wallet with the sum over Stripe's payments, less what was spent."""
    wallet = session.get(Wallet, account_id)
    balance, debt = (wallet.balance, wallet.debt) if wallet else (0, 0)
    spent = sum(
        session.scalars(
            select(Transaction.used).where(
                Transaction.account_id == account_id, Transaction.kind.in_(("spend", "capture"))
            )
        )
    )
    free = sum(b.granted for b in buckets if b.source.startswith("plan:free:"))
    owed = free + sum(truth.granted.values()) - sum(truth.taken_back(source) for source in truth.granted) - spent
    owed -= (wallet.held if wallet else 0) + sum(b.expired for b in buckets)
    if balance - debt != owed:
        yield f"the balance is {balance} and the debt {debt}, where Stripe's payments less {spent} spent make {owed}"
    for bucket in buckets:
        is_over = bucket.expires_at is not None and bucket.expires_at <= clock.now()
        if bucket.expired and (not is_over or bucket.source in truth.packs):
            yield f"{bucket.expired} credits of {bucket.source} expired, which end {bucket.expires_at or 'never'}"
    if wallet is not None and (wallet.frozen_reason is not None) != truth.is_frozen:
        yield f"spending is {'frozen' if wallet.frozen_reason else 'free'}, against what the disputes say"


def _mails(session: Session, account_id: int, truth: Truth) -> Iterator[str]:
    """Compare the mails that were promised with those that the state calls for; a key is promised once by the table."""
    rows = dict(session.execute(select(Email.dedupe_key, Email.status).where(Email.account_id == account_id)).all())
    called_for = {f"dunning:{invoice_id}:{stage}" for invoice_id, stage in truth.failed.items()} | truth.trials_ending
    for invoice_id in truth.recovered:
        if {SENT, KEPT} & {status for key, status in rows.items() if key.startswith(f"dunning:{invoice_id}:")}:
            called_for.add(f"dunning:{invoice_id}:recovered")
    told = {key.rpartition(":")[2] for key in rows if key.startswith("auto_top_up_bought:")}
    called_for |= {key for key, top_up in truth.receipts.items() if top_up is None or top_up not in told}
    called_for |= {f"refund:{charge_id}:{back}" for charge_id, (_, back, _) in truth.payments.items() if back}
    yield from (f"nobody was promised the mail {key}" for key in sorted(called_for - rows.keys()))
    for key in rows:
        if key.startswith("dunning:") and key.split(":")[1] not in truth.attempted:
            yield f"the mail {key} was promised for nothing"


def _epoch(at: datetime | None) -> int | None:
    return None if at is None else int(at.astimezone(UTC).timestamp())
