"""Copy a subscription from Stripe and decide which one an account lives by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

import clock
import failpoints
from billing import access, catalog, trials
from billing.models import Status, Subscription
from billing.periods import end_of_month

Json = dict[str, Any]

# The key of a subscription's metadata under which a pause notes until when its plan has been paid, in epoch seconds.
PAID_UNTIL = "paid_until"

# Built once: pages of prices and of billing ask for them.
_LATEST = (
    select(Subscription)
    .where(Subscription.account_id == bindparam("owner_id"))
    .order_by(Subscription.is_primary.desc(), Subscription.started_at.desc(), Subscription.stripe_id)
)


def apply(session: Session, account_id: int, stripe_subscription: Json) -> Subscription:
    """Make our row equal to a fetched subscription; the caller holds the account's lock and the object's fence."""
    stripe_id = stripe_subscription["id"]
    row = session.get(Subscription, stripe_id)
    if row is None:
        row = Subscription(stripe_id=stripe_id, account_id=account_id, is_primary=False)
        session.add(row)
    was_past_due_since = row.past_due_since
    _copy(row, stripe_subscription)
    row.past_due_since = _past_due_since(stripe_subscription, was_past_due_since)
    session.flush()
    failpoints.hit("subscription.copied")
    if row.trial_ends_at is not None:
        trials.claim(session, account_id, stripe_subscription)
    failpoints.hit("subscription.trial_remembered")
    _choose_primary(session, account_id)
    failpoints.hit("subscription.chosen")
    return row


def latest(session: Session, account_id: int) -> Subscription | None:
    """Find the subscription to speak of on pages: the primary one, else the one that started last."""
    return session.scalars(_LATEST, {"owner_id": account_id}).first()


def price_key_of(stripe_price: Json) -> str | None:
    """Return the catalogue key of a Stripe price; None when it was not made for this catalogue.

    The key is kept in the price's metadata because a lookup key moves on when an amount changes, and subscribers of
    the old amount keep the old price.
    """
    current = catalog.current()
    by_metadata = (stripe_price.get("metadata") or {}).get("price_key")
    if by_metadata and current.has_price(by_metadata):
        return str(by_metadata)
    return current.key_of(lookup_key=stripe_price.get("lookup_key"), stripe_price_id=stripe_price["id"])


def plan_item(stripe_subscription: Json) -> Json:
    """Return the item of a fetched subscription that pays for its plan; of several plans, the one that opens most."""
    # Metered prices sit beside the plan's own price on the same subscription, in no promised order.
    items: list[Json] = stripe_subscription["items"]["data"]
    licensed = [i for i in items if (i["price"].get("recurring") or {}).get("usage_type") != "metered"]
    known = [i for i in licensed if price_key_of(i["price"])]
    return max(plan_items(stripe_subscription), key=_rank, default=(known or licensed or items)[0])


def plan_items(stripe_subscription: Json) -> list[Json]:
    """Return the items that pay for plans of the catalogue: one, unless somebody added another in the Dashboard."""
    current = catalog.current()
    found = []
    for item in stripe_subscription["items"]["data"]:
        key = price_key_of(item["price"])
        is_plan = key is not None and not current.price(key).is_metered and isinstance(current.offer(key), catalog.Plan)
        if is_plan and item.get("quantity") != 0:
            found.append(item)
    return found


def _rank(item: Json) -> tuple[int, int, str]:
    current = catalog.current()
    key = price_key_of(item["price"]) or ""
    plans = [plan.key for plan in current.plans]
    return plans.index(current.offer(key).key), item["price"].get("unit_amount") or 0, item["id"]


def copy_of(stripe_subscription: Json) -> Subscription:
    """Return what our row of a listed or fetched subscription should say; it belongs to no session."""
    row = Subscription()
    _copy(row, stripe_subscription)
    return row


def _copy(row: Subscription, stripe_subscription: Json) -> None:
    item = plan_item(stripe_subscription)
    price_key = price_key_of(item["price"])
    offer = catalog.current().offer(price_key) if price_key else None
    row.stripe_status = stripe_subscription["status"]
    row.price_key = price_key
    row.plan_key = offer.key if isinstance(offer, catalog.Plan) else None
    row.stripe_price_id = item["price"]["id"]
    row.quantity = item.get("quantity") or 1
    unit_amount = item["price"].get("unit_amount")
    # Of two plans on one subscription neither amount is what a period costs.
    is_whole = unit_amount is not None and len(plan_items(stripe_subscription)) < 2
    row.amount_cents = unit_amount * row.quantity if is_whole else None
    row.currency = item["price"]["currency"]
    row.period_starts_at = instant(item.get("current_period_start"))
    row.period_ends_at = instant(item.get("current_period_end"))
    row.trial_ends_at = instant(stripe_subscription.get("trial_end"))
    row.cancels_at = _cancels_at(stripe_subscription, row.period_ends_at)
    row.ended_at = instant(stripe_subscription.get("ended_at"))
    row.started_at = _required(instant(stripe_subscription.get("start_date") or stripe_subscription["created"]))
    row.open_until = _open_until(stripe_subscription)
    _copy_payment_method(row, stripe_subscription.get("charged_to"))
    row.synced_at = clock.now()


def _open_until(stripe_subscription: Json) -> datetime | None:
    # Stripe does not say whether a pause gave money back for the time that was left: whoever pauses notes it there.
    noted = (stripe_subscription.get("metadata") or {}).get(PAID_UNTIL, "")
    is_paused = stripe_subscription["status"] == Status.PAUSED
    return instant(int(noted)) if is_paused and noted.isdecimal() else None


def _copy_payment_method(row: Subscription, method: Json | None) -> None:
    card = (method or {}).get("card")
    row.payment_method_id = method["id"] if method else None
    row.card_brand = card["brand"] if card else None
    row.card_last4 = card["last4"] if card else None
    row.card_expires_on = end_of_month(card["exp_year"], card["exp_month"]) if card else None


def _cancels_at(stripe_subscription: Json, period_ends_at: datetime | None) -> datetime | None:
    # With flexible billing the Customer Portal's "cancel at period end" sets cancel_at and leaves the flag false.
    if stripe_subscription.get("cancel_at"):
        return instant(stripe_subscription["cancel_at"])
    return period_ends_at if stripe_subscription.get("cancel_at_period_end") else None


def _past_due_since(stripe_subscription: Json, known: datetime | None) -> datetime | None:
    if stripe_subscription["status"] != Status.PAST_DUE:
        return None
    invoice = stripe_subscription.get("latest_invoice")
    due = clock.now()
    if isinstance(invoice, dict):
        finalized_at = (invoice.get("status_transitions") or {}).get("finalized_at")
        due = _required(instant(finalized_at or invoice["created"]))
    return min(known, due) if known else due


def _choose_primary(session: Session, account_id: int) -> None:
    """Point at the one subscription that counts: a live one, open before closed, the older of two.

    The end of an old subscription therefore never takes away a newer one, and of two bought in two tabs the first
    stays.
    """
    rows = session.scalars(select(Subscription).where(Subscription.account_id == account_id)).all()
    live = [r for r in rows if r.stripe_status in access.LIVE]
    # Of two that began in one second the same one must be chosen each time: the other may be ended for it.
    live.sort(
        key=lambda r: (
            r.stripe_status == Status.INCOMPLETE,
            r.stripe_status not in access.OPEN,
            r.started_at,
            r.stripe_id,
        )
    )
    chosen = live[0] if live else None
    if chosen is not None and chosen.is_primary:
        return
    session.execute(
        update(Subscription)
        .where(Subscription.account_id == account_id, Subscription.is_primary)
        .values(is_primary=False)
        .execution_options(synchronize_session="fetch")
    )
    if chosen is not None:
        chosen.is_primary = True
        session.flush()


def instant(epoch: int | None) -> datetime | None:
    """Turn Stripe's epoch seconds into an aware UTC datetime; None stays None."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _required(value: datetime | None) -> datetime:
    if value is None:
        raise ValueError("Stripe left out a time that it always sends")
    return value
