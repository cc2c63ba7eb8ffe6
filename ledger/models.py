"""The tables of credits: wallets and their freezes, buckets, transactions and entries, holds and their lines.

Everything else in this package writes them with Core statements; the classes are the schema, and they are for reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from database import BigId, UtcDateTime
from extensions import Base
from ledger import append_only

MAX_KEY_LENGTH = 200
KEY_WITH_PREFIX_LENGTH = 240


class CreditKind(StrEnum):
    """Where credits come from."""

    TRIAL = "trial"
    PROMO = "promo"
    PLAN = "plan"
    PURCHASE = "purchase"
    ADJUST = "adjust"


class TransactionKind(StrEnum):
    """What happened to a wallet."""

    GRANT = "grant"
    SPEND = "spend"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    CLAW = "claw"
    RESTORE = "restore"
    EXPIRE = "expire"
    ADJUST = "adjust"
    FORGIVE = "forgive"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


class Book(StrEnum):
    """The two ends of every movement of credits; over all books each transaction sums to zero."""

    ISSUED = "issued"
    AVAILABLE = "available"
    HELD = "held"
    CONSUMED = "consumed"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    DEBT = "debt"
    FORGIVEN = "forgiven"
    REMOVED = "removed"


class HoldStatus(StrEnum):
    """A hold is open until it is settled, exactly once."""

    OPEN = "open"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


def _one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


class Wallet(Base):
    """One account's credits in total; its row is the lock of everything else here."""

    __tablename__ = "wallets"
    __table_args__ = (
        CheckConstraint("balance >= 0", name="balance"),
        CheckConstraint("held >= 0", name="held"),
        CheckConstraint("debt >= 0", name="debt"),
    )

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    balance: Mapped[int] = mapped_column(BigInteger, default=0)
    held: Mapped[int] = mapped_column(BigInteger, default=0)
    debt: Mapped[int] = mapped_column(BigInteger, default=0)
    frozen_reason: Mapped[str | None] = mapped_column(Text)
    # Never later than the first expiry among the buckets that still hold credits, so a spend knows without looking
    # at them that nothing is due.
    next_expiry_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Freeze(Base):
    """One cause for which a wallet may not spend; the wallet thaws when its last cause is gone."""

    __tablename__ = "wallet_freezes"

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("wallets.account_id"), primary_key=True)
    cause: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    frozen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Bucket(Base):
    """Credits of one grant: what is left of them, when they expire, and how much of them was clawed back."""

    __tablename__ = "buckets"
    __table_args__ = (
        UniqueConstraint("account_id", "source"),
        _one_of("kind", CreditKind),
        CheckConstraint("granted > 0", name="granted"),
        CheckConstraint("remaining >= 0 AND remaining <= granted", name="remaining"),
        CheckConstraint("expired >= 0", name="expired"),
        CheckConstraint("clawed >= 0 AND clawed <= granted", name="clawed"),
        CheckConstraint(
            "clawed_spent >= 0 AND clawed_expired >= 0 AND clawed_spent + clawed_expired <= clawed",
            name="clawed_parts",
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("wallets.account_id"))
    kind: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int] = mapped_column(SmallInteger)
    source: Mapped[str] = mapped_column(String(KEY_WITH_PREFIX_LENGTH))
    payment_ref: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH), index=True)
    granted: Mapped[int] = mapped_column(BigInteger)
    remaining: Mapped[int] = mapped_column(BigInteger)
    expired: Mapped[int] = mapped_column(BigInteger, default=0)
    clawed: Mapped[int] = mapped_column(BigInteger, default=0)
    # Of the clawed credits, those that had been used already and those that had expired unused.
    clawed_spent: Mapped[int] = mapped_column(BigInteger, default=0)
    clawed_expired: Mapped[int] = mapped_column(BigInteger, default=0)
    claw_version: Mapped[int] = mapped_column(BigInteger, default=0)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # A column, because an index on `remaining > 0` would have to be written anew by every spend on PostgreSQL.
    is_open: Mapped[bool] = mapped_column(Boolean, Computed("remaining > 0", persisted=True))


class Transaction(Base):
    """One change of one wallet, for ever: what happened, why, and the balance it left."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        UniqueConstraint("account_id", "idempotency_key"),
        Index(None, "account_id", "id"),
        _one_of("kind", TransactionKind),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("wallets.account_id"))
    kind: Mapped[str] = mapped_column(String(20))
    idempotency_key: Mapped[str | None] = mapped_column(String(KEY_WITH_PREFIX_LENGTH))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    # The change of the balance (signed), of the debt (signed), and how many credits were used up by it.
    credits: Mapped[int] = mapped_column(BigInteger)
    debt: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[int] = mapped_column(BigInteger)
    balance_after: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Entry(Base):
    """One side of one movement of credits."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        _one_of("book", Book),
        CheckConstraint("amount <> 0", name="amount"),
        {"sqlite_with_rowid": False},
    )

    transaction_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("ledger_transactions.id"), primary_key=True, autoincrement=False
    )
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    book: Mapped[str] = mapped_column(String(20))
    bucket_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("buckets.id"))
    amount: Mapped[int] = mapped_column(BigInteger)


class Hold(Base):
    """Credits set aside for work that is under way; its id is the transaction that set them aside."""

    __tablename__ = "holds"
    __table_args__ = (
        _one_of("status", HoldStatus),
        CheckConstraint("credits > 0", name="credits"),
        CheckConstraint("captured >= 0 AND captured <= credits", name="captured"),
        Index(
            "ix_holds_due",
            "expires_at",
            sqlite_where=text("status = 'open'"),
            postgresql_where=text("status = 'open'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, ForeignKey("ledger_transactions.id"), primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("wallets.account_id"))
    credits: Mapped[int] = mapped_column(BigInteger)
    captured: Mapped[int] = mapped_column(BigInteger, default=0)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class HoldLine(Base):
    """The part of a hold that came from one bucket, to which it returns when it is not captured."""

    __tablename__ = "hold_lines"
    __table_args__ = (CheckConstraint("credits > 0", name="credits"),)

    hold_id: Mapped[int] = mapped_column(BigId, ForeignKey("holds.id"), primary_key=True, autoincrement=False)
    line: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    bucket_id: Mapped[int] = mapped_column(BigId, ForeignKey("buckets.id"), index=True)
    credits: Mapped[int] = mapped_column(BigInteger)


wallets = cast(Table, Wallet.__table__)
freezes = cast(Table, Freeze.__table__)
buckets = cast(Table, Bucket.__table__)
transactions = cast(Table, Transaction.__table__)
entries = cast(Table, Entry.__table__)
holds = cast(Table, Hold.__table__)
hold_lines = cast(Table, HoldLine.__table__)

Index(
    "ix_buckets_open",
    buckets.c.account_id,
    sqlite_where=text("is_open = 1"),
    postgresql_where=text("is_open"),
)

append_only.protect(transactions)
append_only.protect(entries)
