"""The poller forgets nothing that happened while it slept."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from billing import poller
from tests.persons import sign_up
from tests.worlds import Clock, Stripe


def test_a_worker_that_sleeps_before_the_very_first_event_misses_none(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    assert stripe.inside(poller.poll) == 0
    stripe.pay(ann.checkout("credits_30"))
    stripe.discard_deliveries()
    clock.advance(seconds=(poller.OVERLAP + timedelta(minutes=10)).total_seconds())
    assert stripe.inside(poller.poll) > 0
    stripe.settle()
    assert ann.balance_of("purchase") == 30
