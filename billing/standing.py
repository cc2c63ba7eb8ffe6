"""What billing has to say on every page: a payment that failed, a bank that asks, a plan that is paused.

It follows from the rows that a sync wrote, and is noted on the account's own row, which every page reads anyway: no
page asks the database for it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from accounts.rows import AccountRow
from billing import access, catalog, invoices
from billing.models import Invoice, Status, Subscription
from billing.subscriptions import instant


class Kind(StrEnum):
    """What there is to say."""

    PAYMENT_FAILED = "payment_failed"
    ACTION_REQUIRED = "action_required"
    UNPAID = "unpaid"
    INCOMPLETE = "incomplete"
    PAUSED = "paused"


@dataclass(frozen=True)
class _Noted:
    """A notice as it is kept: facts and epoch seconds; the words are made when it is shown."""

    kind: str
    plan_key: str | None
    amount_cents: int | None
    currency: str | None
    next_attempt_at: int | None
    closes_at: int | None
    pay_url: str | None


@dataclass(frozen=True)
class Notice:
    """What a page says, as of now: how much is owed, when it is tried again, when the plan closes.

    `is_closed` tells that it is closed already; `lost` are the features that the free plan does not have.
    """

    kind: Kind
    plan: str
    free_plan: str
    lost: tuple[str, ...]
    amount_cents: int | None
    currency: str
    next_attempt_at: datetime | None
    closes_at: datetime | None
    is_closed: bool
    pay_url: str | None


def refresh(session: Session, account_id: int) -> None:
    """Note what there is to say about an account now; the caller holds its row's lock."""
    account = session.get_one(Account, account_id)
    noted = _noted(session, access.subscription_of(session, account_id))
    text = json.dumps(asdict(noted)) if noted else None
    if account.billing_notice != text:
        account.billing_notice = text
        session.flush()


def notice_of(account: AccountRow) -> Notice | None:
    """Return what to say on a page of an account; None when all is well."""
    if account.billing_notice is None:
        return None
    noted = _Noted(**json.loads(account.billing_notice))
    current = catalog.current()
    plan = next((p for p in current.plans if p.key == noted.plan_key), None)
    closes_at, free = instant(noted.closes_at), current.free_plan
    held = [f for f in current.features if plan and f.key in plan.features and not f.is_planned]
    lost = [f.name for f in held if f.key not in free.features]
    return Notice(
        kind=Kind(noted.kind),
        plan=plan.name if plan else "your plan",
        free_plan=free.name,
        lost=tuple(lost),
        amount_cents=noted.amount_cents,
        currency=noted.currency or current.currency,
        next_attempt_at=instant(noted.next_attempt_at),
        closes_at=closes_at,
        is_closed=closes_at is None or closes_at <= clock.now(),
        pay_url=noted.pay_url,
    )


def _noted(session: Session, subscription: Subscription | None) -> _Noted | None:
    if subscription is None:
        return None
    invoice = invoices.open_invoice(session, subscription.stripe_id)
    kind = _kind(subscription, invoice)
    if kind is None:
        return None
    grace = timedelta(days=catalog.current().policies.past_due_grace_days)
    since = subscription.past_due_since
    closes_at = subscription.open_until if kind is Kind.PAUSED else since + grace if since else None
    return _Noted(
        kind=kind,
        plan_key=subscription.plan_key,
        amount_cents=invoice.remaining_cents if invoice else None,
        currency=invoice.currency if invoice else None,
        next_attempt_at=_epoch(invoice.next_attempt_at) if invoice else None,
        closes_at=_epoch(closes_at),
        pay_url=invoice.hosted_url if invoice else None,
    )


def _kind(subscription: Subscription, invoice: Invoice | None) -> Kind | None:
    if subscription.stripe_status == Status.PAUSED:
        return Kind.PAUSED
    if invoice is None:
        return None  # paid a moment ago: the subscription's own news is still under way
    if subscription.stripe_status == Status.PAST_DUE:
        return Kind.ACTION_REQUIRED if invoice.wants_customer else Kind.PAYMENT_FAILED
    by_status: dict[str, Kind] = {Status.UNPAID: Kind.UNPAID, Status.INCOMPLETE: Kind.INCOMPLETE}
    return by_status.get(subscription.stripe_status)


def _epoch(value: datetime | None) -> int | None:
    return int(value.timestamp()) if value else None
