"""What the customer sees of the ledger: the balance by source, why it changed, and how much is used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

import clock
from ledger.buckets import spend_order
from ledger.models import Bucket, Wallet


@dataclass(frozen=True, slots=True)
class Source:
    """What is left of one grant, in the order in which it will be spent; `expires_at` None means never."""

    kind: str
    remaining: int
    granted: int
    expires_at: datetime | None
    source: str


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's credits: to spend, set aside by holds, and owed after refunds of spent credits."""

    total: int
    held: int
    debt: int
    frozen_reason: str | None
    sources: list[Source]


def balance(session: Session, account_id: int) -> Balance:
    """Return what an account can spend now; what has expired does not count, even before it is swept."""
    wallet = session.execute(
        select(Wallet.held, Wallet.debt, Wallet.frozen_reason).where(Wallet.account_id == account_id)
    ).one_or_none()
    if wallet is None:
        return Balance(0, 0, 0, None, [])
    rows = session.execute(
        select(Bucket.kind, Bucket.remaining, Bucket.granted, Bucket.expires_at, Bucket.source)
        .where(Bucket.account_id == account_id, Bucket.is_open)
        .where(or_(Bucket.expires_at.is_(None), Bucket.expires_at > clock.now()))
        .order_by(*spend_order)
    )
    sources = [Source(*row) for row in rows]
    return Balance(sum(source.remaining for source in sources), *wallet, sources)
