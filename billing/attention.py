"""What staff should look at today: open disputes, warnings, refunds that did not go through, work that lies still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from billing import evidence, sync_queue
from billing.models import SyncTask
from billing.refunding import CREATING, REFUSED
from billing.reversals import Dispute, FraudWarning, Refund, RefundIntent
from mail.models import DEAD, PENDING, Email

REMEMBERED = timedelta(days=30)


@dataclass(frozen=True)
class Trouble:
    """A refund that did not reach the customer, and why."""

    at: datetime
    account_public_id: str
    account_name: str
    amount_cents: int
    currency: str
    why: str


@dataclass(frozen=True)
class Overview:
    """The counts of what waits for somebody, and the disputes that are due next."""

    disputes: Sequence[Dispute]
    disputes_open: int
    warnings: int
    refunds_under_way: int
    refund_troubles: Sequence[Trouble]
    objects_waiting: int
    oldest_wait: timedelta
    objects_dead: int
    mails_waiting: int
    mails_dead: int


def overview(session: Session) -> Overview:
    """Return what waits for somebody."""
    due = select(Dispute).where(Dispute.stripe_status.in_(evidence.OPEN)).order_by(Dispute.due_at).limit(5)
    return Overview(
        disputes=session.scalars(due).all(),
        disputes_open=_count(session, Dispute, Dispute.stripe_status.in_(evidence.OPEN)),
        warnings=_count(session, FraudWarning, FraudWarning.is_actionable),
        refunds_under_way=_count(session, RefundIntent, RefundIntent.status == CREATING),
        refund_troubles=_troubles(session),
        objects_waiting=sync_queue.waiting(session),
        oldest_wait=sync_queue.oldest_wait(session),
        objects_dead=_count(session, SyncTask, SyncTask.state == "dead"),
        mails_waiting=_count(session, Email, Email.status == PENDING),
        mails_dead=_count(session, Email, Email.status == DEAD),
    )


def _troubles(session: Session) -> list[Trouble]:
    """Return the refunds of the last 30 days that Stripe refused or a bank sent back, newest first."""
    since = clock.now() - REMEMBERED
    owner = (Account.public_id, Account.name)
    refused = (
        select(
            RefundIntent.created_at, *owner, RefundIntent.amount_cents, RefundIntent.currency, RefundIntent.last_error
        )
        .join(Account, Account.id == RefundIntent.account_id)
        .where(RefundIntent.status == REFUSED, RefundIntent.created_at >= since)
    )
    failed = (
        select(Refund.created_at, *owner, Refund.amount_cents, Refund.currency, Refund.failure_reason)
        .join(Account, Account.id == Refund.account_id)
        .where(Refund.stripe_status == "failed", Refund.created_at >= since)
    )
    found = [Trouble(*row[:5], f"Stripe refused it: {row[5]}") for row in session.execute(refused)]
    found += [Trouble(*row[:5], f"It failed at the bank: {_plain(row[5])}") for row in session.execute(failed)]
    return sorted(found, key=lambda trouble: trouble.at, reverse=True)


def _plain(word: str | None) -> str:
    return (word or "no reason given").replace("_", " ")


def _count(session: Session, table: type, condition: object) -> int:
    return session.scalar(select(func.count()).select_from(table).where(condition)) or 0  # type: ignore[arg-type]
