"""Credits in their buckets: taken out in spend order, put back where they came from, and expired when due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.engine import Row

import failpoints
from ledger import journal
from ledger.errors import LedgerCorrupt
from ledger.journal import Move, Note
from ledger.models import Book, CreditKind, TransactionKind, buckets
from ledger.wallets import LockedWallet
from prepared import Prepared

# Gifts go before what was paid for; what expires first goes before all (see spend_order).
PRIORITY = {
    CreditKind.TRIAL: 0,
    CreditKind.PROMO: 0,
    CreditKind.ADJUST: 0,
    CreditKind.PLAN: 1,
    CreditKind.PURCHASE: 2,
}
KIND_NAMES = {
    CreditKind.TRIAL: "trial",
    CreditKind.PROMO: "gift",
    CreditKind.ADJUST: "extra",
    CreditKind.PLAN: "plan",
    CreditKind.PURCHASE: "purchased",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Credits of one bucket."""

    bucket_id: int
    credits: int


_FILL = insert(buckets).returning(buckets.c.id)
_FIND = select(buckets).where(buckets.c.account_id == bindparam("account_id"), buckets.c.source == bindparam("source"))
spend_order = (buckets.c.expires_at.is_(None), buckets.c.expires_at, buckets.c.priority, buckets.c.id)
_is_open = (buckets.c.account_id == bindparam("wallet_id"), buckets.c.is_open)
_FIRST = select(buckets.c.id).where(*_is_open).order_by(*spend_order).limit(1).scalar_subquery()
_DRAW_FIRST = Prepared(
    update(buckets)
    .where(buckets.c.id == _FIRST, buckets.c.remaining >= bindparam("amount"))
    .values(remaining=buckets.c.remaining - bindparam("amount"))
    .returning(buckets.c.id)
)
_OPEN = select(buckets.c.id, buckets.c.remaining).where(*_is_open).order_by(*spend_order)
_DRAW = (
    update(buckets)
    .where(buckets.c.id == bindparam("bucket_id"), buckets.c.remaining >= bindparam("amount"))
    .values(remaining=buckets.c.remaining - bindparam("amount"))
)
_PUT_BACK = (
    update(buckets)
    .where(buckets.c.id == bindparam("bucket_id"))
    .values(remaining=buckets.c.remaining + bindparam("amount"))
    .returning(buckets.c.expires_at)
)
_EXTEND = update(buckets).where(buckets.c.id == bindparam("bucket_id")).values(expires_at=bindparam("new_expiry"))
_DUE = (
    select(
        *(buckets.c.id, buckets.c.kind, buckets.c.source, buckets.c.remaining),
        *(buckets.c.expires_at, buckets.c.granted_at),
    )
    .where(*_is_open, buckets.c.expires_at <= bindparam("now"))
    .order_by(*spend_order)
)
_EXPIRE = (
    update(buckets)
    .where(buckets.c.id == bindparam("bucket_id"))
    .values(remaining=0, expired=buckets.c.expired + buckets.c.remaining)
)
_NEXT_EXPIRY = select(func.min(buckets.c.expires_at)).where(*_is_open, buckets.c.expires_at > bindparam("now"))


def find(wallet: LockedWallet, source: str) -> Row[Any] | None:
    """Return the row of the bucket that was filled from a source, or None."""
    return wallet.connection.execute(_FIND, {"account_id": wallet.account_id, "source": source}).one_or_none()


def fill(
    wallet: LockedWallet,
    credits: int,
    *,
    remaining: int,
    kind: CreditKind,
    source: str,
    expires_at: datetime | None = None,
    payment_ref: str | None = None,
) -> int:
    """Make a bucket of granted credits, of which some may be gone already to repay a debt, and return its id."""
    bucket_id: int = wallet.connection.execute(
        _FILL,
        {
            "account_id": wallet.account_id,
            "kind": kind,
            "priority": PRIORITY[kind],
            "source": source,
            "payment_ref": payment_ref,
            "granted": credits,
            "remaining": remaining,
            "expired": 0,
            "clawed": 0,
            "clawed_spent": 0,
            "clawed_expired": 0,
            "claw_version": 0,
            "expires_at": expires_at,
            "granted_at": wallet.now,
        },
    ).scalar_one()
    if remaining:
        wallet.expects_expiry_at(expires_at)
    return bucket_id


def draw(wallet: LockedWallet, credits: int) -> list[Line]:
    """Take credits out of the wallet's buckets in spend order: soonest expiry, then gifts, plan, purchases, then age.

    The caller has made sure that the balance covers them and that nothing in it has expired.
    """
    chosen = {"wallet_id": wallet.account_id, "amount": credits}
    drawn = _DRAW_FIRST.first(wallet.connection, chosen)
    if drawn is not None:
        return [Line(drawn[0], credits)]
    return _draw_from_several(wallet, credits)


def _draw_from_several(wallet: LockedWallet, credits: int) -> list[Line]:
    lines = []
    wanted = credits
    for bucket_id, remaining in wallet.connection.execute(_OPEN, {"wallet_id": wallet.account_id}):
        amount = min(wanted, remaining)
        draw_one(wallet, Line(bucket_id, amount))
        lines.append(Line(bucket_id, amount))
        wanted -= amount
        if wanted == 0:
            return lines
    raise LedgerCorrupt(f"wallet {wallet.account_id} has {wanted} credits less in its buckets than in its balance")


def draw_one(wallet: LockedWallet, line: Line) -> None:
    """Take credits out of one bucket that is known to have them."""
    taken = wallet.connection.execute(_DRAW, {"bucket_id": line.bucket_id, "amount": line.credits})
    if taken.rowcount != 1:
        raise LedgerCorrupt(f"bucket {line.bucket_id} has changed while its wallet was locked")


def put_back(wallet: LockedWallet, line: Line, *, until: datetime) -> None:
    """Return credits to their bucket; if it has expired meanwhile they can be used until the given instant."""
    expires_at = wallet.connection.execute(
        _PUT_BACK, {"bucket_id": line.bucket_id, "amount": line.credits}
    ).scalar_one()
    if expires_at is not None and expires_at <= wallet.now:
        wallet.connection.execute(_EXTEND, {"bucket_id": line.bucket_id, "new_expiry": until})
        expires_at = until
    wallet.expects_expiry_at(expires_at)


def expire(wallet: LockedWallet) -> int:
    """Take what has expired out of the balance, one transaction per bucket, and return how many credits that was.

    Each is dated when its credits expired, whenever they are swept: nothing else can have happened to the wallet since,
    because every operation begins with this.
    """
    scope = {"wallet_id": wallet.account_id, "now": wallet.now}
    due = wallet.connection.execute(_DUE, scope).all()
    wallet.next_expiry_at = wallet.connection.execute(_NEXT_EXPIRY, scope).scalar_one()
    for row in due:
        wallet.connection.execute(_EXPIRE, {"bucket_id": row.id})
        failpoints.hit("expiry.taken")
        journal.write(
            wallet,
            TransactionKind.EXPIRE,
            Note(f"Unused {KIND_NAMES[CreditKind(row.kind)]} credits expired", reference=row.source),
            moves=[Move(Book.AVAILABLE, Book.EXPIRED, row.remaining, row.id)],
            at=max(row.expires_at, row.granted_at),
        )
        failpoints.hit("expiry.posted")
    if not due:
        journal.keep_next_expiry(wallet)
    return sum(row.remaining for row in due)
