"""One timeline per customer: payments, refunds, disputes, plan, credits, mails, Stripe's events and staff's actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from accounts.audit import AuditEntry
from accounts.models import Account
from billing import customers
from billing.models import Payment, StripeEvent, StripeObject, Subscription
from billing.money import in_words
from billing.returned import CLOSED
from billing.reversals import Dispute, FraudWarning, Refund
from ledger.models import Transaction
from mail.models import DEAD, Email

# How many entries of one and the same instant a page can hold beyond its size.
SAME_INSTANT = 50


@dataclass(frozen=True)
class Entry:
    """Something that happened; `amount` is a change of credits. `about` names what a link may lead to: kind and id."""

    at: datetime
    title: str
    detail: str
    tone: str = "neutral"
    amount: int | None = None
    about: tuple[str, str] | None = None


@dataclass(frozen=True)
class Page:
    """Some entries, newest first, and the instant before which the next ones lie; None at the end."""

    entries: list[Entry]
    older_than: datetime | None


Source = Callable[[Session, Account, datetime | None, int], Iterator[Entry]]


def page(
    session: Session, account: Account, view: str = "all", *, before: datetime | None = None, limit: int = 50
) -> Page:
    """Return what happened to a customer before an instant, newest first; `view` is a key of VIEWS."""
    found: list[Entry] = []
    for source in VIEWS[view][1]:
        found += source(session, account, before, limit + SAME_INSTANT)
    found.sort(key=lambda entry: entry.at, reverse=True)
    end = limit
    # What happened in one instant stays on one page: the next one begins before it.
    while 0 < end < len(found) and found[end].at == found[end - 1].at:
        end += 1
    return Page(found[:end], found[end - 1].at if end < len(found) else None)


def _payments(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Payment).where(Payment.account_id == account.id)
    for row in session.scalars(_newest(query, Payment.paid_at, before, limit)):
        paid = in_words(row.amount_cents, row.currency)
        yield Entry(row.paid_at, f"Paid {paid}", row.description, "positive", about=("payment", row.stripe_charge_id))


def _refunds(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Refund).where(Refund.account_id == account.id)
    for row in session.scalars(_newest(query, Refund.created_at, before, limit)):
        amount = in_words(row.amount_cents, row.currency)
        about = ("payment", row.stripe_charge_id)
        if row.stripe_status in {"failed", "canceled"}:
            why = row.failure_reason or row.stripe_status
            yield Entry(row.created_at, f"Refund of {amount} failed", why.replace("_", " "), "danger", about=about)
        else:
            why = (row.reason or "no reason given").replace("_", " ")
            yield Entry(row.created_at, f"Refunded {amount}", f"{why}, {row.stripe_status}", "warning", about=about)


def _disputes(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Dispute).where(Dispute.account_id == account.id)
    for row in session.scalars(query.order_by(Dispute.created_at.desc()).limit(limit)):
        amount, about = in_words(row.amount_cents, row.currency), ("dispute", row.stripe_id)
        word = "Inquiry" if row.stripe_status.startswith("warning") else "Dispute"
        if before is None or row.created_at < before:
            reason = row.reason.replace("_", " ")
            yield Entry(row.created_at, f"{word} opened: {amount}", reason, "danger", about=about)
        if row.closed_at and row.stripe_status in CLOSED and (before is None or row.closed_at < before):
            tone = "danger" if row.stripe_status == "lost" else "positive"
            state = row.stripe_status.removeprefix("warning_")
            yield Entry(row.closed_at, f"{word} {state}", amount, tone, about=about)


def _warnings(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(FraudWarning).where(FraudWarning.account_id == account.id)
    for row in session.scalars(_newest(query, FraudWarning.created_at, before, limit)):
        words = row.fraud_type.replace("_", " ")
        about = ("payment", row.stripe_charge_id)
        yield Entry(row.created_at, "Bank warned of fraud", words, "danger", about=about)


def _subscriptions(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Subscription).where(Subscription.account_id == account.id)
    for row in session.scalars(query.order_by(Subscription.started_at.desc()).limit(limit)):
        plan = (row.plan_key or "a plan").capitalize()
        if before is None or row.started_at < before:
            yield Entry(row.started_at, f"Subscribed to {plan}", row.stripe_id, "info")
        if row.ended_at and (before is None or row.ended_at < before):
            yield Entry(row.ended_at, f"{plan} ended", row.stripe_id, "neutral")


def _credits(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Transaction).where(Transaction.account_id == account.id)
    if before is not None:
        query = query.where(Transaction.at < before)
    # By id, which follows the order of time within a wallet and has the index.
    for row in session.scalars(query.order_by(Transaction.id.desc()).limit(limit)):
        owed = f", {row.debt:+,} owed" if row.debt else ""
        who = f", by {row.actor}" if row.actor else ""
        yield Entry(
            row.at, row.reason, f"{row.kind}, {row.balance_after:,} left{owed}{who}", amount=row.credits or None
        )


def _mails(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(Email).where(Email.account_id == account.id)
    for row in session.scalars(_newest(query, Email.created_at, before, limit)):
        tone = "danger" if row.status == DEAD else "neutral"
        why = f": {row.last_error}" if row.last_error else ""
        yield Entry(row.created_at, f"Mail: {row.template.replace('_', ' ')}", f"{row.status}{why}", tone)


def _events(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    # Only the columns that are shown: payloads are large.
    query = (
        select(StripeEvent.received_at, StripeEvent.type, StripeEvent.stripe_id, StripeEvent.deliveries)
        .join(
            StripeObject,
            (StripeObject.kind == StripeEvent.object_kind) & (StripeObject.stripe_id == StripeEvent.object_id),
        )
        .where(StripeObject.stripe_customer_id.in_(customers.all_of(session, account)))
    )
    for row in session.execute(_newest(query, StripeEvent.received_at, before, limit)):
        times = f", delivered {row.deliveries} times" if row.deliveries > 1 else ""
        yield Entry(row.received_at, row.type, f"{row.stripe_id}{times}")


def _staff(session: Session, account: Account, before: datetime | None, limit: int) -> Iterator[Entry]:
    query = select(AuditEntry).where(AuditEntry.account_id == account.id)
    for row in session.scalars(_newest(query, AuditEntry.at, before, limit)):
        yield in_words_of(row)


def in_words_of(row: AuditEntry) -> Entry:
    """Say an entry of the audit log: what was done by whom, what it changed, and why."""
    changes = _changes(json.loads(row.before), json.loads(row.after))
    detail = "; ".join(part for part in (f"by {row.actor}", changes, row.reason) if part)
    action = row.action.replace(".", " ").replace("_", " ")
    # What people of the team did themselves is no act of staff.
    title = action.capitalize() if row.action.startswith("team.") else f"Staff: {action}"
    return Entry(row.at, title, detail, "info")


def _changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    parts = []
    for name, value in after.items():
        if isinstance(value, dict):
            parts.append(f"{name} of {len(value)} fields")
        elif name in before and before[name] != value:
            parts.append(f"{name.replace('_', ' ')} {_short(before[name])} -> {_short(value)}")
        elif name not in before:
            parts.append(f"{name.replace('_', ' ')} {_short(value)}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}..."


def _newest(query: Any, at: InstrumentedAttribute[datetime], before: datetime | None, limit: int) -> Any:
    if before is not None:
        query = query.where(at < before)
    return query.order_by(at.desc()).limit(limit)


_MONEY: tuple[Source, ...] = (_payments, _refunds, _disputes, _warnings)

# What staff can look at: a name in the address, its words, and where its entries come from.
VIEWS: dict[str, tuple[str, tuple[Source, ...]]] = {
    "all": ("Everything", (*_MONEY, _subscriptions, _credits, _mails, _events, _staff)),
    "money": ("Money", (*_MONEY, _subscriptions)),
    "credits": ("Credits", (_credits,)),
    "mails": ("Mails", (_mails,)),
    "events": ("Events", (_events,)),
    "staff": ("Staff", (_staff,)),
}
