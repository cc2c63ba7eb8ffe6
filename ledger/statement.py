"""What the customer sees of the ledger: the balance by source, why it changed, and how much is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Date, Select, bindparam, cast, func, or_, select
from sqlalchemy.orm import Session

import clock
from ledger.buckets import spend_order
from ledger.models import Transaction, buckets, wallets
from prepared import Reading

CSV_HEADER = ("at", "kind", "reason", "credits", "balance", "debt", "reference")
CSV_BATCH = 1_000


class Source(NamedTuple):
    """What is left of one grant, in the order in which it will be spent; `expires_at` None means never."""

    kind: str
    remaining: int
    granted: int
    expires_at: datetime | None
    source: str


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's credits: to spend, set aside by holds, and owed after refunds of spent credits."""

    total: int
    held: int
    debt: int
    frozen_reason: str | None
    sources: list[Source]


class Activity(NamedTuple):
    """One line of the statement: why the balance changed, by how much, and what it was then.

    `credits` and `debt` are signed changes; `used` counts the credits that were used up for good.
    """

    id: int
    at: datetime
    kind: str
    reason: str
    credits: int
    balance: int
    debt: int
    used: int
    reference: str | None
    actor: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines of a statement are wanted: of these kinds (none: all), from an instant on, and before another."""

    kinds: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of a statement, newest first, and the id to ask for those before them; None at the end."""

    lines: list[Activity]
    older_than: int | None


class _Wallet(NamedTuple):
    """What an account's wallet says beside its sources."""

    held: int
    debt: int
    frozen_reason: str | None


class DayUsage(NamedTuple):
    """The credits used on one day (UTC)."""

    day: date
    credits: int


class DayBalance(NamedTuple):
    """What could be spent at the end of one day (UTC)."""

    day: date
    credits: int


ActivityRows = Select[int, datetime, str, str, int, int, int, int, str | None, str | None]

_ACTIVITY = select(
    Transaction.id,
    Transaction.at,
    Transaction.kind,
    Transaction.reason,
    Transaction.credits,
    Transaction.balance_after,
    Transaction.debt,
    Transaction.used,
    Transaction.reference,
    Transaction.actor,
)


def utc_day(dialect: str) -> ColumnElement[date]:
    """Return the UTC day of a transaction, as `sqlite` and `postgresql` say it."""
    if dialect == "sqlite":
        return func.date(Transaction.at)
    return cast(func.timezone("UTC", Transaction.at), Date)


def _day_usage(day: object, used: object) -> DayUsage:
    """Return a row of _usage_by_day, whose day SQLite tells as a text and whose sum PostgreSQL tells as a Decimal."""
    return DayUsage(date.fromisoformat(str(day)), int(str(used)))


def _usage_by_day(dialect: str) -> Select[date, int]:
    day = utc_day(dialect)
    return (
        select(day, func.sum(Transaction.used))
        .where(Transaction.account_id == bindparam("wallet_id"), Transaction.used > 0)
        .where(Transaction.at >= bindparam("since"))
        .group_by(day)
    )


# What every dashboard reads.
_WALLET = Reading(
    select(wallets.c.held, wallets.c.debt, wallets.c.frozen_reason).where(
        wallets.c.account_id == bindparam("wallet_id")
    ),
    _Wallet,
)
_SOURCES = Reading(
    select(buckets.c.kind, buckets.c.remaining, buckets.c.granted, buckets.c.expires_at, buckets.c.source)
    .where(buckets.c.account_id == bindparam("wallet_id"), buckets.c.is_open)
    .where(or_(buckets.c.expires_at.is_(None), buckets.c.expires_at > bindparam("now")))
    .order_by(*spend_order),
    Source,
)
_RECENT = Reading(
    _ACTIVITY.where(Transaction.account_id == bindparam("wallet_id"))
    .order_by(Transaction.id.desc())
    .limit(bindparam("lines")),
    Activity,
)
_USAGE_BY_DAY = Reading({dialect: _usage_by_day(dialect) for dialect in ("sqlite", "postgresql")}, _day_usage)


def balance(session: Session, account_id: int) -> Balance:
    """Return what an account can spend now; what has expired does not count, even before it is swept."""
    wallet = _WALLET.first(session, wallet_id=account_id)
    if wallet is None:
        return Balance(0, 0, 0, None, [])
    sources = _SOURCES.all(session, wallet_id=account_id, now=clock.now())
    return Balance(sum(source.remaining for source in sources), *wallet, sources)


def recent(session: Session, account_id: int, limit: int = 10) -> list[Activity]:
    """Return the newest lines of an account's statement, newest first."""
    return _RECENT.all(session, wallet_id=account_id, lines=limit)


def page(
    session: Session,
    account_id: int,
    wanted: Filter | None = None,
    *,
    older_than: int | None = None,
    limit: int = 50,
) -> Page:
    """Return up to `limit` lines of a statement, newest first, that came before the line `older_than`."""
    query = _lines(account_id, wanted or Filter()).order_by(Transaction.id.desc())
    if older_than is not None:
        query = query.where(Transaction.id < older_than)
    lines = [Activity(*row) for row in session.execute(query.limit(limit + 1))]
    return Page(lines[:limit], lines[limit - 1].id if len(lines) > limit else None)


def csv_rows(session: Session, account_id: int, wanted: Filter | None = None) -> Iterator[tuple[str, ...]]:
    """Yield a statement as rows for a CSV file, oldest first, after a row of headings; times are ISO 8601 in UTC.

    Texts that a spreadsheet would run as a formula are made harmless with an apostrophe.
    """
    yield CSV_HEADER
    query = _lines(account_id, wanted or Filter()).order_by(Transaction.id)
    for row in session.execute(query.execution_options(yield_per=CSV_BATCH)):
        line = Activity(*row)
        yield (
            line.at.isoformat(timespec="seconds"),
            line.kind,
            _harmless(line.reason),
            str(line.credits),
            str(line.balance),
            str(line.debt),
            _harmless(line.reference or ""),
        )


def daily_usage(session: Session, account_id: int, days: int = 30) -> list[DayUsage]:
    """Return the credits used on each of the last days (UTC), today included, oldest first; quiet days are zero."""
    first = clock.now().date() - timedelta(days=days - 1)
    midnight = _midnight(first)
    used = dict(_USAGE_BY_DAY.all(session, wallet_id=account_id, since=midnight))
    calendar = [first + timedelta(days=number) for number in range(days)]
    return [DayUsage(day, used.get(day, 0)) for day in calendar]


def daily_balance(session: Session, account_id: int, first: date, last: date) -> list[DayBalance]:
    """Return the balance at the end of each day from the first to the last (UTC); a quiet day keeps that before it."""
    starts, ends = _midnight(first), _midnight(last + timedelta(days=1))
    own = Transaction.account_id == account_id
    before = select(Transaction.balance_after).where(own, Transaction.at < starts).order_by(Transaction.id.desc())
    balance = session.scalar(before.limit(1)) or 0
    day = utc_day(session.get_bind().dialect.name)
    newest = select(func.max(Transaction.id)).where(own, Transaction.at >= starts, Transaction.at < ends).group_by(day)
    rows = session.execute(select(day, Transaction.balance_after).where(Transaction.id.in_(newest)))
    changed = {date.fromisoformat(str(row[0])): int(row[1]) for row in rows}
    calendar = []
    for number in range((last - first).days + 1):
        balance = changed.get(first + timedelta(days=number), balance)
        calendar.append(DayBalance(first + timedelta(days=number), balance))
    return calendar


def first_day(session: Session, account_id: int) -> date | None:
    """Return the day (UTC) of an account's first transaction, None when there is none yet."""
    query = select(Transaction.at).where(Transaction.account_id == account_id).order_by(Transaction.id)
    at = session.scalar(query.limit(1))
    return at.date() if at else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _lines(account_id: int, wanted: Filter) -> ActivityRows:
    query = _ACTIVITY.where(Transaction.account_id == account_id)
    if wanted.kinds:
        query = query.where(Transaction.kind.in_(wanted.kinds))
    if wanted.since is not None:
        query = query.where(Transaction.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Transaction.at < wanted.until)
    return query


def _harmless(words: str) -> str:
    return f"'{words}" if words.startswith(("=", "+", "-", "@", "\t", "\r")) else words
