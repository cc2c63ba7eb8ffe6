"""Whatever is done in whatever order, and however much time passes between: the books add up."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stripe_sandbox.testing import CheckoutRefused, Sandbox
from tests.sandbox import books, shop

HOUR, DAY = 3600, 86400
START = 1_801_440_000  # A winter's day in 2027.
CARDS = (
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_card_createDispute",
    "pm_card_createDisputeInquiry",
    "pm_card_refundFail",
    "pm_card_pendingRefund",
)
NUMBERS = ("4242424242424242", "4000000000000002", "4000002760003184", "4000000000007726", "4000000000005126")
PRICES = ((1500, "month"), (3000, "month"), (20, "month"), (0, "month"), (12000, "year"), (700, "week"))

number, price = st.integers(0, 7), st.integers(0, 5)
word = st.sampled_from
DURATIONS = ["once", "forever", "repeating"]
PRORATIONS = ["create_prorations", "always_invoice", "none"]
BEHAVIOURS = ["allow_incomplete", "default_incomplete", "error_if_incomplete"]
# What each step draws; the methods of `Actor` of the same names take it.
STEPS: dict[str, tuple[Any, ...]] = {
    "advance": (st.one_of(word([1, HOUR, DAY, 4 * DAY, 16 * DAY, 32 * DAY]), st.integers(1, 45 * DAY)),),
    "subscribe": (number, price, st.integers(1, 4), word([0, 0, 7]), word(BEHAVIOURS)),
    "checkout": (word(["payment", "subscription"]), word(NUMBERS)),
    "change": (number, price, st.integers(0, 5), word(PRORATIONS), word([*BEHAVIOURS, "pending_if_incomplete"])),
    "add_item": (number, price),
    "use_card": (number, number),
    "cancel": (number, word(["now", "prorate", "invoice", "at_end", "not_at_end"])),
    "collection": (number, word(["void", "keep_as_draft", "mark_uncollectible", ""])),
    "pause": (number, st.booleans()),
    "resume": (number, st.booleans(), st.booleans()),
    "end_trial": (number,),
    "pay": (number, st.booleans()),
    "close": (number, word(["void_invoice", "mark_uncollectible"])),
    "finalize": (number,),
    "refund": (number, st.one_of(st.none(), st.integers(1, 2000))),
    "dispute": (number, word(["winning_evidence", "losing_evidence", "close"])),
    "credit_note": (number, st.integers(1, 2000), word(["refund_amount", "credit_amount", None])),
    "balance": (st.integers(-3000, 3000),),
    "invoice_item": (st.integers(-2000, 2000),),
    "coupon": (number, word([10, 33.3, 100]), word(DURATIONS)),
    "schedule": (number, price),
    "release": (number,),
    "retries": (word(["cancel", "unpaid", "past_due"]),),
}
OFTEN = ("advance", "advance", "advance", "subscribe", "change", "use_card", "pay")
steps = st.one_of([st.tuples(st.just(name), *STEPS[name]) for name in (*OFTEN, *STEPS)])


class Actor:
    """Does one step after the other to a shop with one customer; what Stripe would refuse is refused."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.client = sandbox.client().v1
        self.goods = shop.open_shop(sandbox.client())
        self.prices = [
            self.client.prices.create(
                {
                    "product": self.goods.product,
                    "currency": "usd",
                    "unit_amount": cents,
                    "recurring": {"interval": each},
                }
            ).id
            for cents, each in PRICES
        ]

    def pick(self, items: Any, number: int, **where: str) -> Any:
        """Return one of the newest objects of a kind, or None; subscriptions of any status unless told."""
        if items is self.client.subscriptions:
            where = {"status": "all", **where}
        found = items.list({"limit": 8, **where}).data
        return found[number % len(found)] if found else None

    def do(self, step: tuple[Any, ...]) -> None:
        name, *rest = step
        with suppress(stripe.InvalidRequestError, stripe.CardError, CheckoutRefused):
            getattr(self, name)(*rest)

    def advance(self, seconds: int) -> None:
        self.sandbox.advance(seconds)

    def retries(self, outcome: str) -> None:
        self.sandbox.store.set_setting("billing", {"after_retries": outcome})

    def card(self, number: int) -> str:
        return str(self.client.payment_methods.attach(CARDS[number], {"customer": self.goods.customer}).id)

    def subscribe(self, card: int, price: int, quantity: int, trial: int, behaviour: str) -> None:
        more = {"trial_period_days": trial} if trial else {}
        self.client.subscriptions.create(
            {
                "customer": self.goods.customer,
                "items": [{"price": self.prices[price], "quantity": quantity}],
                "default_payment_method": self.card(card),
                "payment_behavior": behaviour,
                **more,
            }
        )

    def checkout(self, mode: str, card: str) -> None:
        self.sandbox.pay(shop.checkout(self.sandbox.client(), self.goods, mode).id, card)

    def change(self, which: int, price: int, quantity: int, proration: str, payment: str) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            item = {"id": subscription.items.data[0].id, "price": self.prices[price]}
            if quantity:
                item["quantity"] = quantity
            self.client.subscriptions.update(
                subscription.id, {"items": [item], "proration_behavior": proration, "payment_behavior": payment}
            )

    def add_item(self, which: int, price: int) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription and len(subscription.items.data) > 1:
            self.client.subscription_items.delete(subscription.items.data[1].id)
        elif subscription:
            self.client.subscription_items.create({"subscription": subscription.id, "price": self.prices[price]})

    def use_card(self, which: int, card: int) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            self.client.subscriptions.update(subscription.id, {"default_payment_method": self.card(card)})

    def cancel(self, which: int, how: str) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription and how.endswith("at_end"):
            self.client.subscriptions.update(subscription.id, {"cancel_at_period_end": how == "at_end"})
        elif subscription:
            self.client.subscriptions.cancel(
                subscription.id, {"prorate": how != "now", "invoice_now": how == "invoice"}
            )

    def collection(self, which: int, behaviour: str) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            pause = {"behavior": behaviour} if behaviour else ""
            self.client.subscriptions.update(subscription.id, {"pause_collection": pause})

    def pause(self, which: int, invoice: bool) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            how = "invoice" if invoice else "pending_invoice_item"
            self.client.subscriptions.pause(subscription.id, {"invoicing_behavior": how})

    def resume(self, which: int, unchanged: bool, success: bool) -> None:
        subscription = self.pick(self.client.subscriptions, which, status="paused")
        if subscription:
            self.client.subscriptions.resume(
                subscription.id,
                {
                    "billing_cycle_anchor": {"type": "unchanged" if unchanged else "now"},
                    "payment_behavior": "resume_on_payment_success" if success else "resume_on_payment_attempt",
                    "proration_behavior": "always_invoice",
                },
            )

    def end_trial(self, which: int) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            self.client.subscriptions.update(subscription.id, {"trial_end": "now"})

    def pay(self, which: int, with_card: bool) -> None:
        invoice = self.pick(self.client.invoices, which, status="open")
        if invoice:
            self.client.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"} if with_card else {})

    def close(self, which: int, how: str) -> None:
        invoice = self.pick(self.client.invoices, which, status="open")
        if invoice:
            getattr(self.client.invoices, how)(invoice.id)

    def finalize(self, which: int) -> None:
        invoice = self.pick(self.client.invoices, which, status="draft")
        if invoice:
            self.client.invoices.finalize_invoice(invoice.id)

    def refund(self, which: int, amount: int | None) -> None:
        charge = self.pick(self.client.charges, which)
        if charge:
            self.client.refunds.create({"charge": charge.id, **({"amount": amount} if amount else {})})

    def dispute(self, which: int, how: str) -> None:
        dispute = self.pick(self.client.disputes, which)
        if dispute and how == "close":
            self.client.disputes.close(dispute.id)
        elif dispute:
            self.client.disputes.update(dispute.id, {"evidence": {"uncategorized_text": how}})

    def credit_note(self, which: int, amount: int, back: str | None) -> None:
        invoice = self.pick(self.client.invoices, which)
        if invoice:
            more = {back: amount} if back else {}
            self.client.credit_notes.create({"invoice": invoice.id, "amount": amount, **more})

    def balance(self, amount: int) -> None:
        self.client.customers.balance_transactions.create(self.goods.customer, {"amount": amount, "currency": "usd"})

    def invoice_item(self, amount: int) -> None:
        self.client.invoice_items.create({"customer": self.goods.customer, "currency": "usd", "amount": amount})

    def coupon(self, which: int, percent: float, duration: str) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            more = {"duration_in_months": 2} if duration == "repeating" else {}
            made = self.client.coupons.create({"percent_off": percent, "duration": duration, **more})
            self.client.subscriptions.update(subscription.id, {"discounts": [{"coupon": made.id}]})

    def schedule(self, which: int, price: int) -> None:
        subscription = self.pick(self.client.subscriptions, which)
        if subscription:
            made = self.client.subscription_schedules.create({"from_subscription": subscription.id})
            first = made.phases[0]
            now = [{"price": item.price, "quantity": item.quantity} for item in first["items"]]
            self.client.subscription_schedules.update(
                made.id,
                {
                    "phases": [
                        {"items": now, "start_date": first.start_date, "end_date": first.end_date},
                        {
                            "items": [{"price": self.prices[price]}],
                            "duration": {"interval": "month", "interval_count": 1},
                        },
                    ]
                },
            )

    def release(self, which: int) -> None:
        made = self.pick(self.client.subscription_schedules, which)
        if made:
            self.client.subscription_schedules.release(made.id)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(story=st.lists(steps, min_size=4, max_size=16), first=st.tuples(number, price))
def test_the_books_add_up_after_any_story(shared_sandbox: Sandbox, story, first):
    shared_sandbox.reset()
    shared_sandbox.clock.freeze(START)
    actor = Actor(shared_sandbox)
    actor.do(("subscribe", *first, 1, 0, "allow_incomplete"))
    for step in story:
        actor.do(step)
        books.check(shared_sandbox)


@pytest.mark.parametrize("field", ["subtotal", "amount_paid", "ending_balance"])
def test_the_check_itself_notices_a_wrong_invoice(sandbox, client, goods, field):
    shop.subscribe(client, goods)
    books.check(sandbox)
    with sandbox.world() as world:
        invoice = next(world.select("invoice"))
        invoice[field] += 1
        world.save(invoice)
    with pytest.raises(AssertionError):
        books.check(sandbox)
