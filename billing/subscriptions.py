"""Copy a subscription from Stripe and decide which one an account lives by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

import clock
import database
from accounts import people
from accounts.identity import email_key
from billing import access, catalog
from billing.models import Status, Subscription, TrialUse

Json = dict[str, Any]

# Built once: pages of prices and of billing ask for them.
_LATEST = (
    select(Subscription)
    .where(Subscription.account_id == bindparam("owner_id"))
    .order_by(Subscription.is_primary.desc(), Subscription.started_at.desc(), Subscription.stripe_id)
)
_TRIAL = select(TrialUse.key).where(TrialUse.key.in_(bindparam("keys", expanding=True))).limit(1)


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
    _remember_trial(session, row, stripe_subscription)
    _choose_primary(session, account_id)
    return row


def has_used_trial(session: Session, account_id: int) -> bool:
    """Tell whether the account, or another one with the same normalised e-mail address, has had its trial."""
    keys = [f"account:{account_id}", _email_key(session, account_id)]
    return session.scalar(_TRIAL, {"keys": keys}) is not None


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
    """Return the item of a fetched subscription that pays for its plan."""
    # Metered prices sit beside the plan's own price on the same subscription, in no promised order.
    items: list[Json] = stripe_subscription["items"]["data"]
    licensed = [i for i in items if (i["price"].get("recurring") or {}).get("usage_type") != "metered"]
    known = [i for i in licensed if price_key_of(i["price"])]
    return (known or licensed or items)[0]


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
    row.amount_cents = None if unit_amount is None else unit_amount * row.quantity
    row.currency = item["price"]["currency"]
    row.period_starts_at = instant(item.get("current_period_start"))
    row.period_ends_at = instant(item.get("current_period_end"))
    row.trial_ends_at = instant(stripe_subscription.get("trial_end"))
    row.cancels_at = _cancels_at(stripe_subscription, row.period_ends_at)
    row.ended_at = instant(stripe_subscription.get("ended_at"))
    row.started_at = _required(instant(stripe_subscription.get("start_date") or stripe_subscription["created"]))
    row.synced_at = clock.now()


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
    live.sort(key=lambda r: (r.stripe_status == Status.INCOMPLETE, r.stripe_status not in access.OPEN, r.started_at))
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


def _remember_trial(session: Session, row: Subscription, stripe_subscription: Json) -> None:
    if row.trial_ends_at is None:
        return
    keys = [f"account:{row.account_id}", _email_key(session, row.account_id)]
    method = stripe_subscription.get("default_payment_method")
    card = method.get("card") if isinstance(method, dict) else None
    if card and card.get("fingerprint"):
        keys.append(f"card:{card['fingerprint']}")
    for key in keys:
        use = database.insert(session, TrialUse).values(
            key=key, account_id=row.account_id, stripe_subscription_id=row.stripe_id, used_at=clock.now()
        )
        session.execute(use.on_conflict_do_nothing(index_elements=["key"]))


def _email_key(session: Session, account_id: int) -> str:
    # A person may have two accounts as ann@ and ann+2@, but one trial.
    name, _, host = email_key(people.owner_email(session, account_id)).rpartition("@")
    return f"email:{name.partition('+')[0]}@{host}"


def instant(epoch: int | None) -> datetime | None:
    """Turn Stripe's epoch seconds into an aware UTC datetime; None stays None."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _required(value: datetime | None) -> datetime:
    if value is None:
        raise ValueError("Stripe left out a time that it always sends")
    return value
