"""Credits run out: inside every operation, and by a sweep for the wallets that nobody touches."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
from ledger import buckets, wallets
from ledger.models import Wallet


def expire_due(session: Session, account_id: int) -> int:
    """Take an account's expired credits out of its balance and return how many they were."""
    wallet = wallets.lock(session, account_id)
    return buckets.expire(wallet) if wallet.has_credits_due else 0


def sweep(session: Session, limit: int = 100) -> int:
    """Do the same for up to `limit` accounts and return the credits that expired.

    It only keeps statements up to date: no operation and no balance counts an expired credit. Wallets are locked in
    the order of their accounts, so that two sweeps cannot wait for each other.
    """
    due = session.scalars(
        select(Wallet.account_id)
        .where(Wallet.next_expiry_at <= clock.now())
        .order_by(Wallet.next_expiry_at)
        .limit(limit)
    ).all()
    return sum(expire_due(session, account_id) for account_id in sorted(due))
