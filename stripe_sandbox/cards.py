"""Stripe's test cards and the `pm_card_*` tokens: what each number is and how it behaves."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox import errors


@dataclass(frozen=True)
class Decline:
    """Why a card is refused, in Stripe's code and words."""

    code: str
    message: str
    decline_code: str | None = None


GENERIC = Decline("card_declined", "Your card was declined.", "generic_decline")
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)
DECLINES = {
    "generic_decline": GENERIC,
    "insufficient_funds": Decline("card_declined", "Your card has insufficient funds.", "insufficient_funds"),
    "lost_card": Decline("card_declined", "Your card was declined.", "lost_card"),
    "stolen_card": Decline("card_declined", "Your card was declined.", "stolen_card"),
    "fraudulent": Decline("card_declined", "Your card was declined.", "fraudulent"),
    "card_velocity_exceeded": Decline(
        "card_declined",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        "card_velocity_exceeded",
    ),
    "expired_card": Decline("expired_card", "Your card has expired.", "expired_card"),
    "incorrect_cvc": Decline("incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc"),
    "processing_error": Decline(
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "processing_error",
    ),
}


@dataclass(frozen=True)
class Card:
    """A test card. `behaviour` says what happens when it is used:

    succeed | decline:<reason> | decline_charge (attaches, then every charge is declined) | sca_setup (a challenge once,
    free afterwards when saved) | sca_always (a challenge at each payment) | sca_decline (a challenge, then a decline) |
    dispute:<reason> | inquiry | fraud_warning | refund_pending | refund_fail | bypass_pending
    """

    number: str
    behaviour: str = "succeed"
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    says: str = "Succeeds"
    tokens: tuple[str, ...] = ()

    @property
    def last4(self) -> str:
        return self.number[-4:]


CARDS = (
    Card("4242424242424242", says="Succeeds", tokens=("pm_card_visa", "pm_card_us", "tok_visa")),
    Card("4000056655665556", funding="debit", tokens=("pm_card_visa_debit", "tok_visa_debit")),
    Card("5555555555554444", brand="mastercard", tokens=("pm_card_mastercard", "tok_mastercard")),
    Card("5200828282828210", brand="mastercard", funding="debit", tokens=("pm_card_mastercard_debit",)),
    Card("5105105105105100", brand="mastercard", funding="prepaid", tokens=("pm_card_mastercard_prepaid",)),
    Card("378282246310005", brand="amex", tokens=("pm_card_amex", "tok_amex")),
    Card("6011111111111117", brand="discover", tokens=("pm_card_discover", "tok_discover")),
    Card("3056930009020004", brand="diners", tokens=("pm_card_diners", "tok_diners")),
    Card("3566002020360505", brand="jcb", tokens=("pm_card_jcb", "tok_jcb")),
    Card("6200000000000005", brand="unionpay", tokens=("pm_card_unionpay", "tok_unionpay")),
    Card("4000000760000002", country="BR", tokens=("pm_card_br",)),
    Card("4000001240000000", country="CA", tokens=("pm_card_ca",)),
    Card("4000008260000000", country="GB", tokens=("pm_card_gb",)),
    Card("4000002760000016", country="DE", tokens=("pm_card_de",)),
    Card("4000002500000003", country="FR", tokens=("pm_card_fr",)),
    Card(
        "4000000000000002",
        "decline:generic_decline",
        says="Declined",
        tokens=("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", "tok_chargeDeclined"),
    ),
    Card(
        "4000000000009995",
        "decline:insufficient_funds",
        says="Declined: insufficient funds",
        tokens=("pm_card_visa_chargeDeclinedInsufficientFunds", "pm_card_chargeDeclinedInsufficientFunds"),
    ),
    Card(
        "4000000000009987", "decline:lost_card", says="Declined: lost", tokens=("pm_card_visa_chargeDeclinedLostCard",)
    ),
    Card(
        "4000000000009979",
        "decline:stolen_card",
        says="Declined: stolen",
        tokens=("pm_card_visa_chargeDeclinedStolenCard",),
    ),
    Card(
        "4000000000000069",
        "decline:expired_card",
        says="Declined: expired",
        tokens=("pm_card_chargeDeclinedExpiredCard", "pm_card_visa_chargeDeclinedExpiredCard"),
    ),
    Card(
        "4000000000000127",
        "decline:incorrect_cvc",
        says="Declined: wrong CVC",
        tokens=("pm_card_chargeDeclinedIncorrectCvc", "pm_card_visa_chargeDeclinedIncorrectCvc"),
    ),
    Card(
        "4000000000000119",
        "decline:processing_error",
        says="Declined: processing error",
        tokens=("pm_card_chargeDeclinedProcessingError", "pm_card_visa_chargeDeclinedProcessingError"),
    ),
    Card(
        "4000000000006975",
        "decline:card_velocity_exceeded",
        says="Declined: too many attempts",
        tokens=("pm_card_visa_chargeDeclinedVelocityLimitExceeded",),
    ),
    Card("4100000000000019", "decline:fraudulent", says="Blocked as fraudulent", tokens=("pm_card_radarBlock",)),
    Card(
        "4000000000000341",
        "decline_charge",
        says="Saves, then every charge is declined",
        tokens=("pm_card_chargeCustomerFail", "tok_chargeCustomerFail"),
    ),
    Card(
        "4000002500003155",
        "sca_setup",
        says="Asks for 3-D Secure once",
        tokens=("pm_card_authenticationRequiredOnSetup", "pm_card_authenticationRequiredSetupForOffSession"),
    ),
    Card(
        "4000002760003184",
        "sca_always",
        says="Asks for 3-D Secure every time",
        tokens=("pm_card_authenticationRequired",),
    ),
    Card("4000000000003220", "sca_always", says="3-D Secure 2 required", tokens=("pm_card_threeDSecure2Required",)),
    Card("4000000000003063", "sca_always", says="3-D Secure required", tokens=("pm_card_threeDSecureRequired",)),
    Card(
        "4000008400001629",
        "sca_decline",
        says="3-D Secure, then declined",
        tokens=("pm_card_threeDSecureRequiredChargeDeclined",),
    ),
    Card("4000000000003055", says="3-D Secure supported, not required", tokens=("pm_card_threeDSecureOptional",)),
    Card(
        "4000000000000259", "dispute:fraudulent", says="Succeeds, then is disputed", tokens=("pm_card_createDispute",)
    ),
    Card(
        "4000000000002685",
        "dispute:product_not_received",
        says="Disputed: not received",
        tokens=("pm_card_createDisputeProductNotReceived",),
    ),
    Card("4000000000001976", "inquiry", says="Succeeds, then an inquiry", tokens=("pm_card_createDisputeInquiry",)),
    Card(
        "4000000000005423",
        "fraud_warning",
        says="Succeeds, then the bank warns of fraud",
        tokens=("pm_card_createIssuerFraudRecord",),
    ),
    Card("4000000000007726", "refund_pending", says="Refunds stay pending first", tokens=("pm_card_pendingRefund",)),
    Card("4000000000005126", "refund_fail", says="Refunds fail later", tokens=("pm_card_refundFail",)),
    Card("4000000000000077", "bypass_pending", says="Funds available at once", tokens=("pm_card_bypassPending",)),
)
BY_NUMBER = {card.number: card for card in CARDS}
BY_TOKEN = {token: card for card in CARDS for token in card.tokens}

INCORRECT_NUMBER = "Your card number is incorrect."


def find_by_number(number: str) -> Card:
    """Return the test card with a number, given with or without spaces; raises Stripe's card errors."""
    digits = re.sub(r"[ -]", "", number)
    if not re.fullmatch(r"[0-9]{12,19}", digits) or not _passes_luhn(digits):
        raise errors.card_error(INCORRECT_NUMBER, code="incorrect_number", keep=False, param="number")
    if digits not in BY_NUMBER:
        raise errors.card_error(
            "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid test "
            "cards, visit: https://stripe.com/docs/testing.",
            code="card_declined",
            decline_code="test_mode_live_card",
            keep=False,
        )
    return BY_NUMBER[digits]


def fingerprint(card: Card) -> str:
    """Return the same short string for the same card, from which the number cannot be had back."""
    return hashlib.sha256(f"stripe-sandbox {card.last4} {card.brand} {card.behaviour}".encode()).hexdigest()[:16]


def describe(card: Card, *, exp_month: int, exp_year: int, cvc_given: bool = True) -> dict[str, Any]:
    """Return a payment method's `card` hash: brand, last four, expiry - never the number."""
    wrong_cvc = card.behaviour == "decline:incorrect_cvc"
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": ("fail" if wrong_cvc else "pass") if cvc_given else None,
        },
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": fingerprint(card),
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def month_of(moment: float) -> int:
    """Return the month of a moment, counted from the year 0: what expiry dates are compared with."""
    day = datetime.fromtimestamp(moment, UTC)
    return day.year * 12 + day.month - 1


def _passes_luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
