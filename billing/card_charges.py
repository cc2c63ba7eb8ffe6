"""Charge the saved card for a top-up, once, however often it is asked for and whoever is killed on the way.

Stripe is asked under the key of the written intent, so asking again gives the same payment. What is unclear - no
answer, a killed process - stays `asking`, and the worker looks at Stripe before it asks once more.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts.models import Account
from billing import auto_top_ups, errors, gateway, sync, sync_queue, top_ups
from billing.purchase_tables import TopUp

Json = dict[str, Any]

# A click that could not be carried out by then is given up: nobody expects to be charged for it any more.
CLICK_LASTS = timedelta(minutes=10)
# Stripe keeps idempotency keys for at least a day.
KEY_LASTS = timedelta(hours=23)
MOST_WAIT = timedelta(minutes=10)


def start(
    account_id: int, price_key: str, *, card_id: str, amount_cents: int, form_key: str, another_than: str = ""
) -> TopUp:
    """Buy a pack with the saved card and return how that has ended so far; raises what top_ups.intend raises.

    `asking` means that Stripe has not answered clearly: the worker goes on with it.
    """
    row = database.write(
        top_ups.intend,
        account_id,
        price_key,
        card_id=card_id,
        amount_cents=amount_cents,
        form_key=form_key,
        another_than=another_than,
    )
    failpoints.hit("topup.committed")
    return ask(row) if row.status == "asking" else row


def ask(row: TopUp) -> TopUp:
    """Ask Stripe for the money of a top-up, bring the answer in line, and return the row as it is then."""
    with suppress(errors.BillingError):
        intent_id = row.stripe_payment_intent_id or _charge(row)
        if intent_id is not None:
            _follow(row.id, intent_id)
    return database.write(_get, row.id)


def look_again(row: TopUp) -> TopUp:
    """Bring a top-up that is still asking in line with Stripe, for the page that waits for it; asks for no money."""
    if row.status == "asking" and row.stripe_payment_intent_id is not None:
        with suppress(errors.BillingError):
            sync.run_now("payment_intent", row.stripe_payment_intent_id)
    return database.write(_get, row.id)


def resume_due() -> int:
    """Go on with every top-up whose asker has not finished it in time; return how many were looked at."""
    count = 0
    while (row := database.write(_claim)) is not None:
        failpoints.hit("topup.claimed")
        _resume(row)
        count += 1
    return count


def buy_wanted() -> int:
    """Buy for every account whose balance calls for its auto top-up; return how many were looked at."""
    count = 0
    while (account_id := database.write(auto_top_ups.find_wanted)) is not None:
        row = database.write(auto_top_ups.take_up, account_id)
        if row is not None:
            failpoints.hit("topup.taken_up")
            ask(row)
        count += 1
    return count


def _resume(row: TopUp) -> None:
    with suppress(errors.BillingError):
        intent_id = row.stripe_payment_intent_id or _find_made(row)
        if intent_id is not None:
            _follow(row.id, intent_id)
        elif clock.now() - row.created_at > (KEY_LASTS if row.kind == "auto" else CLICK_LASTS):
            database.write(_give_up, row.id)
        else:
            ask(row)


def _charge(row: TopUp) -> str | None:
    """Make and confirm the payment; return its id, or None when Stripe would not even make one."""
    customer_id = database.write(_customer_of, row.account_id)
    if customer_id is None:
        database.write(_give_up, row.id)
        return None
    try:
        params: Any = _params(row, customer_id)
        once: Any = {"idempotency_key": f"top-up:{row.public_id}"}
        made = gateway.call(lambda c: c.v1.payment_intents.create(params, once))
    except errors.CardDeclined as declined:
        if declined.payment_intent_id is None:
            database.write(_give_up, row.id, declined.user_message)
        return declined.payment_intent_id
    except errors.StripeRefused:
        # The card was removed a moment ago, say: nothing was charged, and the next look tells of another card.
        database.write(_give_up, row.id)
        database.write(sync_queue.mark_dirty, "customer", customer_id)
        return None
    failpoints.hit("topup.charged")
    return str(made["id"])


def _params(row: TopUp, customer_id: str) -> Json:
    """Describe the payment; deterministic for a row, because its idempotency key must meet the same words again."""
    return {
        "amount": row.amount_cents,
        "currency": row.currency,
        "customer": customer_id,
        "payment_method": row.stripe_payment_method_id,
        # Without the redirects of other methods, which would need an address to come back to.
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "confirm": True,
        "off_session": True,
        "description": row.name,
        # What is promised now is what is granted, whatever the catalogue says by then.
        "metadata": {
            "top_up": row.public_id,
            "price_key": row.price_key,
            "name": row.name,
            "credits": str(row.credits),
        },
    }


def _find_made(row: TopUp) -> str | None:
    customer_id = database.write(_customer_of, row.account_id)
    if customer_id is None:
        return None
    since = int((row.created_at - timedelta(minutes=5)).timestamp())  # clocks differ
    params: Any = {"customer": customer_id, "created": {"gte": since}, "limit": 100}
    made = gateway.pages(lambda c: c.v1.payment_intents.list(params))
    return next((p["id"] for p in made if (p.get("metadata") or {}).get("top_up") == row.public_id), None)


def _follow(row_id: int, intent_id: str) -> None:
    database.write(_bind, row_id, intent_id)
    failpoints.hit("topup.bound")
    sync.run_now("payment_intent", intent_id)


def _bind(session: Session, row_id: int, intent_id: str) -> None:
    session.get_one(TopUp, row_id).stripe_payment_intent_id = intent_id
    sync_queue.mark_dirty(session, "payment_intent", intent_id)


def _claim(session: Session) -> TopUp | None:
    now = clock.now()
    due = select(TopUp).where(TopUp.status == "asking", TopUp.next_at <= now).order_by(TopUp.next_at).limit(1)
    row = session.scalars(due.with_for_update(skip_locked=True)).first()
    if row is not None:
        row.attempts += 1
        row.next_at = now + min(top_ups.LEASE * 2 ** min(row.attempts - 1, 8), MOST_WAIT)
    return row


def _give_up(session: Session, row_id: int, refusal: str | None = None) -> None:
    owner = select(TopUp.account_id).where(TopUp.id == row_id).scalar_subquery()
    session.execute(select(Account.id).where(Account.id == owner).with_for_update())
    row = session.get_one(TopUp, row_id)
    ended = top_ups.end(session, row, "declined" if refusal else "failed", refusal=refusal)
    if ended is not None:
        auto_top_ups.after_settled(session, ended)
    failpoints.hit("topup.given_up")


def _get(session: Session, row_id: int) -> TopUp:
    return session.get_one(TopUp, row_id)


def _customer_of(session: Session, account_id: int) -> str | None:
    return session.scalar(select(Account.stripe_customer_id).where(Account.id == account_id))
