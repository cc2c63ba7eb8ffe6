"""Credits come in: once per source, and what is owed is repaid first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from ledger import buckets, journal, locking
from ledger.errors import UnknownGrant
from ledger.journal import Move, Note
from ledger.models import Book, CreditKind, TransactionKind
from ledger.wallets import LockedWallet

REASONS = {
    CreditKind.TRIAL: "Trial credits",
    CreditKind.PROMO: "Gift credits",
    CreditKind.PLAN: "Plan credits",
    CreditKind.PURCHASE: "Purchased credits",
    CreditKind.ADJUST: "Extra credits",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant; `created` is False when its source had been granted before, and then nothing was changed.

    `credits` were granted, `repaid` of them went to a debt at once, `clawed` were taken back since.
    """

    created: bool
    bucket_id: int
    credits: int
    repaid: int
    clawed: int
    expires_at: datetime | None
    balance: int


def grant(
    session: Session,
    account_id: int,
    credits: int,
    *,
    kind: CreditKind | str,
    source: str,
    expires_at: datetime | None = None,
    payment_ref: str | None = None,
    note: str = "",
    actor: str | None = None,
) -> Granted:
    """Give an account credits from a source, such as `invoice:in_...`, that counts once, however often it is named.

    A second grant from the same source returns the first, even when its amount is another: the catalogue may have
    changed between two syncs of one invoice. Debt is repaid before anything becomes available. `note` is what the
    customer reads; `expires_at` None means never. Raises ValueError for an amount that is no whole number of credits
    and for an unknown kind.
    """
    journal.check_credits(credits)
    kind = CreditKind(kind)
    key = f"grant:{journal.check_key(source)}"
    wallet = locking.lock(session, account_id)
    row = buckets.find(wallet, source)
    if row is not None:
        return _stored(wallet, row)
    repaid = min(credits, wallet.debt)
    bucket_id = buckets.fill(
        wallet,
        credits,
        remaining=credits - repaid,
        kind=kind,
        source=source,
        expires_at=expires_at,
        payment_ref=payment_ref,
    )
    journal.write(
        wallet,
        TransactionKind.GRANT,
        Note(note or REASONS[kind], reference=source, actor=actor),
        moves=incoming(bucket_id, credits=credits - repaid, repaid=repaid),
        key=key,
    )
    return Granted(True, bucket_id, credits, repaid, 0, expires_at, wallet.balance)


def get_grant(session: Session, account_id: int, source: str) -> Granted:
    """Return what was granted from a source, with its wallet locked so that a claw-back can be worked out from it.

    Raises UnknownGrant.
    """
    wallet = locking.lock(session, account_id)
    row = buckets.find(wallet, source)
    if row is None:
        raise UnknownGrant(source)
    return _stored(wallet, row)


def incoming(bucket_id: int, *, credits: int, repaid: int) -> list[Move]:
    """Return the moves that issue credits into a bucket and to a debt."""
    moves = (Move(Book.ISSUED, Book.AVAILABLE, credits, bucket_id), Move(Book.ISSUED, Book.DEBT, repaid, bucket_id))
    return [move for move in moves if move.credits]


def _stored(wallet: LockedWallet, row: Row[Any]) -> Granted:
    return Granted(
        created=False,
        bucket_id=row.id,
        credits=row.granted,
        repaid=0,
        clawed=row.clawed,
        expires_at=row.expires_at,
        balance=wallet.balance,
    )
