"""People with a saved card, and cards that decline or ask later."""

from __future__ import annotations

from flask import Flask

from tests.persons import Person, sign_up
from tests.worlds import Stripe

GOOD = "pm_card_visa"
CHALLENGES_EVERY_PAYMENT = "pm_card_authenticationRequired"
DECLINES_LATER = "pm_card_chargeCustomerFail"


def with_card(app: Flask, stripe: Stripe, email: str = "ann@example.com", card: str = GOOD) -> Person:
    """Make a person who has bought 5 credits on Stripe's page, which saved the card, and then perhaps took another."""
    person = sign_up(app, email)
    stripe.pay(person.checkout("credits_5"))
    if card != GOOD:
        use_card(person, stripe, card)
    stripe.settle()
    return person


def use_card(person: Person, stripe: Stripe, card: str) -> None:
    """Make another card the default, as the Customer Portal does."""
    (customer,) = [c for c in stripe.api.v1.customers.list({"limit": 100}).data if c.email == person.email]
    method = stripe.api.v1.payment_methods.attach(card, {"customer": customer.id})
    stripe.api.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})


def charges(stripe: Stripe) -> list[int]:
    """Return the amounts of the charges that went through, the latest first."""
    return [c.amount for c in stripe.api.v1.charges.list({"limit": 100}).data if c.status == "succeeded"]
