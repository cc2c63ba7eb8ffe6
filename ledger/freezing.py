"""Spending paused: by cause, so that one dispute that ends does not thaw what another froze."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

import failpoints
from ledger import journal, locking
from ledger.journal import Note
from ledger.models import Freeze, TransactionKind, Wallet
from ledger.wallets import LockedWallet


def freeze(session: Session, account_id: int, cause: str, *, reason: str, actor: str | None = None) -> bool:
    """Stop an account's spends and new holds for a cause, such as `dispute:dp_...`; False when it stood already.

    Grants, expiry and the settlement of open holds go on. `reason` is what the customer reads when refused.
    """
    journal.check_key(cause)
    wallet = locking.lock(session, account_id)
    if cause in _reasons(wallet):
        return False
    wallet.connection.execute(
        insert(Freeze), {"account_id": account_id, "cause": cause, "reason": reason, "frozen_at": wallet.now}
    )
    journal.record(wallet, TransactionKind.FREEZE, Note(reason, cause, actor), credits=0)
    failpoints.hit("freeze.stored")
    _apply(wallet)
    failpoints.hit("freeze.applied")
    return True


def unfreeze(session: Session, account_id: int, cause: str, *, reason: str = "", actor: str | None = None) -> bool:
    """Remove one cause; spending goes on when it was the last. False when it did not stand."""
    wallet = locking.lock(session, account_id)
    if cause not in _reasons(wallet):
        return False
    wallet.connection.execute(delete(Freeze).where(Freeze.account_id == account_id, Freeze.cause == cause))
    note = Note(reason or "Spending is possible again", cause, actor)
    journal.record(wallet, TransactionKind.UNFREEZE, note, credits=0)
    _apply(wallet)
    return True


def _reasons(wallet: LockedWallet) -> dict[str, str]:
    """Return the reason of each cause that stands, oldest first."""
    rows = wallet.connection.execute(
        select(Freeze.cause, Freeze.reason)
        .where(Freeze.account_id == wallet.account_id)
        .order_by(Freeze.frozen_at, Freeze.cause)
    )
    return {row.cause: row.reason for row in rows}


def _apply(wallet: LockedWallet) -> None:
    wallet.frozen_reason = next(iter(_reasons(wallet).values()), None)
    wallet.connection.execute(
        update(Wallet).where(Wallet.account_id == wallet.account_id).values(frozen_reason=wallet.frozen_reason)
    )
