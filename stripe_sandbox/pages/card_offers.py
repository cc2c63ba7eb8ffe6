"""The test cards as the pages offer them: what each does, in a few words."""

from __future__ import annotations

from dataclasses import dataclass

from stripe_sandbox import cards

FEATURED = {
    "4242424242424242": "Succeeds",
    "4000000000000002": "Declined",
    "4000000000009995": "Insufficient funds",
    "4000002500003155": "3-D Secure",
    "4000000000000341": "Fails at renewal",
    "4000000000000259": "Disputed later",
}
EXPIRY, CVC = "12 / 34", "123"
NAMES = {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express", "discover": "Discover"}
NAMES |= {"diners": "Diners Club", "jcb": "JCB", "unionpay": "UnionPay"}


@dataclass(frozen=True)
class Offer:
    """A card on a button: `words` say what it does, `tone` is the colour of its mark."""

    number: str
    words: str
    tone: str

    @property
    def spaced(self) -> str:
        return spaced(self.number)


def spaced(number: str) -> str:
    """Write a card number in groups, as it is printed on the card."""
    groups = (4, 6, 5) if len(number) == 15 else (4, 4, 4, 4)
    parts, start = [], 0
    for length in groups:
        parts.append(number[start : start + length])
        start += length
    return " ".join(part for part in parts if part)


def featured() -> list[Offer]:
    return [Offer(number, words, _tone(cards.BY_NUMBER[number])) for number, words in FEATURED.items()]


def everything() -> list[Offer]:
    """Return all test cards in the order of the list, each told apart by what it does."""
    return [Offer(card.number, _words(card), _tone(card)) for card in cards.CARDS]


def find(number: str) -> cards.Card | None:
    return cards.BY_NUMBER.get(number)


def brand(name: str) -> str:
    """Return a brand's name as it is written."""
    return NAMES.get(name, name.title())


def _words(card: cards.Card) -> str:
    if card.says != "Succeeds":
        return card.says
    kind = "" if card.funding == "credit" else f" {card.funding}"
    where = "" if card.country == "US" else f" from {card.country}"
    return f"Succeeds: {brand(card.brand)}{kind}{where}"


def _tone(card: cards.Card) -> str:
    if card.behaviour.startswith("decline:") or card.behaviour == "sca_decline":
        return "danger"
    if card.behaviour.startswith("sca_"):
        return "info"
    return "positive" if card.behaviour in ("succeed", "bypass_pending") else "warning"
