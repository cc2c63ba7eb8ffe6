"""The worker goes on whatever goes wrong, ends when it is told to, and loses nothing on the way."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from structlog.testing import LogCapture

import database
from billing import allowances, errors, leases, pulse, sync, sync_queue
from billing.models import Payment, SyncTask
from extensions import db
from jobs import worker
from jobs.worker import Chore
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The worker listens to signals; the tests after it are not to."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Waiting(threading.Event):
    """A stop that is set after so many seconds; only waiting makes them pass."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now, self._end = 0.0, seconds

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        if self.now >= self._end:
            self.set()
        return self.is_set()


def use_threads(app: Flask, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    config = dataclasses.replace(app.config["TOLLGATE"], worker_threads=count)
    monkeypatch.setitem(app.config, "TOLLGATE", config)


def work_through(app: Flask, monkeypatch: pytest.MonkeyPatch, chores: list[Chore], *, seconds: float) -> None:
    """Let a worker of one thread do some chores for so long."""
    use_threads(app, monkeypatch, 1)
    stop = Waiting(seconds)
    monkeypatch.setattr(worker, "chores", lambda: chores)
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: stop.now))
    worker.run_forever(app, stop)


def before_fetching(monkeypatch: pytest.MonkeyPatch, kind: str, happens: Callable[[], object]) -> None:
    """Have something happen once a worker has claimed an object and before it asks Stripe."""
    known = sync.KINDS[kind]

    def fetch(object_id: str, quick: bool) -> dict[str, object]:
        happens()
        return known.fetch(object_id, quick)

    monkeypatch.setitem(sync.KINDS, kind, sync.Kind(fetch, known.apply))


def bought(app: Flask, stripe: Stripe) -> Person:
    """Make somebody who has paid for 12 credits, which only the webhooks know."""
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    return ann


# It ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_finishes_the_chore_at_hand_and_begins_no_other(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    ann = bought(app, stripe)
    use_threads(app, monkeypatch, 1)
    before_fetching(monkeypatch, "checkout_session", lambda: os.kill(os.getpid(), number))
    assert app.test_cli_runner().invoke(args=["worker"]).exit_code == 0
    assert ann.balance_of("purchase") == 12
    with app.app_context():
        assert {task.leased_by for task in db.session.scalars(sa.select(SyncTask))} == {None}
        assert pulse.age(db.session(), pulse.WORKER) is None, "it went on with the next chore"


def test_several_syncs_wait_for_stripe_at_a_time_and_all_end_with_the_worker(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_threads(app, monkeypatch, 3)
    stop, all_three = threading.Event(), threading.Barrier(3, timeout=20)
    with app.app_context():
        for number in range(3):
            database.write(sync_queue.mark_dirty, "charge", f"ch_{number}")

    def meet() -> None:
        all_three.wait()
        stop.set()
        raise errors.StripeUnavailable("away")

    before_fetching(monkeypatch, "charge", meet)
    others = threading.active_count()
    worker.run_forever(app, stop)
    assert threading.active_count() == others
    with app.app_context():
        assert [t.last_error for t in db.session.scalars(sa.select(SyncTask))] == ["StripeUnavailable: away"] * 3


def test_a_round_on_request_does_everything_once(app: Flask, stripe: Stripe) -> None:
    ann = bought(app, stripe)
    result = app.test_cli_runner().invoke(args=["worker", "--once"])
    assert result.exit_code == 0
    assert int(result.output.removesuffix(" done\n")) >= 1
    assert ann.balance_of("purchase") == 12


# It goes on ---------------------------------------------------------------------------------------------------------


def test_a_chore_that_fails_is_tried_again_in_its_time_and_stops_no_other(
    app: Flask, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fail() -> int:
        done.append("fails")
        db.session.execute(sa.text("SELECT 1"))
        raise RuntimeError("in the middle of a transaction")

    def note() -> int:
        done.append("works")
        assert not db.session.registry.has(), "it was left the other chore's transaction"
        return 0

    work_through(app, monkeypatch, [Chore("fails", fail, every=1), Chore("works", note, every=0.5)], seconds=2.5)
    assert (done.count("fails"), done.count("works")) == (3, 5)
    said = [e["chore"] for e in log.entries if e["event"] == "chore failed" and e["exc_info"]]
    assert said == ["fails"] * 3


def test_a_chore_that_found_something_is_done_again_at_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [3, 2, 1]
    work_through(app, monkeypatch, [Chore("mail", lambda: left.pop() if left else 0, every=60)], seconds=0.25)
    assert left == []


def test_trouble_with_one_account_keeps_no_other_from_its_month(
    app: Flask, clock: Clock, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [sign_up(app, f"{name}@example.com") for name in ("ann", "ben", "eve")]
    with app.app_context():
        for person in people:
            database.write(allowances.grant_free_allowance, person.account_id)
    before = [person.balance() for person in people]
    clock.advance(days=36)  # beyond the grace of the month before
    grant = allowances.grant_due

    def fail_for_ben(session: Session, account_id: int) -> bool:
        is_granted = grant(session, account_id)
        if account_id == people[1].account_id:
            raise RuntimeError("trouble")
        return is_granted

    with app.app_context(), monkeypatch.context() as patched:
        patched.setattr(allowances, "grant_due", fail_for_ben)
        assert worker.grant_due_allowances(page=1) == 2
    assert [person.balance() for person in people] == [before[0], 0, before[2]]
    (said,) = [e for e in log.entries if e["event"] == "allowance not granted"]
    assert said["account"] == people[1].account_id
    with app.app_context():
        assert [worker.grant_due_allowances() for _ in range(2)] == [1, 0]
    assert people[1].balance() == before[1]


def test_a_worker_that_lost_its_lease_overwrites_nothing_of_the_one_that_took_over(
    app: Flask, stripe: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = bought(app, stripe)
    stripe.settle()
    with app.app_context():
        charge_id = db.session.scalars(sa.select(Payment.stripe_charge_id)).one()
        database.write(sync_queue.mark_dirty, "charge", charge_id)
    known = sync.KINDS["charge"]
    claims: list[int] = []

    def hang(object_id: str, quick: bool) -> dict[str, object]:
        """Fetch, and be so slow the first time that money goes back and another host's worker sees it meanwhile."""
        fetched = known.fetch(object_id, quick)
        claims.append(1)
        if len(claims) == 1:
            stripe.api.v1.refunds.create({"charge": object_id})
            clock.advance(seconds=21)
            monkeypatch.setattr(leases, "is_here", lambda _: False)
            assert sync.run_due()
        return fetched

    monkeypatch.setitem(sync.KINDS, "charge", sync.Kind(hang, known.apply))
    with app.app_context():
        assert sync.run_due()
        assert len(claims) == 2
        assert db.session.scalars(sa.select(Payment.refunded_cents)).one() > 0
        task = db.session.get_one(SyncTask, ("charge", charge_id))
        assert (task.clean, task.attempts, task.leased_by) == (task.dirty, 0, None)
    assert ann.balance_of("purchase") == 0
