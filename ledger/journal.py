"""The only writer of transactions and entries: what it writes sums to zero, and the wallet follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.errors import IdempotencyConflict, LedgerCorrupt
from ledger.models import MAX_KEY_LENGTH, Book, TransactionKind, entries, transactions, wallets
from ledger.wallets import LockedWallet
from prepared import Prepared

MAX_CREDITS = 10**12


@dataclass(frozen=True, slots=True)
class Move:
    """Credits going from one book to another, and the bucket that they belong to."""

    origin: Book
    target: Book
    credits: int
    bucket_id: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What a transaction says about itself: `reason` is for the customer, `actor` is who did it by hand."""

    reason: str
    reference: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction did: the signed changes of balance and debt, the credits used, and the balance it left."""

    id: int
    request_hash: str | None
    credits: int
    debt: int
    used: int
    balance_after: int


_RECORD = Prepared(
    {
        "sqlite": sqlite.insert(transactions).on_conflict_do_nothing().returning(transactions.c.id),
        "postgresql": postgresql.insert(transactions).on_conflict_do_nothing().returning(transactions.c.id),
    },
    columns=[column.name for column in transactions.c if column.name != "id"],
)
_FIND = select(
    transactions.c.id,
    transactions.c.request_hash,
    transactions.c.credits,
    transactions.c.debt,
    transactions.c.used,
    transactions.c.balance_after,
).where(
    transactions.c.account_id == bindparam("account_id"),
    transactions.c.idempotency_key == bindparam("idempotency_key"),
)
_PAIR = Prepared(
    insert(entries).values(
        [
            {
                "transaction_id": bindparam("transaction_id"),
                "line": bindparam(f"{side}_line"),
                "book": bindparam(f"{side}_book"),
                "bucket_id": bindparam("bucket_id"),
                "amount": bindparam(f"{side}_amount"),
            }
            for side in ("origin", "target")
        ]
    )
)
_CHANGE_WALLET = Prepared(
    update(wallets)
    .where(
        wallets.c.account_id == bindparam("wallet_id"),
        wallets.c.balance + bindparam("available") >= 0,
        wallets.c.held + bindparam("set_aside") >= 0,
        wallets.c.debt + bindparam("owed") >= 0,
    )
    .values(
        balance=wallets.c.balance + bindparam("available"),
        held=wallets.c.held + bindparam("set_aside"),
        debt=wallets.c.debt + bindparam("owed"),
        next_expiry_at=bindparam("next_expiry_at"),
    )
)


def fingerprint(*facts: object) -> str:
    """Return what tells one request from another under the same idempotency key."""
    return hashlib.sha256("\x1f".join(map(str, facts)).encode()).hexdigest()


def check_credits(credits: int) -> None:
    """Raise ValueError unless this is a whole number of credits from 1 to MAX_CREDITS."""
    if type(credits) is not int or not 1 <= credits <= MAX_CREDITS:
        raise ValueError(f"credits must be a whole number from 1 to {MAX_CREDITS}, not {credits!r}")


def check_key(key: str) -> str:
    """Return the key; raise ValueError unless it is 1 to 200 printable characters."""
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise ValueError(f"a key must be 1 to {MAX_KEY_LENGTH} printable characters, not {key[:MAX_KEY_LENGTH]!r}")
    return key


def find(wallet: LockedWallet, key: str, request_hash: str | None = None) -> Recorded | None:
    """Return the transaction that was recorded under a key, or None.

    Raises IdempotencyConflict when the key was used for another request.
    """
    row = wallet.connection.execute(_FIND, {"account_id": wallet.account_id, "idempotency_key": key}).one_or_none()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise IdempotencyConflict(key.partition(":")[2])
    return Recorded(*row)


def record(
    wallet: LockedWallet,
    kind: TransactionKind,
    note: Note,
    *,
    credits: int,
    debt: int = 0,
    used: int = 0,
    key: str | None = None,
    request_hash: str | None = None,
    at: datetime | None = None,
) -> int | None:
    """Append a transaction and return its id; return None, and change nothing, when its key is taken.

    `credits` and `debt` are the signed changes that the moves posted to it will make. `at` is now, unless given: no
    transaction of the wallet may lie between it and now.
    """
    recorded = _RECORD.first(
        wallet.connection,
        {
            "account_id": wallet.account_id,
            "kind": kind,
            "idempotency_key": key,
            "request_hash": request_hash,
            "credits": credits,
            "debt": debt,
            "used": used,
            "balance_after": wallet.balance + credits,
            "reason": note.reason,
            "reference": note.reference,
            "actor": note.actor,
            "at": at or wallet.now,
        },
    )
    return None if recorded is None else int(recorded[0])


def post(wallet: LockedWallet, transaction_id: int, moves: Iterable[Move]) -> None:
    """Append the entries of a transaction and change the wallet by their sums."""
    available = set_aside = debt = 0
    for number, move in enumerate(moves):
        available += _effect(move, Book.AVAILABLE)
        set_aside += _effect(move, Book.HELD)
        debt -= _effect(move, Book.DEBT)
        _PAIR.change(
            wallet.connection,
            {
                "transaction_id": transaction_id,
                "bucket_id": move.bucket_id,
                "origin_line": 2 * number + 1,
                "origin_book": move.origin.value,
                "origin_amount": -move.credits,
                "target_line": 2 * number + 2,
                "target_book": move.target.value,
                "target_amount": move.credits,
            },
        )
    changed = _CHANGE_WALLET.change(
        wallet.connection,
        {
            "wallet_id": wallet.account_id,
            "available": available,
            "set_aside": set_aside,
            "owed": debt,
            "next_expiry_at": wallet.next_expiry_at,
        },
    )
    if changed != 1:
        raise LedgerCorrupt(f"wallet {wallet.account_id} has less than its own entries take out of it")
    wallet.balance += available
    wallet.debt += debt


def write(
    wallet: LockedWallet,
    kind: TransactionKind,
    note: Note,
    *,
    moves: Sequence[Move],
    key: str | None = None,
    request_hash: str | None = None,
    at: datetime | None = None,
) -> int:
    """Record a transaction whose moves are known beforehand, post them, and return its id.

    The caller has made sure that the key is free. `at` is as in `record`.
    """
    transaction_id = record(
        wallet,
        kind,
        note,
        credits=sum(_effect(move, Book.AVAILABLE) for move in moves),
        debt=-sum(_effect(move, Book.DEBT) for move in moves),
        used=sum(_effect(move, Book.CONSUMED) for move in moves),
        key=key,
        request_hash=request_hash,
        at=at,
    )
    if transaction_id is None:
        raise LedgerCorrupt(f"the key {key!r} was taken while its wallet was locked")
    post(wallet, transaction_id, moves)
    return transaction_id


def keep_next_expiry(wallet: LockedWallet) -> None:
    """Store when to look for expired credits again, where nothing was posted that would."""
    post(wallet, 0, ())


def _effect(move: Move, book: Book) -> int:
    if move.origin is book:
        return -move.credits
    return move.credits if move.target is book else 0
