"""Credits set aside for work under way: captured with its result, or given back when it fails or its worker dies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

import clock
import failpoints
from ledger import buckets, journal, locking, spending
from ledger.buckets import Line
from ledger.errors import HoldSettled, LedgerCorrupt, LedgerError, UnknownHold
from ledger.journal import Move, Note
from ledger.models import Book, HoldStatus, TransactionKind, hold_lines, holds
from ledger.wallets import LockedWallet

# How long credits can be used that come back from a hold after their bucket has expired.
RELEASE_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Held:
    """An open hold, the balance it left, and when it is given back unless it is captured or extended."""

    hold_id: int
    credits: int
    balance: int
    expires_at: datetime
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A hold's end: what was charged, what became available again, and what of it repaid a debt instead."""

    hold_id: int
    transaction_id: int
    captured: int
    returned: int
    repaid: int
    balance: int
    is_replay: bool = False


class _Hold(NamedTuple):
    id: int
    credits: int
    captured: int
    status: str
    reason: str
    reference: str | None
    expires_at: datetime


_ACCOUNT = select(holds.c.account_id).where(holds.c.id == bindparam("hold_id"))
_GET = select(
    holds.c.id,
    holds.c.credits,
    holds.c.captured,
    holds.c.status,
    holds.c.reason,
    holds.c.reference,
    holds.c.expires_at,
).where(holds.c.id == bindparam("hold_id"))
_LINES = (
    select(hold_lines.c.bucket_id, hold_lines.c.credits)
    .where(hold_lines.c.hold_id == bindparam("hold_id"))
    .order_by(hold_lines.c.line)
)
_SETTLE = (
    update(holds)
    .where(holds.c.id == bindparam("hold_id"), holds.c.status == HoldStatus.OPEN)
    .values(status=bindparam("new_status"), captured=bindparam("taken"), settled_at=bindparam("now"))
)
_EXTEND = update(holds).where(holds.c.id == bindparam("hold_id")).values(expires_at=bindparam("new_expiry"))


def reserve(
    session: Session,
    account_id: int,
    credits: int,
    *,
    idempotency_key: str,
    reason: str,
    lease: timedelta,
    request_hash: str | None = None,
    reference: str | None = None,
    actor: str | None = None,
) -> Held:
    """Set credits aside for work that takes longer than a request, for as long as its lease; return the hold.

    The same key with the same request returns the first hold; a refused one leaves its key free. `reference` names
    the work. Raises NotEnoughCredits, WalletFrozen, IdempotencyConflict, and ValueError as spending.spend does.
    """
    journal.check_credits(credits)
    key = f"hold:{journal.check_key(idempotency_key)}"
    request_hash = journal.fingerprint(credits, request_hash or reason)
    wallet = locking.lock(session, account_id)
    refusal = spending.find_refusal(wallet, credits)
    note = Note(reason, reference, actor)
    hold_id = None
    if refusal is None:
        hold_id = journal.record(
            wallet, TransactionKind.HOLD, note, credits=-credits, key=key, request_hash=request_hash
        )
    if hold_id is None:
        return _replay(wallet, key, request_hash, refusal)
    failpoints.hit("hold.recorded")
    lines = buckets.draw(wallet, credits)
    journal.post(wallet, hold_id, [Move(Book.AVAILABLE, Book.HELD, line.credits, line.bucket_id) for line in lines])
    failpoints.hit("hold.posted")
    expires_at = wallet.now + lease
    _store(wallet, hold_id, lines, note=note, expires_at=expires_at)
    failpoints.hit("hold.stored")
    spending.announce(session, account_id, spending.Spent(hold_id, credits, wallet.balance))
    return Held(hold_id, credits, wallet.balance, expires_at)


def capture(session: Session, hold_id: int, credits: int | None = None, *, reason: str = "") -> Settled:
    """Charge a hold, in whole or in part, in the transaction that stores the work's result; the rest goes back.

    A hold whose lease ran out can be captured until it is swept. Capturing the same again returns the first capture;
    raises HoldSettled when the hold ended in another way, UnknownHold, and ValueError unless 1 <= credits <= held.
    """
    wallet, hold = _lock(session, hold_id)
    wanted = hold.credits if credits is None else credits
    journal.check_credits(wanted)
    if wanted > hold.credits:
        raise ValueError(f"hold {hold_id} has {hold.credits} credits: {wanted} cannot be captured")
    if hold.status == HoldStatus.OPEN:
        return _settle(wallet, hold, HoldStatus.CAPTURED, captured=wanted, reason=reason or hold.reason)
    if hold.captured != wanted:
        raise HoldSettled(hold_id, hold.status, hold.captured)
    return _settled_before(wallet, hold)


def release(session: Session, hold_id: int, *, reason: str = "") -> Settled:
    """Give a hold back because its work came to nothing.

    The credits return to their buckets, after what is owed is repaid. Releasing again changes nothing. Raises
    HoldSettled when the hold was captured, and UnknownHold.
    """
    wallet, hold = _lock(session, hold_id)
    if hold.status == HoldStatus.OPEN:
        return _settle(wallet, hold, HoldStatus.RELEASED, captured=0, reason=reason or f"Not charged: {hold.reason}")
    if hold.captured:
        raise HoldSettled(hold_id, hold.status, hold.captured)
    return _settled_before(wallet, hold)


def extend(session: Session, hold_id: int, lease: timedelta) -> datetime:
    """Let an open hold live for another lease from now, and return its end; a sign of life of slow work.

    Raises HoldSettled and UnknownHold.
    """
    wallet, hold = _lock(session, hold_id)
    if hold.status != HoldStatus.OPEN:
        raise HoldSettled(hold_id, hold.status, hold.captured)
    expires_at = max(hold.expires_at, wallet.now + lease)
    wallet.connection.execute(_EXTEND, {"hold_id": hold_id, "new_expiry": expires_at})
    return expires_at


def sweep(session: Session, limit: int = 100) -> int:
    """Give back up to `limit` holds whose lease ran out and return how many they were.

    Failed or killed work is never charged. Wallets are locked in the order of their accounts, so that two sweeps
    cannot wait for each other.
    """
    due = session.execute(
        select(holds.c.account_id, holds.c.id)
        .where(holds.c.status == HoldStatus.OPEN, holds.c.expires_at <= clock.now())
        .order_by(holds.c.expires_at)
        .limit(limit)
    ).all()
    return sum(_expire(session, hold_id) for _account_id, hold_id in sorted(map(tuple, due)))


def _expire(session: Session, hold_id: int) -> bool:
    wallet, hold = _lock(session, hold_id)
    if hold.status != HoldStatus.OPEN or hold.expires_at > wallet.now:
        return False  # settled or extended since the sweep looked
    _settle(wallet, hold, HoldStatus.EXPIRED, captured=0, reason=f"Not finished in time: {hold.reason}")
    return True


def _lock(session: Session, hold_id: int) -> tuple[LockedWallet, _Hold]:
    account_id = session.connection().execute(_ACCOUNT, {"hold_id": hold_id}).scalar_one_or_none()
    if account_id is None:
        raise UnknownHold(hold_id)
    wallet = locking.lock(session, account_id)
    return wallet, _Hold(*wallet.connection.execute(_GET, {"hold_id": hold_id}).one())


def _store(wallet: LockedWallet, hold_id: int, lines: list[Line], *, note: Note, expires_at: datetime) -> None:
    wallet.connection.execute(
        insert(holds),
        {
            "id": hold_id,
            "account_id": wallet.account_id,
            "credits": sum(line.credits for line in lines),
            "captured": 0,
            "status": HoldStatus.OPEN,
            "reason": note.reason,
            "reference": note.reference,
            "expires_at": expires_at,
        },
    )
    wallet.connection.execute(
        insert(hold_lines),
        [
            {"hold_id": hold_id, "line": number, "bucket_id": line.bucket_id, "credits": line.credits}
            for number, line in enumerate(lines, start=1)
        ],
    )


def _settle(wallet: LockedWallet, hold: _Hold, status: HoldStatus, *, captured: int, reason: str) -> Settled:
    ended = wallet.connection.execute(
        _SETTLE, {"hold_id": hold.id, "new_status": status, "taken": captured, "now": wallet.now}
    )
    if ended.rowcount != 1:
        raise LedgerCorrupt(f"hold {hold.id} has changed while its wallet was locked")
    failpoints.hit("settle.ended")
    lines = wallet.connection.execute(_LINES, {"hold_id": hold.id})
    moves = _moves(wallet, [Line(*row) for row in lines], captured)
    returned = sum(move.credits for move in moves if move.target is Book.AVAILABLE)
    repaid = sum(move.credits for move in moves if move.target is Book.DEBT)
    transaction_id = journal.write(
        wallet,
        TransactionKind.CAPTURE if captured else TransactionKind.RELEASE,
        Note(reason, hold.reference),
        moves=moves,
        key=f"settle:{hold.id}",
    )
    failpoints.hit("settle.posted")
    return Settled(hold.id, transaction_id, captured, returned, repaid, wallet.balance)


def _moves(wallet: LockedWallet, lines: list[Line], captured: int) -> list[Move]:
    """Return what becomes of each line, first of it captured, then repaid, then back in its bucket."""
    moves = []
    owed = wallet.debt
    for line in lines:
        taken = min(captured, line.credits)
        repaid = min(owed, line.credits - taken)
        returned = line.credits - taken - repaid
        captured -= taken
        owed -= repaid
        if returned:
            buckets.put_back(wallet, Line(line.bucket_id, returned), until=wallet.now + RELEASE_GRACE)
        for target, credits in ((Book.CONSUMED, taken), (Book.DEBT, repaid), (Book.AVAILABLE, returned)):
            if credits:
                moves.append(Move(Book.HELD, target, credits, line.bucket_id))
    return moves


def _replay(wallet: LockedWallet, key: str, request_hash: str, refusal: LedgerError | None) -> Held:
    stored = journal.find(wallet, key, request_hash)
    if stored is None:
        raise refusal or LedgerCorrupt(f"the key {key!r} is taken, by nothing")
    hold = _Hold(*wallet.connection.execute(_GET, {"hold_id": stored.id}).one())
    return Held(hold.id, hold.credits, stored.balance_after, hold.expires_at, is_replay=True)


def _settled_before(wallet: LockedWallet, hold: _Hold) -> Settled:
    stored = journal.find(wallet, f"settle:{hold.id}")
    if stored is None:
        raise LedgerCorrupt(f"hold {hold.id} is {hold.status} without a transaction")
    return Settled(hold.id, stored.id, stored.used, stored.credits, -stored.debt, stored.balance_after, is_replay=True)
