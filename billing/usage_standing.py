"""How an account stands with a meter: what is included, used, allowed beyond, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from billing import access, catalog, metered_items
from billing.models import Status, Subscription
from billing.periods import add_months, months_between
from billing.usage_models import MeteredItem, UsageCap, UsagePeriod, UsageRecord

UNLIMITED = -1


@dataclass(frozen=True)
class Standing:
    """How an account stands with a meter in its present period; -1 means any number.

    `allowed` is what can be used in all: included, and beyond it what the plan's price by use and the cap allow.
    `carried` of `used` came from before. Amounts are in cents; `cents_per_unit` is None where nothing goes beyond.
    """

    meter: str
    plan: catalog.Plan
    starts_at: datetime
    ends_at: datetime
    used: int
    carried: int
    included: int
    allowed: int
    cents_per_unit: Decimal | None
    cap_cents: int | None
    currency: str
    is_billed: bool

    @property
    def over(self) -> int:
        """How much is used beyond what is included."""
        return max(0, self.used - self.included) if self.included != UNLIMITED else 0

    @property
    def amount_cents(self) -> int:
        """What the use beyond comes to so far, as Stripe will round it."""
        return cost(self.over, self.cents_per_unit or Decimal(0))

    @property
    def has_room(self) -> bool:
        """Whether one more fits."""
        return self.allowed == UNLIMITED or self.used < self.allowed

    @property
    def has_overage(self) -> bool:
        """Whether what goes beyond is billed instead of refused."""
        return self.cents_per_unit is not None


def standing(session: Session, account_id: int, meter: str) -> Standing:
    """Return how an account stands with a meter now; raises catalog.UnknownOffer for one that is not counted."""
    if not any(known.key == meter for known in catalog.current().meters):
        raise catalog.UnknownOffer(meter)
    subscription = access.subscription_of(session, account_id)
    plan = access.plan_opened_by(subscription)
    item = None if plan.is_free else metered_items.find(session, account_id, meter)
    starts_at, ends_at = _period(session, account_id, plan, subscription, item)
    used, carried = _used(session, account_id, meter, starts_at)
    cap = session.get(UsageCap, (account_id, meter))
    included = plan.limits.get(meter, UNLIMITED)
    rate = None
    # What a trial uses is not billed, and who owes already is not lent more: there the plan's limit is the end.
    if item is not None and subscription is not None:
        included = item.included_units
        rate = item.cents_per_unit if subscription.stripe_status == Status.ACTIVE else None
    cap_cents = cap.cap_cents if cap is not None else None
    return Standing(
        meter=meter,
        plan=plan,
        starts_at=starts_at,
        ends_at=ends_at,
        used=used,
        carried=carried,
        included=included,
        allowed=_allowed(included, rate, cap_cents),
        cents_per_unit=rate,
        cap_cents=cap_cents,
        currency=item.currency if item is not None else catalog.current().currency,
        is_billed=item is not None,
    )


def of_every_meter(session: Session, account_id: int) -> list[Standing]:
    """Return how an account stands with each meter of the catalogue, in its order."""
    return [standing(session, account_id, meter.key) for meter in catalog.current().meters]


def coming_cents(session: Session, account_id: int) -> int:
    """Return what the use beyond the plan comes to so far, with all meters, in cents."""
    return sum(standing.amount_cents for standing in of_every_meter(session, account_id) if standing.has_overage)


def cost(units: int, cents_per_unit: Decimal) -> int:
    """Return what units beyond the included ones cost, in whole cents, rounded as Stripe rounds."""
    return int((units * cents_per_unit).quantize(Decimal(1), ROUND_HALF_UP))


def period_of(item: MeteredItem, at: datetime) -> tuple[datetime, datetime]:
    """Return the item's period that holds an instant not before its start, also while a renewal is under way."""
    if item.starts_at is None or item.ends_at is None:
        raise ValueError(f"{item.price_key} is not at Stripe yet, so it has no period")
    if at < item.ends_at:
        return item.starts_at, item.ends_at
    month = months_between(item.ends_at, at)
    return add_months(item.ends_at, month), add_months(item.ends_at, month + 1)


def counted_since(session: Session, account_id: int, meter: str, starts_at: datetime) -> int:
    """Add up what an account recorded from an instant on."""
    query = select(func.coalesce(func.sum(UsageRecord.quantity), 0)).where(
        UsageRecord.account_id == account_id, UsageRecord.meter == meter, UsageRecord.at >= starts_at
    )
    return int(session.scalar(query) or 0)


def _allowed(included: int, rate: Decimal | None, cap_cents: int | None) -> int:
    if included == UNLIMITED or rate is None:
        return included
    if cap_cents is None or rate == 0:
        return UNLIMITED
    return included + int((Decimal(cap_cents) / rate).quantize(Decimal(1), ROUND_FLOOR))


def _period(
    session: Session, account_id: int, plan: catalog.Plan, subscription: Subscription | None, item: MeteredItem | None
) -> tuple[datetime, datetime]:
    """Return the present period: the item's at Stripe, else a month of the subscription's, else of the account's."""
    now = clock.now()
    if item is not None:
        return period_of(item, now)
    anchor = session.get_one(Account, account_id).created_at
    if subscription is not None and not plan.is_free and subscription.period_starts_at is not None:
        anchor = subscription.period_starts_at
    month = months_between(anchor, now)
    return add_months(anchor, month), add_months(anchor, month + 1)


def _used(session: Session, account_id: int, meter: str, starts_at: datetime) -> tuple[int, int]:
    row = session.get(UsagePeriod, (account_id, meter, starts_at))
    if row is not None:
        return row.used, row.carried
    return counted_since(session, account_id, meter, starts_at), 0
