"""`trigger EVENT`: make the objects that lead to an event, through the API and the pages like anybody else."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import stripe

DAY = 86400


class Actor:
    """Somebody with the SDK and a browser: what scenarios act through. `advance(seconds)` moves the sandbox's time."""

    def __init__(
        self, client: stripe.StripeClient, submit: Callable[[str, dict[str, str]], Any], advance: Callable[[float], Any]
    ) -> None:
        self.v1, self._submit, self.advance = client.v1, submit, advance

    def customer(self, card: str | None = "pm_card_visa") -> str:
        customer = self.v1.customers.create({"email": "jenny@example.com", "description": "(created by trigger)"})
        if card:
            method = self.v1.payment_methods.attach(card, {"customer": customer.id})
            self.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
        return customer.id

    def price(self, *, recurring: bool) -> str:
        product = self.v1.products.create({"name": "Triggered product"})
        wanted: Any = {"product": product.id, "currency": "usd", "unit_amount": 1500}
        if recurring:
            wanted["recurring"] = {"interval": "month"}
        return self.v1.prices.create(wanted).id

    def subscription(self, card: str = "pm_card_visa", **more: Any) -> str:
        params: Any = {"customer": self.customer(card), "items": [{"price": self.price(recurring=True)}], **more}
        return self.v1.subscriptions.create(params).id

    def intent(self, card: str = "pm_card_visa") -> stripe.PaymentIntent:
        return self.v1.payment_intents.create(
            {
                "amount": 2000,
                "currency": "usd",
                "payment_method": card,
                "confirm": True,
                "return_url": "http://localhost/",
            }
        )

    def refused_intent(self, card: str) -> None:
        try:
            self.intent(card)
        except stripe.CardError:
            return  # As wanted.

    def session(self) -> stripe.checkout.Session:
        return self.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "success_url": "http://localhost/",
                "line_items": [{"price": self.price(recurring=False), "quantity": 1}],
            }
        )

    def pay(self, session: stripe.checkout.Session) -> None:
        card = {"card_number": "4242424242424242", "card_expiry": "12/34", "card_cvc": "123"}
        person = {"email": "jenny@example.com", "billing_name": "Jenny Rosen"}
        self._submit(urllib.parse.urlsplit(session.url or "").path, {**card, **person, "action": "pay"})

    def refund(self, card: str = "pm_card_visa", *, wait: float = 0) -> None:
        self.v1.refunds.create({"payment_intent": self.intent(card).id})
        if wait:
            self.advance(wait)

    def renewal_fails(self) -> None:
        """Let a subscription renew on a card that saves and then declines every charge."""
        subscription = self.v1.subscriptions.retrieve(self.subscription())
        customer = str(subscription.customer)
        failing = self.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
        self.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": failing.id}})
        self.advance(32 * DAY)


Scenario = Callable[[Actor], Any]
SCENARIOS: dict[str, Scenario] = {
    "charge.dispute.created": lambda actor: actor.intent("pm_card_createDispute"),
    "charge.failed": lambda actor: actor.refused_intent("pm_card_chargeDeclined"),
    "charge.refunded": lambda actor: actor.refund(),
    "charge.succeeded": lambda actor: actor.intent(),
    "checkout.session.completed": lambda actor: actor.pay(actor.session()),
    "checkout.session.expired": lambda actor: actor.v1.checkout.sessions.expire(actor.session().id),
    "coupon.created": lambda actor: actor.v1.coupons.create({"percent_off": 20, "duration": "once"}),
    "customer.created": lambda actor: actor.customer(card=None),
    "customer.deleted": lambda actor: actor.v1.customers.delete(actor.customer(card=None)),
    "customer.subscription.created": lambda actor: actor.subscription(),
    "customer.subscription.deleted": lambda actor: actor.v1.subscriptions.cancel(actor.subscription()),
    "customer.subscription.trial_will_end": lambda actor: actor.subscription(trial_period_days=2),
    "customer.subscription.updated": lambda actor: actor.v1.subscriptions.update(
        actor.subscription(), {"metadata": {"by": "trigger"}}
    ),
    "customer.updated": lambda actor: actor.customer(),
    "invoice.created": lambda actor: actor.subscription(),
    "invoice.finalized": lambda actor: actor.subscription(),
    "invoice.paid": lambda actor: actor.subscription(),
    "invoice.payment_action_required": lambda actor: actor.subscription("pm_card_authenticationRequired"),
    "invoice.payment_failed": lambda actor: actor.renewal_fails(),
    "invoice.payment_succeeded": lambda actor: actor.subscription(),
    "payment_intent.canceled": lambda actor: actor.v1.payment_intents.cancel(
        actor.v1.payment_intents.create({"amount": 2000, "currency": "usd"}).id
    ),
    "payment_intent.created": lambda actor: actor.v1.payment_intents.create({"amount": 2000, "currency": "usd"}),
    "payment_intent.payment_failed": lambda actor: actor.refused_intent("pm_card_chargeDeclined"),
    "payment_intent.requires_action": lambda actor: actor.intent("pm_card_authenticationRequired"),
    "payment_intent.succeeded": lambda actor: actor.intent(),
    "payment_method.attached": lambda actor: actor.customer(),
    "price.created": lambda actor: actor.price(recurring=False),
    "product.created": lambda actor: actor.price(recurring=False),
    "radar.early_fraud_warning.created": lambda actor: actor.intent("pm_card_createIssuerFraudRecord"),
    "refund.created": lambda actor: actor.refund(),
    "refund.failed": lambda actor: actor.refund("pm_card_refundFail", wait=3600),
    "refund.updated": lambda actor: actor.refund("pm_card_pendingRefund", wait=3600),
    "setup_intent.created": lambda actor: actor.v1.setup_intents.create({}),
    "setup_intent.succeeded": lambda actor: actor.v1.setup_intents.create(
        {"payment_method": "pm_card_visa", "confirm": True, "return_url": "http://localhost/"}
    ),
}


def submit_over_http(base_url: str) -> Callable[[str, dict[str, str]], Any]:
    """Return a function that posts a page's form to a running sandbox; a redirect means that it went through."""
    opener = urllib.request.build_opener(_NoRedirect)

    def submit(path: str, form: dict[str, str]) -> None:
        request = urllib.request.Request(base_url + path, data=urllib.parse.urlencode(form).encode())  # noqa: S310
        try:
            opener.open(request, timeout=20).close()
        except urllib.error.HTTPError as answer:
            with answer:
                if answer.code != 303:
                    raise RuntimeError(f"the page answered {answer.code}") from answer

    return submit


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Leave the shop's page alone: it need not be there."""
