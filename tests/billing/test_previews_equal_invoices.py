"""For every pair of prices of every preset, at several points of the period: what is quoted is what is invoiced."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import permutations

import pytest
from flask import Flask

import clock as app_clock
from billing import access, catalog, plan_changes, sync
from billing.models import Subscription
from billing.plan_changes import Quote, Result, When
from extensions import db
from proofs import previews
from stripe_sandbox.testing import Sandbox
from tests.billing.conftest import selling
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

PAIRS = {
    preset: list(permutations([price.key for plan in catalog.load(preset).plans for price in plan.prices], 2))
    for preset in catalog.PRESETS
}


@pytest.fixture
def seller(request: pytest.FixtureRequest, app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    yield from selling(request.param, app, sandbox, clock)


MIDDLE = 0.41


@pytest.mark.parametrize("part", [0.0, MIDDLE, 0.98], ids=["first day", "middle", "last day"])
@pytest.mark.parametrize(("seller", "preset"), [(p, p) for p in PAIRS], ids=list(PAIRS), indirect=["seller"])
def test_a_quote_is_its_invoice_to_the_cent(seller: Stripe, clock: Clock, preset: str, part: float) -> None:
    pairs = PAIRS[preset] if part == MIDDLE else PAIRS[preset][int(part == 0) :: 2]  # the ends of the period share them
    subscribers = [(subscriber(seller, number, pair[0]), pair[1]) for number, pair in enumerate(pairs)]
    clock.advance(days=15)  # the trials of those that have one are over
    seller.settle(times=1)
    clock.advance(seconds=part * 15 * 86400)  # every month is at most this far from its end, with a trial or without
    seller.settle(times=1)
    chance = random.Random(f"{preset}{part}")  # noqa: S311 - thinking time, not a secret
    quoted = [(ann, quote_for(seller, ann, to)) for ann, to in subscribers]
    clock.advance(minutes=chance.randrange(1, 29))
    for ann, quote in quoted:
        balance = ann.balance_of("plan")
        outcome = seller.inside(plan_changes.confirm, quote, key=f"change:{ann.email}")
        if quote.choice.when is When.AT_PERIOD_END:
            assert (outcome.result, quote.due_cents, quote.credits) == (Result.PLANNED, 0, 0)
            continue
        invoice = seller.api.v1.invoices.retrieve(outcome.stripe_invoice_id)
        assert (outcome.result, invoice.status) == (Result.DONE, "paid")
        assert (invoice.amount_due, invoice.amount_paid) == (quote.due_cents, quote.due_cents)
        assert [line.amount for line in invoice.lines.data] == [cents for _, cents in quote.lines]
        assert invoice.ending_balance == quote.carried_cents - quote.to_balance_cents
        seller.settle(times=1)
        assert ann.balance_of("plan") - balance == quote.credits
        assert subscription(ann).price_key == quote.choice.price.key
    for ann, quote in quoted:
        assert quote.next_at is not None
        stripe_id = subscription(ann).stripe_id
        seller.inside(sync.run_now, "subscription", stripe_id)
        # A new rhythm begins a new period when it is confirmed, up to half an hour after the quote.
        assert timedelta(0) <= subscription(ann).period_ends_at - quote.next_at <= timedelta(minutes=30)
    # One of the points looks a whole year ahead, the others as far as the months end.
    horizon = app_clock.now() + timedelta(days=400 if part == MIDDLE else 40)
    clock.advance(seconds=(horizon - app_clock.now()).total_seconds())
    for ann, quote in quoted:
        if quote.next_at is not None and quote.next_at < horizon:
            assert renewal_total(seller, ann, quote) == quote.next_cents


def subscriber(seller: Stripe, number: int, price_key: str) -> Person:
    ann = sign_up(seller.app, f"ann{number}@example.com")
    seller.pay(ann.checkout(price_key))
    return ann


def subscription(ann: Person) -> Subscription:
    with ann.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        return found


def quote_for(seller: Stripe, ann: Person, price_key: str) -> Quote:
    with seller.app.app_context():
        session = db.session()
        mine = subscription(ann)
        choice = plan_changes.choose(session, mine, price_key)
        return plan_changes.quote(session, mine, choice)


def renewal_total(seller: Stripe, ann: Person, quote: Quote) -> int:
    """Return the total of the first invoice at or after the date that the quote names."""
    assert quote.next_at is not None
    found = seller.api.v1.invoices.list(
        {"subscription": subscription(ann).stripe_id, "created": {"gte": int(quote.next_at.timestamp())}, "limit": 100}
    )
    invoices = list(found.auto_paging_iter())
    assert invoices, f"{ann.email} was not billed on {quote.next_at}"
    return int(invoices[-1].total)


def test_random_changes_with_coupons_and_use_cost_what_was_shown() -> None:
    found = previews.measure("sqlite", seed=3, changes=5)
    assert (found.tried, found.problems) == (5, [])
