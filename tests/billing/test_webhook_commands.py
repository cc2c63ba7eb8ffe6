"""An operator sees what was given up and has it worked on again, by event, by object, or all of it."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session

import database
from billing import inbox
from billing.models import StripeEvent, SyncTask
from extensions import db
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe


def run(app: Flask, *words: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["webhooks", *words])
    return result.exit_code, result.output


@pytest.fixture
def ann(app: Flask, stripe: Stripe) -> Person:
    """Somebody whose payment was given up."""
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    with app.app_context():
        database.write(give_up_everything)
    return ann


def give_up_everything(session: Session) -> None:
    session.execute(update(SyncTask).values(state="dead", attempts=12, last_error="KeyError: 'lines'"))


def dead_ids(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(SyncTask.object_id).where(SyncTask.state == "dead")))


def test_what_was_given_up_is_listed_with_everything_one_needs(app: Flask, ann: Person) -> None:
    code, output = run(app, "list", "--dead")
    assert code == 0
    for object_id in dead_ids(app):
        (line,) = [line for line in output.splitlines() if object_id in line]
        assert "12 attempts" in line
        assert "since 20" in line
        assert "KeyError: 'lines'" in line
    assert f"{len(dead_ids(app))} objects were given up" in output


def test_an_object_is_replayed_by_its_own_id(app: Flask, ann: Person) -> None:
    session_id = next(i for i in dead_ids(app) if i.startswith("cs_"))
    code, output = run(app, "replay", session_id)
    assert code == 0
    assert session_id not in dead_ids(app)
    assert ann.balance_of("purchase") == 12
    assert output.startswith(f"{len(dead_ids(app))} objects are not in line yet" if dead_ids(app) else "Everything")


def test_an_object_is_replayed_by_an_event_of_it(app: Flask, ann: Person) -> None:
    with app.app_context():
        query = select(StripeEvent.stripe_id).where(StripeEvent.object_id.like("cs_%"))
        event_id = db.session.scalars(query).first()
    assert event_id is not None
    assert run(app, "replay", event_id)[0] == 0
    assert ann.balance_of("purchase") == 12


def test_everything_is_replayed_at_once_and_twice_is_harmless(app: Flask, ann: Person) -> None:
    assert run(app, "replay", "--dead") == (0, "Everything is in line with Stripe.\n")
    assert dead_ids(app) == []
    assert run(app, "replay", "--dead") == (0, "Everything is in line with Stripe.\n")
    assert ann.balance_of("purchase") == 12


def test_unknown_names_are_refused_and_none_is_asked_for(app: Flask, ann: Person) -> None:
    code, output = run(app, "replay", "sub_nobody")
    assert code == 1
    assert "sub_nobody is no event with an effect" in output
    code, output = run(app, "replay")
    assert code == 2
    assert "--dead" in output


def test_the_newest_events_are_listed_with_what_became_of_them(app: Flask, ann: Person) -> None:
    code, output = run(app, "list")
    assert code == 0
    assert "checkout.session.completed" in output
    assert "dead" in output
    assert "0 objects wait" in output


def test_old_events_are_forgotten_and_the_work_that_they_left_is_not(
    app: Flask, stripe: Stripe, clock: Clock, ann: Person
) -> None:
    ids, session_id = select(StripeEvent.stripe_id), next(i for i in dead_ids(app) if i.startswith("cs_"))
    with app.app_context():
        old = set(db.session.scalars(ids))
        clock.advance(days=89)
        assert database.write(inbox.sweep) == 0
        clock.advance(days=2)
        log_in_again(ann)
        stripe.pay(ann.checkout("credits_5"))
        stripe.deliver()
        assert [database.write(inbox.sweep, limit=2), database.write(inbox.sweep)] == [2, len(old) - 2]
        new = set(db.session.scalars(ids))
    assert new
    assert not new & old
    assert session_id in dead_ids(app)
    assert run(app, "replay", session_id)[0] == 0
    assert ann.balance_of("purchase") == 12 + 5
