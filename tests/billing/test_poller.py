"""The poller forgets nothing that happened while it slept."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

import database
from billing import inbox, poller
from billing.models import Cursor, StripeEvent, SyncTask
from extensions import db
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


@pytest.mark.parametrize(("seconds", "is_seen"), [(600, True), (601, False)])
def test_what_becomes_visible_up_to_ten_minutes_late_is_taken_in(
    app: Flask, stripe: Stripe, seconds: int, is_seen: bool
) -> None:
    stripe.pay(sign_up(app).checkout("credits_30"))
    stripe.discard_deliveries()
    newest = max(event.created for event in stripe.api.v1.events.list({"limit": 100}).data)
    with app.app_context():
        poller.poll()
        database.write(lambda s: s.execute(sa.delete(StripeEvent)))
        database.write(lambda s: s.execute(sa.update(Cursor).values(position=newest + seconds)))
        assert (poller.poll() > 0) == is_seen
        assert db.session.scalars(sa.select(Cursor.position)).one() == newest + seconds, "it never goes back"


def test_a_poll_goes_on_from_the_newest_event_and_takes_none_in_twice(app: Flask, stripe: Stripe, clock: Clock) -> None:
    stripe.inside(poller.poll)
    ann = sign_up(app)
    for _ in range(2):
        clock.advance(seconds=100)
        stripe.pay(ann.checkout("credits_30"))
    stripe.discard_deliveries()
    told = stripe.api.v1.events.list({"limit": 100}).data
    with app.app_context():
        assert [poller.poll(), poller.poll()] == [db.session.scalar(sa.select(sa.func.count(StripeEvent.stripe_id))), 0]
        assert db.session.scalars(sa.select(Cursor.position)).one() == max(event.created for event in told)
        assert set(db.session.scalars(sa.select(StripeEvent.source))) == {"poll"}


def test_looking_back_counts_no_delivery_that_nobody_made(app: Flask, stripe: Stripe) -> None:
    stripe.pay(sign_up(app).checkout("credits_30"))
    stripe.deliver()
    for _ in range(3):
        assert stripe.inside(poller.poll) == 0
    with app.app_context():
        assert set(db.session.scalars(sa.select(StripeEvent.deliveries))) == {1}


def test_looking_back_over_many_events_counts_no_delivery_either(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "ASKED_AT_ONCE", 2)
    stripe.pay(sign_up(app).checkout("pro_monthly"))
    stripe.deliver()
    with app.app_context():
        assert poller.poll() == 0
        assert set(db.session.scalars(sa.select(StripeEvent.deliveries))) == {1}


def test_an_event_whose_webhook_comes_during_a_poll_asks_for_its_object_once(app: Flask) -> None:
    charge = {"id": "ch_1", "object": "charge"}
    event = {"id": "evt_1", "type": "charge.refunded", "livemode": False, "created": 1, "data": {"object": charge}}
    with app.app_context():
        taken_in = [database.write(inbox.receive, event, source=way, livemode=False) for way in ("webhook", "poll")]
        assert taken_in == [True, False]
        assert db.session.scalars(sa.select(SyncTask.dirty)).one() == 1
        assert db.session.scalars(sa.select(StripeEvent.source)).one() == "webhook"
