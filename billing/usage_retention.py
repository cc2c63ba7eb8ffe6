"""Fold old use into sums by the day: what was done each second is of no use to anybody once it has been billed.

A report and its records go together, in the transaction that adds them to their days, so that every unit stands in
exactly one place. What Stripe has not been told of yet stays as it is, however old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from billing import catalog
from billing.periods import add_months
from billing.usage_models import UsageDay, UsageRecord, UsageReport

# Stripe may still be asked about the last 35 days, and a period that is running is counted by its records.
FEWEST_MONTHS = 2


def sweep(session: Session, limit: int = 100) -> int:
    """Fold the old use of one account, at most so many reports and records of it; return how many records went.

    Old is what is before the policy's `usage_records_months`. Locks the account's row.
    """
    months = catalog.current().policies.usage_records_months
    if not months:
        return 0
    before = add_months(clock.now(), -max(months, FEWEST_MONTHS))
    account_id = _whose_turn(session, before)
    if account_id is None:
        return 0
    people.lock_account(session, account_id)
    reports = session.scalars(
        select(UsageReport.id).where(UsageReport.account_id == account_id, _is_done(before)).limit(limit)
    ).all()
    folded = _fold(session, session.scalars(select(UsageRecord).where(UsageRecord.report_id.in_(reports))).all())
    session.execute(delete(UsageReport).where(UsageReport.id.in_(reports)))
    mine = select(UsageRecord).where(UsageRecord.account_id == account_id, _is_never_billed(before))
    folded += _fold(session, session.scalars(mine.limit(limit)).all())
    failpoints.hit("usage.swept")
    return folded


def used_in_all(session: Session, account_id: int, meter: str) -> int:
    """Return all that an account has ever used of a meter, whether it is kept by the second or by the day."""
    sums = [
        select(func.coalesce(func.sum(table.quantity), 0)).where(table.account_id == account_id, table.meter == meter)
        for table in (UsageRecord, UsageDay)
    ]
    return sum(int(session.scalar(query) or 0) for query in sums)


def _whose_turn(session: Session, before: datetime) -> int | None:
    """Return an account that has something to fold."""
    reported = select(UsageReport.account_id).where(_is_done(before)).limit(1)
    unbilled = select(UsageRecord.account_id).where(_is_never_billed(before)).limit(1)
    return session.scalar(reported) or session.scalar(unbilled)


def _is_done(before: datetime) -> ColumnElement[bool]:
    ended = or_(UsageReport.flushed_at.is_not(None), UsageReport.lost_at.is_not(None))
    return and_(UsageReport.at < before, ended)


def _is_never_billed(before: datetime) -> ColumnElement[bool]:
    return and_(UsageRecord.at < before, UsageRecord.report_id.is_(None), UsageRecord.is_billed.is_(False))


def _fold(session: Session, records: Sequence[UsageRecord]) -> int:
    """Add records to their days, and delete them; return how many they were."""
    quantities: Counter[tuple[int, str, str, bool]] = Counter()
    counts: Counter[tuple[int, str, str, bool]] = Counter()
    for record in records:
        key = record.account_id, record.meter, f"{record.at:%Y-%m-%d}", record.is_billed
        quantities[key] += record.quantity
        counts[key] += 1
    for key, quantity in quantities.items():
        account_id, meter, day, is_billed = key
        insert = database.insert(session, UsageDay).values(
            account_id=account_id,
            meter=meter,
            used_on=datetime.fromisoformat(day).date(),
            is_billed=is_billed,
            quantity=quantity,
            records=counts[key],
        )
        more = {
            "quantity": UsageDay.quantity + insert.excluded.quantity,
            "records": UsageDay.records + insert.excluded.records,
        }
        session.execute(
            insert.on_conflict_do_update(index_elements=["account_id", "meter", "used_on", "is_billed"], set_=more)
        )
    failpoints.hit("usage.folded")
    session.execute(delete(UsageRecord).where(UsageRecord.id.in_([record.id for record in records])))
    return len(records)
