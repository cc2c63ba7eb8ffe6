"""The card that purchases by one click are charged to: a copy of what Stripe holds, kept by sync."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from billing import gateway
from billing.purchase_tables import SavedCard
from prepared import Reading

Json = dict[str, Any]

BRANDS = {
    "amex": "American Express",
    "cartes_bancaires": "Cartes Bancaires",
    "diners": "Diners Club",
    "eftpos_au": "Eftpos",
    "jcb": "JCB",
    "mastercard": "Mastercard",
    "unionpay": "UnionPay",
    "visa": "Visa",
}


class Card(NamedTuple):
    """What an account's one-click purchases would be charged to."""

    stripe_payment_method_id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


# Every page that sells something asks.
_OF_ACCOUNT = Reading(
    select(
        SavedCard.stripe_payment_method_id, SavedCard.brand, SavedCard.last4, SavedCard.exp_month, SavedCard.exp_year
    ).where(SavedCard.account_id == bindparam("owner_id")),
    Card,
)


def find(session: Session, account_id: int) -> Card | None:
    """Find the card that an account's one-click purchases would be charged to; an expired one does not count."""
    card = _OF_ACCOUNT.first(session, owner_id=account_id)
    today = clock.now()
    if card is None or (card.exp_year, card.exp_month) < (today.year, today.month):
        return None
    return card


def in_words(card: Card) -> str:
    """Say a card as its holder knows it: "Visa ending in 4242"."""
    return f"{BRANDS.get(card.brand, card.brand.replace('_', ' ').capitalize())} ending in {card.last4}"


def fetch(customer_id: str, *, quick: bool = False) -> Json:
    """Fetch a customer from Stripe, with the newest saved cards under the key `cards`; a deleted one has none."""
    customer = gateway.call(lambda c: c.v1.customers.retrieve(customer_id), quick=quick)
    if customer.get("deleted"):
        return {**customer, "customer": customer_id, "cards": []}
    params: Any = {"type": "card", "limit": 20}
    listed = gateway.call(lambda c: c.v1.customers.payment_methods.list(customer_id, params), quick=quick)
    return {**customer, "customer": customer_id, "cards": listed["data"]}


def apply(session: Session, account_id: int, customer: Json) -> None:
    """Make our copy equal to a fetched customer's card, or forget it when there is none."""
    method = choose(customer)
    if method is None:
        session.execute(delete(SavedCard).where(SavedCard.account_id == account_id))
        return
    card = method["card"]
    values = {
        "stripe_payment_method_id": method["id"],
        "brand": card["brand"][:40],
        "last4": card["last4"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
    }
    insert = database.insert(session, SavedCard).values(account_id=account_id, **values)
    session.execute(insert.on_conflict_do_update(index_elements=["account_id"], set_=values))
    failpoints.hit("card.copied")


def choose(customer: Json) -> Json | None:
    """Return the card that a customer made the default, else the one saved last; None without any."""
    cards: list[Json] = customer.get("cards") or []
    default = (customer.get("invoice_settings") or {}).get("default_payment_method")
    return next((method for method in cards if method["id"] == default), cards[0] if cards else None)
