"""Whatever is called in whatever order, and however time passes, the books add up."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stripe_sandbox.testing import CheckoutRefused, Sandbox
from tests.sandbox import shop

CARDS = ["pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired", "pm_card_createDispute"]
NUMBERS = ["4242424242424242", "4000000000000002", "4000002760003184", "4000000000007726", "4000000000005126"]

steps = st.one_of(
    st.tuples(st.just("subscribe"), st.sampled_from(CARDS), st.sampled_from([None, 5])),
    st.tuples(st.just("checkout"), st.sampled_from(["payment", "subscription"]), st.sampled_from(NUMBERS)),
    st.tuples(st.just("change"), st.integers(1, 3), st.sampled_from(["create_prorations", "always_invoice", "none"])),
    st.tuples(st.just("swap_card"), st.sampled_from(CARDS)),
    st.tuples(st.just("refund"), st.integers(1, 2000)),
    st.tuples(st.just("credit"), st.integers(-3000, 3000)),
    st.tuples(st.just("discount"), st.sampled_from([20.0, 33.3])),
    st.tuples(st.just("cancel"), st.booleans()),
    st.tuples(st.just("advance"), st.integers(1, 45)),
)


class Life:
    """A customer who does what the steps say; what Stripe refuses is refused, and must leave the books in order too."""

    def __init__(self, sandbox: Sandbox) -> None:
        sandbox.reset()
        sandbox.clock.freeze(1_767_182_400)  # 31 December 2025, so that months end early.
        self.sandbox, self.client = sandbox, sandbox.client()
        self.goods = shop.open_shop(self.client)
        self.dearer = self.client.v1.prices.create(
            {
                "product": self.goods.product,
                "currency": "usd",
                "unit_amount": 3100,
                "recurring": {"interval": "month"},
            }
        ).id

    def take(self, step: tuple[Any, ...]) -> None:
        try:
            getattr(self, step[0])(*step[1:])
        except (stripe.CardError, stripe.InvalidRequestError, CheckoutRefused):
            return  # Refused, as Stripe would: the books are checked all the same.

    def subscribe(self, card: str, trial_days: int | None) -> None:
        shop.subscribe(self.client, self.goods, card, **({"trial_period_days": trial_days} if trial_days else {}))

    def checkout(self, mode: str, card: str) -> None:
        self.sandbox.pay(shop.checkout(self.client, self.goods, mode).id, card)

    def change(self, quantity: int, proration: Any) -> None:
        for subscription in self.client.v1.subscriptions.list({"customer": self.goods.customer, "limit": 1}):
            item = subscription.items.data[0]
            other = self.dearer if item.price.id == self.goods.plan else self.goods.plan
            wanted: Any = [{"id": item.id, "price": other, "quantity": quantity}]
            self.client.v1.subscriptions.update(subscription.id, {"items": wanted, "proration_behavior": proration})

    def swap_card(self, card: str) -> None:
        method = self.client.v1.payment_methods.attach(card, {"customer": self.goods.customer})
        self.client.v1.customers.update(
            self.goods.customer, {"invoice_settings": {"default_payment_method": method.id}}
        )

    def refund(self, amount: int) -> None:
        for charge in self.client.v1.charges.list({"customer": self.goods.customer, "limit": 1}):
            self.client.v1.refunds.create({"charge": charge.id, "amount": amount})

    def credit(self, amount: int) -> None:
        self.client.v1.customers.balance_transactions.create(self.goods.customer, {"amount": amount, "currency": "usd"})

    def discount(self, percent: float) -> None:
        coupon = self.client.v1.coupons.create({"percent_off": percent, "duration": "forever"})
        for subscription in self.client.v1.subscriptions.list({"customer": self.goods.customer, "limit": 1}):
            self.client.v1.subscriptions.update(subscription.id, {"discounts": [{"coupon": coupon.id}]})

    def cancel(self, now: bool) -> None:
        for subscription in self.client.v1.subscriptions.list({"customer": self.goods.customer, "limit": 1}):
            if now:
                self.client.v1.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
            else:
                self.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})

    def advance(self, days: int) -> None:
        self.sandbox.advance(days=days)

    # What must hold ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.check_balance()
        self.check_invoices()
        self.check_customer()
        assert self.sandbox.violations == []

    def check_balance(self) -> None:
        api = self.client.v1
        charges = list(api.charges.list({"limit": 100}).auto_paging_iter())
        refunds = list(api.refunds.list({"limit": 100}).auto_paging_iter())
        disputes = list(api.disputes.list({"limit": 100}).auto_paging_iter())
        booked = list(api.balance_transactions.list({"limit": 100}).auto_paging_iter())
        taken = sum(charge.amount_captured for charge in charges if charge.paid)
        returned = sum(refund.amount for refund in refunds if refund.status in ("succeeded", "pending"))
        withdrawn = -sum(entry.amount for dispute in disputes for entry in dispute.balance_transactions)
        assert sum(entry.amount for entry in booked) == taken - returned - withdrawn
        balance = api.balance.retrieve()
        shown = sum(part.amount for part in [*balance.available, *balance.pending])
        assert shown == sum(entry.net for entry in booked)
        for charge in charges:
            own = [one.amount for one in refunds if one.charge == charge.id and one.status in ("succeeded", "pending")]
            assert charge.amount_refunded == sum(own)
            assert charge.refunded == (charge.paid and charge.amount_refunded == charge.amount_captured)

    def check_invoices(self) -> None:
        for invoice in self.client.v1.invoices.list({"limit": 100, "expand": ["data.payments"]}).auto_paging_iter():
            lines = list(self.client.v1.invoices.line_items.list(invoice.id, {"limit": 100}).auto_paging_iter())
            assert invoice.subtotal == sum(line.amount for line in lines)
            off = sum(part.amount for line in lines for part in line.discount_amounts or [])
            assert off == sum(part.amount for part in invoice.total_discount_amounts or [])
            assert invoice.total == invoice.subtotal - off
            assert invoice.amount_due >= 0
            assert invoice.amount_remaining == (0 if invoice.status == "paid" else invoice.amount_due)
            paid = [one.amount_paid for one in invoice.payments.data if one.status == "paid"]
            assert sum(paid) == invoice.amount_paid
            if invoice.status == "paid":
                assert invoice.amount_paid == invoice.amount_due
                assert invoice.status_transitions.paid_at

    def check_customer(self) -> None:
        api = self.client.v1.customers
        customer = api.retrieve(self.goods.customer)
        entries = list(api.balance_transactions.list(customer.id, {"limit": 100}).auto_paging_iter())
        assert customer.balance == sum(entry.amount for entry in entries)
        if entries:
            assert entries[0].ending_balance == customer.balance


@pytest.fixture(scope="module")
def books() -> Sandbox:
    return Sandbox()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, min_size=1, max_size=10))
def test_the_books_add_up_whatever_happens(books: Sandbox, life: list[tuple[Any, ...]]) -> None:
    customer = Life(books)
    for step in life:
        customer.take(step)
        customer.check()
