"""The wallet's row: opened once per account, and locked before anything else of the account is read or written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

import clock
from ledger.errors import LedgerCorrupt
from ledger.models import wallets
from prepared import Prepared


@dataclass(slots=True)
class LockedWallet:
    """A wallet that nobody else can change until the transaction ends, as it stands now."""

    connection: Connection
    account_id: int
    balance: int
    debt: int
    frozen_reason: str | None
    next_expiry_at: datetime | None
    now: datetime

    @property
    def has_credits_due(self) -> bool:
        """Whether credits may have expired that are still in the balance."""
        return self.next_expiry_at is not None and self.next_expiry_at <= self.now

    def expects_expiry_at(self, expires_at: datetime | None) -> None:
        """Look for expired credits no later than at this instant; stored by the next journal.post."""
        if expires_at is None:
            return
        if self.next_expiry_at is None or expires_at < self.next_expiry_at:
            self.next_expiry_at = expires_at


_LOCK = Prepared(
    select(
        wallets.c.balance,
        wallets.c.debt,
        wallets.c.frozen_reason,
        wallets.c.next_expiry_at,
    )
    .where(wallets.c.account_id == bindparam("account_id"))
    .with_for_update()  # PostgreSQL; on SQLite the transaction holds the only write lock since BEGIN IMMEDIATE
)
_OPEN = {
    "sqlite": sqlite.insert(wallets).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(wallets).on_conflict_do_nothing(),
}


def lock(session: Session, account_id: int) -> LockedWallet:
    """Return the account's wallet, opened if need be and locked until the transaction ends.

    Expired credits may still be in it: operations start with locking.lock, which takes them out.
    """
    session.flush()
    connection = session.connection()
    row = _LOCK.first(connection, {"account_id": account_id}) or _open(connection, account_id)
    balance, debt, frozen_reason, next_expiry_at = row
    # The clock is read after the lock, so that the times of one wallet's transactions follow their order.
    return LockedWallet(connection, account_id, balance, debt, frozen_reason, next_expiry_at, clock.now())


def _open(connection: Connection, account_id: int) -> tuple[Any, ...]:
    """Open a wallet, unless somebody has just done so, and return its row, locked."""
    key = {"account_id": account_id}
    opening = {"balance": 0, "held": 0, "debt": 0, "opened_at": clock.now()}
    connection.execute(_OPEN[connection.dialect.name], key | opening)
    row = _LOCK.first(connection, key)
    if row is None:
        raise LedgerCorrupt(f"the wallet of account {account_id} cannot be opened")
    return row
