"""Metered usage: write down what was done, in the transaction that keeps the work.

A meter of the catalogue counts work by the period of the subscription. The plan includes some; what goes beyond is
billed by use where the plan has a price for it, up to the cap that the customer sets, and refused where it has none.
Stripe is told afterwards, by billing/usage_reports.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from billing import usage_notices, usage_standing
from billing.errors import BillingError, LimitReached, UsageCapReached
from billing.usage_models import UsageCap, UsagePeriod, UsageRecord
from billing.usage_standing import UNLIMITED, Standing


class UsageKeyUsedBefore(BillingError):
    """The key of a usage record was used before, for another quantity."""

    status = 409


@dataclass(frozen=True)
class Recorded:
    """What was written down; `is_replay` when the key had been used before, and nothing was counted again."""

    standing: Standing
    is_replay: bool


def record(session: Session, account_id: int, meter: str, quantity: int, *, key: str) -> Recorded:
    """Count work of an account in the transaction that keeps it, once per key; all of it or nothing.

    A key is known again for as long as records are kept (`usage_records_months` of the catalogue).
    Locks the account's row, so that two requests at the last unit take turns: call it before other locks. Raises
    LimitReached when the plan has no room and nothing beyond it, UsageCapReached at the customer's own cap,
    UsageKeyUsedBefore when the key came with another quantity.
    """
    if quantity < 1:
        raise ValueError(f"usage is counted from 1, not {quantity}")
    people.lock_account(session, account_id)
    before = session.scalar(
        select(UsageRecord.quantity).where(
            UsageRecord.account_id == account_id, UsageRecord.meter == meter, UsageRecord.key == key
        )
    )
    now = usage_standing.standing(session, account_id, meter)
    if before is not None:
        if before != quantity:
            raise UsageKeyUsedBefore(f"{key!r} counted {before} of {meter} before, and now {quantity}")
        return Recorded(now, is_replay=True)
    if now.allowed != UNLIMITED and now.used + quantity > now.allowed:
        failpoints.hit("usage.refused")
        refusal = UsageCapReached if now.has_overage else LimitReached
        raise refusal(meter, used=now.used, allowed=now.allowed, wanted=quantity)
    row = _open_period(session, account_id, meter, now.starts_at)
    row.used += quantity
    session.add(
        UsageRecord(
            account_id=account_id,
            meter=meter,
            key=key,
            quantity=quantity,
            at=clock.now(),
            is_billed=now.is_billed,
        )
    )
    session.flush()
    failpoints.hit("usage.recorded")
    after = usage_standing.standing(session, account_id, meter)
    usage_notices.after_use(
        session,
        account_id,
        meter,
        starts_at=after.starts_at,
        ends_at=after.ends_at,
        before=now.used,
        after=after.used,
        included=after.included,
    )
    return Recorded(after, is_replay=False)


def set_cap(session: Session, account_id: int, meter: str, cap_cents: int | None) -> None:
    """Let the account pay at most this beyond what is included in a period; 0 is nothing, None is no cap.

    It holds from this moment on: work that is under way has the account's lock and comes before or after.
    """
    people.lock_account(session, account_id)
    row = session.get(UsageCap, (account_id, meter))
    if cap_cents is None:
        if row is not None:
            session.delete(row)
        return
    if row is None:
        row = UsageCap(account_id=account_id, meter=meter)
        session.add(row)
    row.cap_cents, row.changed_at = cap_cents, clock.now()
    session.flush()
    failpoints.hit("usage.cap_set")


def carry_over(session: Session, account_id: int, meter: str, quantity: int) -> bool:
    """Count work of a closed period in the present one, which bills it; False where the cap has no room for it.

    The caller holds the account's lock.
    """
    now = usage_standing.standing(session, account_id, meter)
    if now.allowed != UNLIMITED and now.used + quantity > now.allowed:
        return False
    row = _open_period(session, account_id, meter, now.starts_at)
    row.used += quantity
    row.carried += quantity
    session.flush()
    failpoints.hit("usage.carried")
    return True


def _open_period(session: Session, account_id: int, meter: str, starts_at: datetime) -> UsagePeriod:
    """Return the period's row; a new one begins with what was recorded before the period was known here."""
    row = session.get(UsagePeriod, (account_id, meter, starts_at))
    if row is None:
        used = usage_standing.counted_since(session, account_id, meter, starts_at)
        new = {"account_id": account_id, "meter": meter, "starts_at": starts_at, "used": used, "carried": 0}
        session.execute(database.insert(session, UsagePeriod).values(new))
        failpoints.hit("usage.period_opened")
        row = session.get_one(UsagePeriod, (account_id, meter, starts_at))
    return row
