"""What an administrator may do to credits: add, remove, forgive a debt - always with a name and a reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ledger import buckets, granting, journal, locking
from ledger.errors import DebtSmaller, NotEnoughCredits
from ledger.journal import Move, Note, Recorded
from ledger.models import Book, CreditKind, TransactionKind
from ledger.wallets import LockedWallet


@dataclass(frozen=True, slots=True)
class Adjusted:
    """An adjustment: the signed changes of balance and debt, and the balance it left."""

    transaction_id: int
    credits: int
    debt: int
    balance: int
    is_replay: bool = False


def adjust(
    session: Session,
    account_id: int,
    credits: int,
    *,
    idempotency_key: str,
    reason: str,
    actor: str,
    expires_at: datetime | None = None,
) -> Adjusted:
    """Add credits, or remove them when the number is negative, for a reason that the customer reads.

    Added credits repay debt first. The same key with the same request changes nothing more. Raises NotEnoughCredits
    when fewer are there than should go, IdempotencyConflict, and ValueError without a reason, an actor or an amount.
    """
    journal.check_credits(abs(credits))
    key, request_hash = _request("adjust", idempotency_key, reason, actor, credits)
    wallet = locking.lock(session, account_id)
    stored = journal.find(wallet, key, request_hash)
    if stored is not None:
        return _replay(stored)
    moves = _add(wallet, credits, source=key, expires_at=expires_at) if credits > 0 else _remove(wallet, -credits)
    return _write(wallet, TransactionKind.ADJUST, Note(reason, None, actor), moves, key=key, request_hash=request_hash)


def forgive(
    session: Session, account_id: int, credits: int, *, idempotency_key: str, reason: str, actor: str
) -> Adjusted:
    """Cancel a debt, in whole or in part, for a reason that the customer reads.

    The same key with the same request changes nothing more. Raises DebtSmaller when less is owed,
    IdempotencyConflict, and ValueError without a reason, an actor or an amount.
    """
    journal.check_credits(credits)
    key, request_hash = _request("forgive", idempotency_key, reason, actor, credits)
    wallet = locking.lock(session, account_id)
    stored = journal.find(wallet, key, request_hash)
    if stored is not None:
        return _replay(stored)
    if credits > wallet.debt:
        raise DebtSmaller(credits, wallet.debt)
    moves = [Move(Book.FORGIVEN, Book.DEBT, credits)]
    return _write(wallet, TransactionKind.FORGIVE, Note(reason, None, actor), moves, key=key, request_hash=request_hash)


def _request(verb: str, idempotency_key: str, reason: str, actor: str, credits: int) -> tuple[str, str]:
    if not reason.strip():
        raise ValueError("an adjustment needs a reason: the customer reads it")
    if not actor.strip():
        raise ValueError("an adjustment needs an actor: who makes it")
    return f"{verb}:{journal.check_key(idempotency_key)}", journal.fingerprint(credits, reason)


def _add(wallet: LockedWallet, credits: int, *, source: str, expires_at: datetime | None) -> list[Move]:
    repaid = min(credits, wallet.debt)
    bucket_id = buckets.fill(
        wallet,
        credits,
        remaining=credits - repaid,
        kind=CreditKind.ADJUST,
        source=source,
        expires_at=expires_at,
    )
    return granting.incoming(bucket_id, credits=credits - repaid, repaid=repaid)


def _remove(wallet: LockedWallet, credits: int) -> list[Move]:
    if credits > wallet.balance:
        raise NotEnoughCredits(credits, wallet.balance)
    return [Move(Book.AVAILABLE, Book.REMOVED, line.credits, line.bucket_id) for line in buckets.draw(wallet, credits)]


def _write(
    wallet: LockedWallet, kind: TransactionKind, note: Note, moves: list[Move], *, key: str, request_hash: str
) -> Adjusted:
    balance, debt = wallet.balance, wallet.debt
    transaction_id = journal.write(wallet, kind, note, moves=moves, key=key, request_hash=request_hash)
    return Adjusted(transaction_id, wallet.balance - balance, wallet.debt - debt, wallet.balance)


def _replay(stored: Recorded) -> Adjusted:
    return Adjusted(stored.id, stored.credits, stored.debt, stored.balance_after, is_replay=True)
