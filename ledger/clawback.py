"""Refunds and disputes on credits: not a subtraction per event but a target, reached from wherever we are.

However often and in whatever order refunds, failed refunds and disputes are heard of, the credits taken back end up
being what the payment's present state asks for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

import clock
import failpoints
from ledger import buckets, journal, locking, statement
from ledger.buckets import Line
from ledger.errors import UnknownGrant
from ledger.journal import Move, Note
from ledger.models import Book, Bucket, CreditKind, Hold, HoldLine, HoldStatus, TransactionKind
from ledger.wallets import LockedWallet

# How long credits can be used that are given back after their bucket expired, for instance during a dispute.
RESTORE_GRACE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Clawed:
    """Where a claw-back has arrived; `applied` is False when a newer state had been applied before.

    `clawed` counts the grant's credits that are taken back now; `owed` is what this call added to the debt, negative
    when it repaid some.
    """

    applied: bool
    clawed: int
    owed: int
    balance: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What claw_to would do now: credits taken from the balance, from what expired unused, and added to the debt.

    `granted` is the whole grant and `clawed` what is taken back of it already; the balance and the debt are those
    after it.
    """

    granted: int
    clawed: int
    unused: int
    expired: int
    owed: int
    balance: int
    debt: int


class _Bucket(NamedTuple):
    id: int
    source: str
    granted: int
    remaining: int
    expired: int
    clawed: int
    clawed_spent: int
    clawed_expired: int
    claw_version: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Change:
    """What a claw-back adds to the columns of a bucket."""

    more_remaining: int
    more_expired: int
    more_clawed: int
    more_clawed_spent: int
    more_clawed_expired: int


_GET = select(*(getattr(Bucket, field) for field in _Bucket._fields)).where(
    Bucket.account_id == bindparam("account_id"), Bucket.source == bindparam("source")
)
_HELD = (
    select(func.coalesce(func.sum(HoldLine.credits), 0))
    .join(Hold, Hold.id == HoldLine.hold_id)
    .where(HoldLine.bucket_id == bindparam("bucket_id"), Hold.status == HoldStatus.OPEN)
)
_CHANGE = (
    update(Bucket)
    .where(Bucket.id == bindparam("bucket_id"))
    .values(
        remaining=Bucket.remaining + bindparam("more_remaining"),
        expired=Bucket.expired + bindparam("more_expired"),
        clawed=Bucket.clawed + bindparam("more_clawed"),
        clawed_spent=Bucket.clawed_spent + bindparam("more_clawed_spent"),
        clawed_expired=Bucket.clawed_expired + bindparam("more_clawed_expired"),
        claw_version=bindparam("version"),
    )
)


def target(granted: int, *, paid_cents: int, returned_cents: int) -> int:
    """Return how many credits of a grant its payments' present state takes back: the share that went back, rounded up.

    All that went back, by refunds or for a dispute, leaves none; nothing that went back takes none.
    """
    if paid_cents <= 0:
        return 0
    return -(-granted * min(returned_cents, paid_cents) // paid_cents)


def claw_to(
    session: Session,
    account_id: int,
    source: str,
    target: int,
    *,
    version: int | None = None,
    reason: str = "",
    actor: str | None = None,
) -> Clawed:
    """Make the credits taken back from one grant equal to a target, whether more or fewer were taken before.

    Taken first is what remains in the grant's bucket, then what expired unused, and what was used becomes debt. Given
    back in reverse: debt is repaid first. `version` is a fence: a call whose version is not above the last one applied
    changes nothing, so a state that was read earlier cannot overwrite one that was read later. Without it the call
    counts as the newest: for a target that was worked out under the wallet's lock. Raises UnknownGrant, and ValueError
    for a target that the grant cannot meet or a version below 1.
    """
    wallet = locking.lock(session, account_id)
    bucket = _get(wallet, source)
    if not 0 <= target <= bucket.granted:
        raise ValueError(f"{target} credits cannot be taken back of a grant of {bucket.granted}")
    if version is None:
        version = bucket.claw_version + 1
    if version < 1:
        raise ValueError(f"a version starts at 1, not {version}")
    if version <= bucket.claw_version:
        return Clawed(False, bucket.clawed, 0, wallet.balance)
    debt = wallet.debt
    if target > bucket.clawed:
        kind, words = TransactionKind.CLAW, "Payment refunded or disputed: its credits were taken back"
        moves = _take(wallet, bucket, target - bucket.clawed, version=version)
    else:
        kind, words = TransactionKind.RESTORE, "Refund or dispute undone: credits were given back"
        moves = _give_back(wallet, bucket, bucket.clawed - target, version=version)
    failpoints.hit("clawback.changed")
    if moves:
        note = Note(reason or words, source, actor)
        journal.write(wallet, kind, note, moves=moves, key=f"claw:{version}:{source}")
    failpoints.hit("clawback.posted")
    return Clawed(True, target, wallet.debt - debt, wallet.balance)


def preview(session: Session, account_id: int, source: str, target: int) -> Outlook:
    """Work out what taking a grant back up to a target would do now; changes and locks nothing.

    A target that is already reached takes nothing. Raises UnknownGrant.
    """
    row = session.connection().execute(_GET, {"account_id": account_id, "source": source}).one_or_none()
    if row is None:
        raise UnknownGrant(source)
    bucket, balance = _Bucket(*row), statement.balance(session, account_id)
    is_over = bucket.expires_at is not None and bucket.expires_at <= clock.now()
    # What has expired counts as expired, even before it is swept.
    remaining, expired = (0, bucket.expired + bucket.remaining) if is_over else (bucket.remaining, bucket.expired)
    credits = max(0, target - bucket.clawed)
    from_balance = min(credits, remaining)
    from_expired = min(credits - from_balance, expired)
    owed = credits - from_balance - from_expired
    return Outlook(
        bucket.granted,
        bucket.clawed,
        from_balance,
        from_expired,
        owed,
        balance.total - from_balance,
        balance.debt + owed,
    )


def _get(wallet: LockedWallet, source: str) -> _Bucket:
    row = wallet.connection.execute(_GET, {"account_id": wallet.account_id, "source": source}).one_or_none()
    if row is None:
        raise UnknownGrant(source)
    return _Bucket(*row)


def _take(wallet: LockedWallet, bucket: _Bucket, credits: int, *, version: int) -> list[Move]:
    """Take what is there, then what expired unused; the rest was used or is on hold, and is owed from now on."""
    unused = min(credits, bucket.remaining)
    expired = min(credits - unused, bucket.expired)
    used = credits - unused - expired
    _change(wallet, bucket, version, _Change(-unused, -expired, credits, used, expired))
    return _moves(
        Move(Book.AVAILABLE, Book.REFUNDED, unused, bucket.id),
        Move(Book.EXPIRED, Book.REFUNDED, expired, bucket.id),
        Move(Book.DEBT, Book.REFUNDED, used, bucket.id),
    )


def _give_back(wallet: LockedWallet, bucket: _Bucket, credits: int, *, version: int) -> list[Move]:
    """Undo _take, last part first; what cannot return to its bucket becomes a bucket of its own."""
    used = min(credits, bucket.clawed_spent)
    expired = min(credits - used, bucket.clawed_expired)
    unused = credits - used - expired
    _change(wallet, bucket, version, _Change(0, expired, -credits, -used, -expired))
    repaid = min(wallet.debt, used + unused)
    returned = _room(wallet, bucket, used=used, unused=unused, repaid=repaid)
    overflow = used + unused - repaid - returned
    moves = _moves(
        Move(Book.REFUNDED, Book.DEBT, repaid, bucket.id),
        Move(Book.REFUNDED, Book.EXPIRED, expired, bucket.id),
        Move(Book.REFUNDED, Book.AVAILABLE, returned, bucket.id),
    )
    if returned:
        buckets.put_back(wallet, Line(bucket.id, returned), until=wallet.now + RESTORE_GRACE)
    if overflow:
        new_bucket_id = buckets.fill(
            wallet,
            overflow,
            remaining=overflow,
            kind=CreditKind.ADJUST,
            source=f"restored:{version}:{bucket.source}",
        )
        moves.append(Move(Book.REFUNDED, Book.AVAILABLE, overflow, new_bucket_id))
    return moves


def _room(wallet: LockedWallet, bucket: _Bucket, *, used: int, unused: int, repaid: int) -> int:
    """Return how many of the credits given back, less those that repay debt, go into their own bucket.

    Not more than it can hold together with what open holds may bring back to it. And if its time is over, only those
    that were unused: the used ones have been paid for by later grants, whose credits would have lasted longer.
    """
    given_back = used + unused - repaid
    if bucket.expires_at is not None and bucket.expires_at <= wallet.now:
        given_back -= max(0, used - repaid)
    on_hold: int = wallet.connection.execute(_HELD, {"bucket_id": bucket.id}).scalar_one()
    return min(given_back, bucket.granted - bucket.remaining - on_hold)


def _change(wallet: LockedWallet, bucket: _Bucket, version: int, change: _Change) -> None:
    wallet.connection.execute(_CHANGE, {"bucket_id": bucket.id, "version": version, **asdict(change)})


def _moves(*moves: Move) -> list[Move]:
    return [move for move in moves if move.credits]
