"""Tables of metered usage: what was done, what of it Stripe was told, and how far a customer lets it go."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from database import BigId, UtcDateTime
from extensions import Base

UNREPORTED = "report_id IS NULL AND is_billed"
NEVER_BILLED = "report_id IS NULL AND NOT is_billed"
UNFLUSHED = "flushed_at IS NULL AND lost_at IS NULL"


def new_identifier() -> str:
    """Return what Stripe knows a report by; 128 bits, so that no two are ever alike."""
    return secrets.token_hex(16)


class MeteredItem(Base):
    """The item of a subscription by which Stripe bills what a meter counts, as last fetched.

    Without a `stripe_item_id` it is still to be added: a checkout promised it and could not carry it.
    """

    __tablename__ = "metered_items"
    __table_args__ = (Index(None, "account_id", "meter"),)

    stripe_subscription_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    price_key: Mapped[str] = mapped_column(String(100), primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    meter: Mapped[str] = mapped_column(String(40))
    stripe_item_id: Mapped[str | None] = mapped_column(String(255))
    # What the subscriber's own price says; the catalogue may ask something else of new ones.
    included_units: Mapped[int] = mapped_column(BigInteger)
    cents_per_unit: Mapped[Decimal] = mapped_column(Numeric(20, 12))
    currency: Mapped[str] = mapped_column(String(3))
    starts_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the period before began, if the present one is its renewal; null after any other beginning.
    renewed_from: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class UsageRecord(Base):
    """Work that counts, written down in the transaction that keeps it: once per account, meter and key."""

    __tablename__ = "usage_records"
    __table_args__ = (
        UniqueConstraint("account_id", "meter", "key"),
        CheckConstraint("quantity > 0", name="quantity"),
        Index(None, "account_id", "meter", "at"),
        Index(None, "report_id"),
        Index(
            "ix_usage_records_unreported",
            "account_id",
            "meter",
            "at",
            sqlite_where=text(UNREPORTED),
            postgresql_where=text(UNREPORTED),
        ),
        Index(
            "ix_usage_records_never_billed",
            "at",
            sqlite_where=text(NEVER_BILLED),
            postgresql_where=text(NEVER_BILLED),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    meter: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(255))
    quantity: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Whether Stripe is to know of it: there was an item to bill it by.
    is_billed: Mapped[bool]
    report_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("usage_reports.id"))


class UsageReport(Base):
    """Some records added up, as one meter event: dated `at`, the only one of its account, meter and minute.

    Because the minute is its own, Stripe can be asked whether it has arrived long after it has forgotten the
    identifier. A report that is dated anew keeps both minutes.
    """

    __tablename__ = "usage_reports"
    __table_args__ = (
        UniqueConstraint("account_id", "meter", "minute"),
        Index(None, "at"),
        CheckConstraint("quantity > 0", name="quantity"),
        Index("ix_usage_reports_due", "next_at", sqlite_where=text(UNFLUSHED), postgresql_where=text(UNFLUSHED)),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"))
    meter: Mapped[str] = mapped_column(String(40))
    identifier: Mapped[str] = mapped_column(String(32), unique=True, default=new_identifier)
    quantity: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    minute: Mapped[int] = mapped_column(BigInteger)
    former_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    former_minute: Mapped[int | None] = mapped_column(BigInteger)
    # The first sending under which Stripe still remembers the identifier.
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    flushed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Nothing will ever bill it: its subscription's last invoice is closed, or the customer's cap is reached.
    lost_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)


class UsageDay(Base):
    """What was used on a day, in UTC, of which the single records are not kept any more."""

    __tablename__ = "usage_days"
    __table_args__ = (CheckConstraint("quantity > 0 AND records > 0", name="amounts"),)

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    meter: Mapped[str] = mapped_column(String(40), primary_key=True)
    used_on: Mapped[date] = mapped_column(primary_key=True)
    is_billed: Mapped[bool] = mapped_column(primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
    records: Mapped[int]


class UsagePeriod(Base):
    """How much of a meter an account has used in a period, counted along so that nobody adds up a million rows.

    `carried` came from before and is billed in this period, because its own had been invoiced.
    """

    __tablename__ = "usage_periods"
    __table_args__ = (CheckConstraint("used >= 0 AND carried >= 0", name="amounts"),)

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    meter: Mapped[str] = mapped_column(String(40), primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    used: Mapped[int] = mapped_column(BigInteger, server_default="0")
    carried: Mapped[int] = mapped_column(BigInteger, server_default="0")


class UsageCap(Base):
    """The most that a customer will pay in a period beyond what is included; 0 is nothing at all."""

    __tablename__ = "usage_caps"
    __table_args__ = (CheckConstraint("cap_cents >= 0", name="cap"),)

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    meter: Mapped[str] = mapped_column(String(40), primary_key=True)
    cap_cents: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
