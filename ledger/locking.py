"""How every operation begins: the wallet locked, and nothing in it that has expired."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ledger import buckets, wallets
from ledger.wallets import LockedWallet


def lock(session: Session, account_id: int) -> LockedWallet:
    """Return the account's wallet, opened if need be, locked, and freed of expired credits."""
    wallet = wallets.lock(session, account_id)
    if wallet.has_credits_due:
        buckets.expire(wallet)
    return wallet
