"""Credits go out: all or nothing, once per idempotency key, soonest expiry first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

import failpoints
from ledger import buckets, journal, locking
from ledger.errors import LedgerCorrupt, LedgerError, NotEnoughCredits, WalletFrozen
from ledger.journal import Move, Note
from ledger.models import Book, Transaction, TransactionKind
from ledger.wallets import LockedWallet


@dataclass(frozen=True, slots=True)
class Spent:
    """A spend and the balance it left; `is_replay` when it had been made before under the same key."""

    transaction_id: int
    credits: int
    balance: int
    is_replay: bool = False

    def crosses(self, threshold: int) -> bool:
        """Tell whether this spend, and no other, brought the balance below a threshold."""
        return not self.is_replay and self.balance < threshold <= self.balance + self.credits


SpendHook = Callable[[Session, int, Spent], None]

_spend_hooks: list[SpendHook] = []


def after_spend(hook: SpendHook) -> None:
    """Call `hook(session, account_id, spent)` in the transaction of every spend; an exception undoes the spend.

    Billing promises its notice of a low balance this way, so that the ledger need not know of mail.
    """
    if hook not in _spend_hooks:
        _spend_hooks.append(hook)


def spend(
    session: Session,
    account_id: int,
    credits: int,
    *,
    idempotency_key: str,
    reason: str,
    request_hash: str | None = None,
    reference: str | None = None,
    actor: str | None = None,
) -> Spent:
    """Take credits from an account, in the caller's transaction, and return the spend with the balance it left.

    The same key with the same request returns the first result and takes nothing; a refused spend leaves its key
    free. A request is told by its credits and `request_hash`, or its reason when there is none. Credits go in spend
    order: soonest expiry, then gifts, plan, purchases. Raises NotEnoughCredits, WalletFrozen, IdempotencyConflict, and
    ValueError for an amount or key that cannot be one.
    """
    journal.check_credits(credits)
    key = f"spend:{journal.check_key(idempotency_key)}"
    request_hash = journal.fingerprint(credits, request_hash or reason)
    wallet = locking.lock(session, account_id)
    refusal = find_refusal(wallet, credits)
    transaction_id = None
    if refusal is None:
        transaction_id = journal.record(
            wallet,
            TransactionKind.SPEND,
            Note(reason, reference, actor),
            credits=-credits,
            used=credits,
            key=key,
            request_hash=request_hash,
        )
    if transaction_id is None:
        return _replay(wallet, key, request_hash, refusal)
    failpoints.hit("spend.recorded")
    lines = buckets.draw(wallet, credits)
    failpoints.hit("spend.drawn")
    journal.post(
        wallet,
        transaction_id,
        [Move(Book.AVAILABLE, Book.CONSUMED, line.credits, line.bucket_id) for line in lines],
    )
    failpoints.hit("spend.posted")
    spent = Spent(transaction_id, credits, wallet.balance)
    announce(session, account_id, spent)
    return spent


def announce(session: Session, account_id: int, spent: Spent) -> None:
    """Call the hooks of `after_spend`: for a spend, and for a hold, which lowers the balance just as much."""
    for hook in _spend_hooks:
        hook(session, account_id, spent)


def is_paid(session: Session, account_id: int, idempotency_key: str) -> bool:
    """Tell whether credits were spent or set aside under this key before: a first look, which locks nothing."""
    key = journal.check_key(idempotency_key)
    query = select(Transaction.id).where(
        Transaction.account_id == account_id, Transaction.idempotency_key.in_([f"spend:{key}", f"hold:{key}"])
    )
    return session.execute(query).first() is not None


def find_refusal(wallet: LockedWallet, credits: int) -> LedgerError | None:
    """Return why a locked wallet may not give these credits, or None when it may."""
    if wallet.frozen_reason is not None:
        return WalletFrozen(wallet.frozen_reason)
    if wallet.balance < credits:
        return NotEnoughCredits(credits, wallet.balance)
    return None


def _replay(wallet: LockedWallet, key: str, request_hash: str, refusal: LedgerError | None) -> Spent:
    stored = journal.find(wallet, key, request_hash)
    if stored is None:
        raise refusal or LedgerCorrupt(f"the key {key!r} is taken, by nothing")
    return Spent(stored.id, stored.used, stored.balance_after, is_replay=True)
