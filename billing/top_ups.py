"""A pack bought with the saved card: the intent that is written down first, and what has become of it.

billing/card_charges.py asks Stripe for the money; only sync, which calls `settle`, grants the credits.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts.models import Account
from billing import catalog, errors, fulfilment, saved_cards
from billing.purchase_tables import TopUp
from billing.saved_cards import Card

Json = dict[str, Any]

# For so long whoever wrote an intent down is taken to be asking Stripe; then the worker looks what has become of it.
LEASE = timedelta(seconds=60)
# A page that the browser's Back asks for anew has another number in its form, so for this long after a purchase a click
# for the same pack is asked about: it may have been meant for the page, and not for the card.
ASKS_AGAIN = timedelta(minutes=10)


def intend(
    session: Session,
    account_id: int,
    price_key: str,
    *,
    card_id: str,
    amount_cents: int,
    form_key: str,
    another_than: str = "",
) -> TopUp:
    """Write down that somebody clicked to buy a pack with the card and for the amount that they were shown.

    The same form returns what it made before. `another_than` is the public id of the purchase that whoever clicked
    knows of and wants one more than. Raises catalog.UnknownOffer for what is no pack on sale, OfferChanged when card or
    amount are others now, FormUsed when the form has bought something else, and BoughtJustNow when a click that is a
    few minutes old has bought the same and is not the one that is named.
    """
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    made = session.scalar(select(TopUp).where(TopUp.account_id == account_id, TopUp.form_key == form_key))
    if made is not None:
        if (made.price_key, made.amount_cents) != (price_key, amount_cents):
            raise errors.FormUsed(form_key)
        return made
    pack = pack_on_sale(price_key)
    card = saved_cards.find(session, account_id)
    if card is None or card.stripe_payment_method_id != card_id or pack.price.amount_cents != amount_cents:
        raise errors.OfferChanged(price_key)
    recent = _bought_just_now(session, account_id, price_key)
    if recent is not None and recent.public_id != another_than:
        raise errors.BoughtJustNow(recent.public_id)
    return write_down(session, account_id, pack, card, kind="click", form_key=form_key)


def _bought_just_now(session: Session, account_id: int, price_key: str) -> TopUp | None:
    query = select(TopUp).where(
        TopUp.account_id == account_id,
        TopUp.price_key == price_key,
        TopUp.kind == "click",
        TopUp.status.in_(("asking", "paid")),
        TopUp.created_at > clock.now() - ASKS_AGAIN,
    )
    return session.scalar(query.order_by(TopUp.id.desc()).limit(1))


def write_down(
    session: Session, account_id: int, pack: catalog.Pack, card: Card, *, kind: str, form_key: str | None = None
) -> TopUp:
    """Add the row of one attempt; its public id is the key under which Stripe is asked, once and again."""
    now = clock.now()
    row = TopUp(
        public_id=secrets.token_hex(16),
        account_id=account_id,
        kind=kind,
        form_key=form_key,
        price_key=pack.price.key,
        name=pack.name,
        credits=pack.credits,
        amount_cents=pack.price.amount_cents,
        currency=pack.price.currency,
        stripe_payment_method_id=card.stripe_payment_method_id,
        card=saved_cards.in_words(card),
        status="asking",
        next_at=now + LEASE,
        created_at=now,
    )
    session.add(row)
    session.flush()
    failpoints.hit("topup.stored")
    return row


def pack_on_sale(price_key: str) -> catalog.Pack:
    """Return a pack that can be bought today; raise catalog.UnknownOffer for anything else."""
    offer = catalog.current().for_sale(price_key)
    if not isinstance(offer, catalog.Pack):
        raise catalog.UnknownOffer(price_key)
    return offer


def find(session: Session, account_id: int, public_id: str) -> TopUp | None:
    """Find an account's own top-up; None for anybody else's."""
    return session.scalar(select(TopUp).where(TopUp.public_id == public_id, TopUp.account_id == account_id))


def settle(session: Session, account_id: int, payment_intent: Json) -> TopUp | None:
    """Grant what a fetched payment of a top-up has paid for, and write down how it ended.

    Returns the row when this changed its status. Repeated, or for a payment that is no top-up, it changes nothing.
    """
    public_id = (payment_intent.get("metadata") or {}).get("top_up")
    if not public_id:
        return None
    status = status_of(payment_intent)
    if status == "paid":
        fulfilment.fulfil_top_up(session, account_id, payment_intent)
    row = find(session, account_id, public_id)
    if row is None or status is None:
        return None
    error = payment_intent.get("last_payment_error") or {}
    row.stripe_payment_intent_id = payment_intent["id"]
    return end(session, row, status, refusal=error.get("message") if status != "paid" else None)


def end(session: Session, row: TopUp, status: str, *, refusal: str | None = None) -> TopUp | None:
    """Give a top-up its last status, unless it has it; what was paid stays paid."""
    if row.status in {status, "paid"}:
        return None
    row.status, row.refusal, row.settled_at = status, refusal, clock.now()
    session.flush()
    failpoints.hit("topup.settled")
    return row


def status_of(payment_intent: Json) -> str | None:
    """Return how a payment ended: paid, declined, challenged (the bank wants to see its customer) or failed."""
    status, error = payment_intent["status"], payment_intent.get("last_payment_error")
    if status == "succeeded":
        return "paid"
    if status == "requires_action" or (error or {}).get("code") == "authentication_required":
        return "challenged"
    if status == "canceled":
        return "failed"
    return "declined" if status == "requires_payment_method" and error else None
