"""The card fields of a form: reading them, filling them in with a test card, and naming the field that is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stripe_sandbox import cards, errors
from stripe_sandbox.pages import card_offers
from stripe_sandbox.routes import payment_methods

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
NUMBER, EXPIRY, CVC = "card_number", "card_expiry", "card_cvc"
FIELDS_BY_CODE = {"incorrect_cvc": CVC, "invalid_cvc": CVC, "expired_card": EXPIRY}


def read(world: World, form: dict[str, str]) -> tuple[cards.Card, int, int]:
    """Return the test card and expiry that a form's `card_number`, `card_expiry` and `card_cvc` mean.

    Raises Stripe's card errors, whose `param` is the field's name.
    """
    card = _read_number(form.get(NUMBER, ""))
    match = re.fullmatch(r"(\d{1,2})\s*/?\s*(\d{2}|\d{4})", form.get(EXPIRY, ""), re.ASCII)
    if match is None:
        raise errors.invalid("Your card's expiration date is incomplete.", EXPIRY)
    month, year = int(match.group(1)), payment_methods.full_year(int(match.group(2)))
    try:
        payment_methods.check_expiry(world, month, year)
    except errors.StripeError as error:
        error.param = EXPIRY
        error.message = "Your card's expiration date is in the past." if 1 <= month <= 12 else error.message
        raise
    digits = r"[0-9]{3}" if card.brand != "amex" else r"[0-9]{3,4}"
    if not re.fullmatch(digits, form.get(CVC, "")):
        raise errors.invalid("Your card's security code is incomplete.", CVC)
    return card, month, year


def _read_number(number: str) -> cards.Card:
    try:
        return cards.find_by_number(number)
    except errors.StripeError as error:
        error.param = NUMBER
        if error.code == "incorrect_number":
            short = len(re.sub(r"\D", "", number)) < 12
            error.message = "Your card number is incomplete." if short else "Your card number is invalid."
        raise


def fill_in(form: dict[str, str]) -> dict[str, str]:
    """Return a form with the fields of the test card whose button was pressed; the rest stays as it was typed."""
    card = card_offers.find(form.get("test_card", ""))
    if card is None:
        return form
    cvc = "1234" if card.brand == "amex" else card_offers.CVC
    filled = {NUMBER: card_offers.spaced(card.number), EXPIRY: card_offers.EXPIRY, CVC: cvc, "saved_card": ""}
    return {**form, **filled, "billing_name": form.get("billing_name") or "Jenny Rosen"}


def wrong_field(error: errors.StripeError | None, *, known: tuple[str, ...] = ()) -> str | None:
    """Return the name of the form's field that an error is about, or None when it is about the whole."""
    if error is None:
        return None
    if error.param in (NUMBER, EXPIRY, CVC, *known):
        return error.param
    if error.type == "card_error":
        return FIELDS_BY_CODE.get(error.code or "", NUMBER)
    return None


def offers() -> dict[str, list[card_offers.Offer]]:
    """Return the test cards for a page's buttons."""
    return {"offers": card_offers.featured(), "all_offers": card_offers.everything()}
