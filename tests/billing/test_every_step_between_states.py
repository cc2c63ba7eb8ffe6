"""Each step of the diagram in docs/billing.md is taken: what is open and how many credits there are, before and after.

Everything that Stripe tells of on the way is delivered twice, and in reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flask import Flask

from billing.states import STEPS, State
from stripe_sandbox.engine import account_settings
from stripe_sandbox.testing import Sandbox
from tests.billing import subscribers
from tests.billing.forms import submit
from tests.billing.subscribers import DECLINES, GOOD, plan, put_card, state, subscription
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

FREE = State.FREE


@dataclass
class World:
    """A shop, its time, and one customer."""

    stripe: Stripe
    clock: Clock
    ann: Person

    def pass_time(self, **parts: float) -> None:
        subscribers.pass_time(self.stripe, self.clock, self.ann, order="reversed", **parts)

    def settle(self) -> None:
        self.stripe.settle(order="reversed")
        log_in_again(self.ann)

    def press(self, page: str, action: str) -> None:
        log_in_again(self.ann)
        assert submit(self.ann, page, action).status_code == 303
        self.settle()

    def where(self) -> tuple[str, str, int]:
        """Return the state, the plan that is open, and the credits that are neither bought nor given."""
        credits = self.ann.balance_of("plan") + self.ann.balance_of("trial")
        return state(self.ann).value, plan(self.ann), credits


def buy(world: World) -> None:
    world.stripe.pay(world.ann.checkout("pro_monthly"))
    world.settle()


def decline_first(world: World) -> None:
    world.ann.checkout("credits_5")  # which makes the customer
    customer = world.stripe.sandbox_object("customer")["id"]
    price = world.stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data[0].id
    world.stripe.api.v1.payment_methods.attach(DECLINES, {"customer": customer})
    method = world.stripe.sandbox_object("payment_method")["id"]
    world.stripe.api.v1.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": price}],
            "default_payment_method": method,
            "payment_behavior": "allow_incomplete",
        }
    )
    world.settle()


def pay_invoice(world: World) -> None:
    invoice = world.stripe.sandbox_object("invoice")["id"]
    world.stripe.api.v1.invoices.pay(invoice, {"payment_method": GOOD})
    world.settle()


def lose_the_card(world: World) -> None:
    world.stripe.api.v1.payment_methods.detach(subscription(world.ann).payment_method_id or "")
    world.pass_time(days=15)


def fail_to_the_last(world: World, *, outcome: str = "cancel") -> None:
    account_settings.change(world.stripe.sandbox.store, after_retries=outcome)
    for days in (4, 6, 8):
        world.pass_time(days=days)


def renew_with(world: World, card: str, **parts: float) -> None:
    put_card(world.stripe, card)
    world.pass_time(**(parts or {"days": 31, "hours": 2}))


def cancel(world: World) -> None:
    world.press("/billing/cancel", "/billing/cancel")


def cancel_now(world: World) -> None:
    world.press("/billing/cancel/now", "/billing/cancel/now")


def resume(world: World) -> None:
    world.press("/billing", "/billing/resume")


def pause(world: World) -> None:
    world.press("/billing/pause", "/billing/pause")


def become_past_due(world: World) -> None:
    buy(world)
    renew_with(world, DECLINES)


def become_unpaid(world: World) -> None:
    become_past_due(world)
    fail_to_the_last(world, outcome="unpaid")


def many(*acts: Callable[[World], None]) -> Callable[[World], None]:
    def run(world: World) -> None:
        for act in acts:
            act(world)

    return run


Walk = tuple[Callable[[World], None], tuple[str, int], Callable[[World], None], tuple[str, int]]
# To each step: how one gets there, the plan and credits there, the step, the plan and credits after it. The free plan
# gives 3 credits a month, Pro 50; with a trial (another shop) 3 and 100.
WALKS: dict[tuple[State, State, str], Walk] = {
    (FREE, State.TRIALING, "a plan with a trial is chosen"): (many(), ("free", 3), buy, ("pro", 103)),
    (FREE, State.ACTIVE, "a plan is chosen and paid"): (many(), ("free", 3), buy, ("pro", 53)),
    (FREE, State.INCOMPLETE, "the first payment does not go through"): (
        many(),
        ("free", 3),
        decline_first,
        ("free", 3),
    ),
    (State.INCOMPLETE, State.ACTIVE, "the first invoice is paid"): (
        decline_first,
        ("free", 3),
        pay_invoice,
        ("pro", 53),
    ),
    (State.INCOMPLETE, State.ENDED, "23 hours pass"): (
        decline_first,
        ("free", 3),
        lambda world: world.pass_time(hours=24),
        ("free", 3),
    ),
    (State.TRIALING, State.ACTIVE, "the trial ends and the card pays"): (
        buy,
        ("pro", 103),
        lambda world: world.pass_time(days=14, hours=2),
        ("pro", 203),
    ),
    (State.TRIALING, State.PAST_DUE, "the trial ends and the card is declined"): (
        buy,
        ("pro", 103),
        lambda world: renew_with(world, DECLINES, days=14, hours=2),
        ("pro", 103),
    ),
    (State.TRIALING, State.ENDED, "the trial ends without a card"): (buy, ("pro", 103), lose_the_card, ("free", 103)),
    (State.TRIALING, State.ENDING, "cancel"): (buy, ("pro", 103), cancel, ("pro", 103)),
    (State.ACTIVE, State.ENDING, "cancel"): (buy, ("pro", 53), cancel, ("pro", 53)),
    (State.ACTIVE, State.PAUSED, "pause"): (buy, ("pro", 53), pause, ("pro", 53)),
    (State.ACTIVE, State.PAST_DUE, "a renewal is declined"): (
        buy,
        ("pro", 53),
        lambda world: renew_with(world, DECLINES),
        ("pro", 53),
    ),
    (State.ACTIVE, State.ENDED, "cancel now"): (buy, ("pro", 53), cancel_now, ("free", 53)),
    (State.ENDING, State.ACTIVE, "resume"): (many(buy, cancel), ("pro", 53), resume, ("pro", 53)),
    (State.ENDING, State.TRIALING, "resume in a trial"): (many(buy, cancel), ("pro", 103), resume, ("pro", 103)),
    (State.ENDING, State.ENDED, "the last day comes"): (
        many(buy, cancel),
        ("pro", 53),
        lambda world: world.pass_time(days=35),
        ("free", 3),
    ),
    (State.PAUSED, State.ACTIVE, "go on"): (
        many(buy, pause, lambda world: world.pass_time(days=40)),
        ("free", 3),
        lambda world: world.press("/billing/unpause", "/billing/unpause"),
        ("pro", 53),
    ),
    (State.PAUSED, State.ENDED, "cancel now"): (many(buy, pause), ("pro", 53), cancel_now, ("free", 53)),
    (State.PAST_DUE, State.ACTIVE, "the invoice is paid"): (become_past_due, ("pro", 53), pay_invoice, ("pro", 103)),
    (State.PAST_DUE, State.ENDED, "the last attempt fails"): (
        become_past_due,
        ("pro", 53),
        fail_to_the_last,
        ("free", 3),
    ),
    (State.PAST_DUE, State.UNPAID, "the last attempt fails, with Stripe set to keep it"): (
        become_past_due,
        ("pro", 53),
        lambda world: fail_to_the_last(world, outcome="unpaid"),
        ("free", 3),
    ),
    (State.UNPAID, State.ACTIVE, "the invoice is paid"): (become_unpaid, ("free", 3), pay_invoice, ("pro", 53)),
    (State.UNPAID, State.ENDED, "cancel now"): (become_unpaid, ("free", 3), cancel_now, ("free", 3)),
    (State.ENDED, State.ACTIVE, "a plan is chosen and paid"): (many(buy, cancel_now), ("free", 53), buy, ("pro", 103)),
}
IN_THE_SHOP_WITH_TRIALS = {step for step in WALKS if State.TRIALING in step[:2]}


def test_every_step_is_walked() -> None:
    assert set(WALKS) == set(STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]} to {step[1]}, {step[2]}".replace(" ", "-"))
def test_a_step(
    app: Flask, sandbox: Sandbox, clock: Clock, request: pytest.FixtureRequest, step: tuple[State, State, str]
) -> None:
    stripe = request.getfixturevalue("shop" if step in IN_THE_SHOP_WITH_TRIALS else "stripe")
    world = World(stripe, clock, sign_up(stripe.app))
    arrive, before, take, after = WALKS[step]
    arrive(world)
    assert world.where() == (step[0].value, *before)
    take(world)
    assert world.where() == (step[1].value, *after)
