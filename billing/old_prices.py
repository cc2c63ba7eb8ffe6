"""Who goes on paying a price that nobody can buy any more, because its amount changed or its plan was retired."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing import access, catalog
from billing.models import Subscription


@dataclass(frozen=True)
class OldPrice:
    """An amount in cents per unit that `subscribers` pay each interval, and what the catalogue asks today."""

    price_key: str
    amount_cents: int
    currency: str
    subscribers: int
    asks_cents: int | None


def subscribers_at(session: Session, stripe_price_id: str) -> int:
    """Count the live subscriptions at a price of Stripe's."""
    query = select(func.count()).where(
        Subscription.stripe_price_id == stripe_price_id, Subscription.stripe_status.in_(access.LIVE)
    )
    return session.scalar(query) or 0


def still_paid(session: Session) -> list[OldPrice]:
    """List the amounts that live subscriptions pay and that nobody is asked any more, in the catalogue's order."""
    current = catalog.current()
    on_sale = {price.key: price.amount_cents for plan in current.plans_for_sale for price in plan.prices}
    each = Subscription.amount_cents // Subscription.quantity
    query = (
        select(Subscription.price_key, each, Subscription.currency, func.count())
        .where(Subscription.stripe_status.in_(access.LIVE), Subscription.amount_cents.is_not(None))
        .group_by(Subscription.price_key, each, Subscription.currency)
    )
    found = [
        OldPrice(key, amount, currency or current.currency, count, on_sale.get(key))
        for key, amount, currency, count in session.execute(query)
        if key is not None and amount is not None and on_sale.get(key) != amount
    ]
    order = [price.key for price in current.prices]
    return sorted(found, key=lambda old: (order.index(old.price_key), old.amount_cents))
