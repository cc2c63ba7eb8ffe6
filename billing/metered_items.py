"""The items of a subscription that bill by use: copied from Stripe, and added where a checkout could not carry them.

Stripe's Checkout takes prices of one interval only, and use is billed by the month. So the checkout of a yearly plan
promises the item in the subscription's metadata, and it is added as soon as the subscription is there. Nothing is ever
added that was not promised when the plan was bought.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from billing import access, catalog, errors, gateway, prices, stripe_usage, subscriptions
from billing.models import Subscription
from billing.subscriptions import instant
from billing.usage_models import MeteredItem

Json = dict[str, Any]
log = structlog.get_logger(__name__)

PROMISE = "overage"


def overages_of(price_key: str) -> tuple[catalog.Price, ...]:
    """Return the prices by use that come with the plan which a price pays for; none for anything else."""
    offer = catalog.current().offer(price_key)
    return offer.overages if isinstance(offer, catalog.Plan) else ()


def promise(price_key: str) -> dict[str, str]:
    """Return the metadata by which a subscription is known to include its plan's prices by use."""
    keys = [price.key for price in overages_of(price_key)]
    return {PROMISE: " ".join(keys)} if keys else {}


def apply(session: Session, row: Subscription, stripe_subscription: Json) -> None:
    """Make our rows equal to a fetched subscription's metered items; the caller holds the account's lock."""
    known = {item.price_key: item for item in _items_of(session, row.stripe_id)}
    is_over = row.stripe_status not in access.LIVE
    seen = set()
    for item in stripe_subscription["items"]["data"]:
        price = _metered_price(item)
        if price is None or is_over:
            continue
        seen.add(price.key)
        copy = known.get(price.key) or _new(session, row, price)
        _copy(copy, item)
    for key in _promised(row, stripe_subscription) if not is_over else ():
        if key not in seen:
            seen.add(key)
            _wish(known.get(key) or _new(session, row, catalog.current().price(key)))
    for key in known.keys() - seen:
        known[key].ended_at = known[key].ended_at or row.ended_at or clock.now()
    session.flush()


def find(session: Session, account_id: int, meter: str) -> MeteredItem | None:
    """Find the item that bills a meter's use for an account now."""
    query = (
        select(MeteredItem)
        .join(Subscription, Subscription.stripe_id == MeteredItem.stripe_subscription_id)
        .where(
            MeteredItem.account_id == account_id,
            MeteredItem.meter == meter,
            MeteredItem.ended_at.is_(None),
            MeteredItem.stripe_item_id.is_not(None),
            Subscription.is_primary,
        )
    )
    return session.scalars(query).first()


def last_ended(session: Session, account_id: int, meter: str) -> MeteredItem | None:
    """Find the item that billed a meter's use last and is over."""
    query = select(MeteredItem).where(
        MeteredItem.account_id == account_id, MeteredItem.meter == meter, MeteredItem.ended_at.is_not(None)
    )
    return session.scalars(query.order_by(MeteredItem.ended_at.desc())).first()


def add_missing(limit: int = 20) -> int:
    """Add the items that were promised and are not there yet; return how many were added.

    Asked for again it adds nothing twice: Stripe takes a price once per subscription.
    """
    added = 0
    for stripe_id, price_key in database.write(_wanted, limit):
        try:
            _add(stripe_id, price_key)
            added += 1
        except errors.BillingError as error:
            log.warning("metered item not added", subscription=stripe_id, price=price_key, error=str(error))
    return added


def is_by_use(stripe_price: Json) -> bool:
    """Tell whether a price at Stripe charges what a meter counts."""
    return bool((stripe_price.get("recurring") or {}).get("usage_type") == "metered")


def is_usage(line: Json) -> bool:
    """Tell whether an invoice's line, with its whole price, bills what a meter counted."""
    price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    return isinstance(price, dict) and is_by_use(price)


def _add(stripe_id: str, price_key: str) -> None:
    fresh = stripe_usage.retrieve_subscription(stripe_id)
    has_it = any((price := _metered_price(item)) and price.key == price_key for item in fresh["items"]["data"])
    if not has_it:
        stripe_price_id = prices.metered_price_id(price_key)
        params = {"items": [{"price": stripe_price_id}], "proration_behavior": "none"}
        key = f"metered:{stripe_id}:{stripe_price_id}:{fresh['items']['data'][0]['id']}"
        fresh = gateway.update_subscription(stripe_id, params, idempotency_key=key)
        failpoints.hit("usage.item_added")
        fresh = stripe_usage.retrieve_subscription(stripe_id)
    database.write(_apply_added, stripe_id, fresh)


def _apply_added(session: Session, stripe_id: str, fresh: Json) -> None:
    row = session.get(Subscription, stripe_id)
    if row is not None:
        people.lock_account(session, row.account_id)
        apply(session, row, fresh)


def _wanted(session: Session, limit: int) -> list[tuple[str, str]]:
    query = (
        select(MeteredItem.stripe_subscription_id, MeteredItem.price_key)
        .join(Subscription, Subscription.stripe_id == MeteredItem.stripe_subscription_id)
        .where(
            MeteredItem.stripe_item_id.is_(None),
            MeteredItem.ended_at.is_(None),
            Subscription.stripe_status.in_(access.OPEN),
        )
        .limit(limit)
    )
    return [(row.stripe_subscription_id, row.price_key) for row in session.execute(query)]


def _items_of(session: Session, stripe_subscription_id: str) -> list[MeteredItem]:
    query = select(MeteredItem).where(MeteredItem.stripe_subscription_id == stripe_subscription_id)
    return list(session.scalars(query))


def _metered_price(item: Json) -> catalog.Price | None:
    if not is_by_use(item["price"]):
        return None
    key = subscriptions.price_key_of(item["price"])
    price = catalog.current().price(key) if key else None
    return price if price is not None and price.is_metered else None


def _promised(row: Subscription, stripe_subscription: Json) -> list[str]:
    """Return what was promised at the checkout and belongs to the plan that the subscription is for now."""
    words = str((stripe_subscription.get("metadata") or {}).get(PROMISE, "")).split()
    known = catalog.current()
    mine = {price.key for price in overages_of(row.price_key)} if row.price_key else set()
    return [key for key in words if key in mine and known.has_price(key)]


def _new(session: Session, row: Subscription, price: catalog.Price) -> MeteredItem:
    item = MeteredItem(
        stripe_subscription_id=row.stripe_id,
        price_key=price.key,
        account_id=row.account_id,
        meter=str(price.meter),
        included_units=price.included_units,
        cents_per_unit=price.cents_per_unit or Decimal(0),
        currency=price.currency,
    )
    session.add(item)
    return item


def _copy(row: MeteredItem, item: Json) -> None:
    starts_at, ends_at = instant(item["current_period_start"]), instant(item["current_period_end"])
    if starts_at != row.starts_at or item["id"] != row.stripe_item_id:
        is_renewal = item["id"] == row.stripe_item_id and row.ends_at is not None and starts_at == row.ends_at
        row.renewed_from = row.starts_at if is_renewal else None
    row.stripe_item_id, row.starts_at, row.ends_at, row.ended_at = item["id"], starts_at, ends_at, None
    row.included_units, row.cents_per_unit = prices.metered_terms(item["price"])
    row.currency = item["price"]["currency"]


def _wish(row: MeteredItem) -> None:
    row.stripe_item_id, row.starts_at, row.ends_at, row.ended_at = None, None, None, None
