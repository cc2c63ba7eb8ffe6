"""The queue gives up what is broken and nothing else: not in an outage, not when workers or the database go away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from structlog.testing import LogCapture

import clock as app_clock
import database
from billing import errors, leases, sync, sync_queue
from billing.models import StripeObject, SyncTask
from billing.sync_queue import Claim
from extensions import db
from tests.persons import sign_up
from tests.worlds import Clock, Stripe

pytestmark = pytest.mark.usefixtures("still_time")


def task_of(object_id: str = "ch_1") -> SyncTask:
    db.session.rollback()
    return db.session.scalars(select(SyncTask).where(SyncTask.object_id == object_id)).one()


def mark(object_id: str = "ch_1") -> None:
    database.write(sync_queue.mark_dirty, "charge", object_id)


def claim() -> Claim:
    claimed = database.write(sync_queue.claim_due)
    assert claimed is not None
    return claimed


def bring_in_line(object_id: str = "ch_other") -> None:
    """Have another charge fetched just now."""

    def store(session: Session) -> None:
        session.merge(
            StripeObject(kind="charge", stripe_id=object_id, applied_fence=1, fetched_at=app_clock.now(), body="{}")
        )

    database.write(store)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    def fetch(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setitem(sync.KINDS, "charge", sync.Kind(fetch, sync.KINDS["charge"].apply))  # type: ignore[arg-type]
        yield


PASSING = [
    errors.StripeUnavailable("500"),
    errors.StripeUnreachable("no route"),
    errors.StripeBusy("too many", retry_after=2),
    errors.StripeKeyRefused("expired"),
    OperationalError("SELECT", {}, Exception("the database is away")),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_an_outage_of_three_hours_gives_nothing_up_and_ends_within_a_minute(
    context: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    mark()
    began = app_clock.now()
    tries = 0
    with failing(monkeypatch, error):
        while app_clock.now() < began + timedelta(hours=3):
            tries += sync.run_due()
            clock.advance(seconds=40)
    assert tries > 100
    task = task_of()
    assert (task.state, task.attempts) == ("live", 0)
    assert type(error).__name__ in str(task.last_error)
    assert task.next_at - app_clock.now() <= timedelta(seconds=60)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_page_that_cannot_wait_is_told_at_once_and_leaves_the_task_to_the_worker(
    context: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with failing(monkeypatch, error), pytest.raises(type(error)):
        sync.run_now("charge", "ch_1")
    task = task_of()
    assert (task.state, task.clean, task.leased_by) == ("live", 0, None)
    assert type(error).__name__ in str(task.last_error)
    clock.advance(seconds=3)
    assert claim().object_id == "ch_1"


@pytest.mark.parametrize(
    ("error", "words", "level"),
    [
        (errors.StripeKeyRefused("expired"), "Stripe refuses the key", "critical"),
        (errors.StripeRefused("no such charge"), "sync refused", "error"),
        (errors.StripeUnavailable("500"), "sync failed", "warning"),
        (KeyError("lines"), "sync failed", "warning"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_each_failure_is_as_loud_as_it_is_bad(
    context: Flask, log: LogCapture, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str, level: str
) -> None:
    mark()
    with failing(monkeypatch, error):
        assert sync.run_due()
    (said,) = log.entries
    assert (said["event"], said["log_level"], said["object_id"], said["attempts"]) == (words, level, "ch_1", 1)


def test_the_wait_grows_with_the_outage_and_stays_below_a_minute(context: Flask, clock: Clock) -> None:
    mark()
    waits = []
    for _ in range(12):
        database.write(sync_queue.postpone, claim(), "away")
        wait = task_of().next_at - app_clock.now()
        waits.append(wait.total_seconds())
        clock.advance(seconds=wait.total_seconds() + 0.01)
    assert 0.5 < waits[0] <= 1.1
    assert waits[-1] <= 60
    assert waits[-1] >= 45
    assert waits[4] > waits[0]


def test_in_a_long_outage_everything_is_tried_once_a_minute(
    context: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_queue, "random", SimpleNamespace(random=lambda: 0.0))
    mark()
    database.write(sync_queue.postpone, claim(), "away")
    clock.advance(hours=2)
    database.write(sync_queue.postpone, claim(), "away")
    assert task_of().next_at - app_clock.now() == timedelta(seconds=60)


def test_what_failed_together_does_not_come_back_at_one_moment(context: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        mark(f"ch_{number}")
    with failing(monkeypatch, OperationalError("SELECT", {}, Exception("the database is away"))):
        assert sync.drain() == 5
    assert len({task_of(f"ch_{number}").next_at for number in range(5)}) > 1


def test_stripe_says_how_long_to_wait(context: Flask) -> None:
    mark()
    database.write(sync_queue.postpone, claim(), "busy", retry_after=17.0)
    wait = (task_of().next_at - app_clock.now()).total_seconds()
    assert 16 < wait <= 17.1


def test_what_fails_alone_for_hours_while_others_come_through_is_given_up(context: Flask, clock: Clock) -> None:
    mark()
    began = app_clock.now()
    while not database.write(sync_queue.postpone, claim(), "500"):
        bring_in_line()
        clock.advance(minutes=16)
    assert app_clock.now() - began >= timedelta(hours=12)
    assert (task_of().state, task_of().attempts) == ("dead", sync_queue.MAX_ATTEMPTS)


def test_what_fails_while_no_other_of_its_kind_comes_through_is_never_counted(context: Flask, clock: Clock) -> None:
    bring_in_line()
    clock.advance(seconds=1)
    mark()
    for _ in range(20):
        database.write(sync_queue.postpone, claim(), "500")
        clock.advance(hours=1)
    assert (task_of().state, task_of().attempts) == ("live", 0)


def test_an_error_of_its_own_is_given_up_after_so_many_attempts(context: Flask, clock: Clock) -> None:
    mark()
    for attempt in range(1, 13):
        assert database.write(sync_queue.fail, claim(), "it is broken") == (attempt == 12)
        clock.advance(hours=1)
    assert database.write(sync_queue.claim_due) is None
    assert database.write(sync_queue.given_up) == 1
    mark()
    assert claim().attempts == 1


def test_own_errors_wait_twice_as_long_each_time(context: Flask, clock: Clock) -> None:
    mark()
    waits = []
    for _ in range(sync_queue.MAX_ATTEMPTS - 1):
        database.write(sync_queue.fail, claim(), "it is broken")
        wait = (task_of().next_at - app_clock.now()).total_seconds()
        waits.append(wait)
        clock.advance(seconds=wait + 0.01)
    for number, wait in enumerate(waits):
        expected = 2**number
        assert 0.79 * expected <= wait <= expected + 0.01


def test_news_during_the_last_attempt_is_not_buried_with_it(context: Flask, clock: Clock) -> None:
    mark()
    for _ in range(sync_queue.MAX_ATTEMPTS - 1):
        database.write(sync_queue.fail, claim(), "it is broken")
        clock.advance(hours=1)
    last = claim()
    mark()
    assert not database.write(sync_queue.fail, last, "it is broken")
    assert claim().dirty == 2


def test_news_that_wiped_the_attempts_leaves_none_to_take_back(context: Flask) -> None:
    mark()
    early = claim()
    mark()
    database.write(sync_queue.postpone, early, "away")
    assert task_of().attempts == 0


def test_an_error_without_end_is_kept_in_part(context: Flask) -> None:
    mark()
    database.write(sync_queue.fail, claim(), "x" * 5000)
    assert task_of().last_error == "x" * 2000


def test_who_lost_the_claim_cannot_put_the_task_back(context: Flask, clock: Clock) -> None:
    mark()
    slow = claim()
    clock.advance(seconds=21)
    fast = claim()
    assert not database.write(sync_queue.fail, slow, "late")
    assert not database.write(sync_queue.postpone, slow, "late")
    assert task_of().leased_until is not None
    assert task_of().last_error is None
    database.write(sync_queue.postpone, fast, "away")
    assert task_of().attempts == 0


def test_two_claims_of_a_hanging_outage_leave_no_attempt_behind(
    context: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark()
    slow = claim()
    clock.advance(seconds=21)
    monkeypatch.setattr(leases, "is_here", lambda _: False)  # the second worker is on another host
    fast = claim()
    assert fast.attempts == 2
    database.write(sync_queue.postpone, slow, "timed out")
    database.write(sync_queue.postpone, fast, "timed out")
    assert task_of().attempts == 0


def test_a_holder_that_lives_and_could_not_put_it_back_is_not_counted(context: Flask, clock: Clock) -> None:
    mark()
    for _ in range(3 * sync_queue.MAX_ATTEMPTS):
        claim()
        clock.advance(seconds=21)
    assert task_of().attempts == 1


def test_a_task_made_anew_does_not_fall_behind_what_is_known(context: Flask) -> None:
    bring_in_line("ch_1")
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stripe_objects SET applied_fence = 40")
    mark()
    assert claim().fence == 41
    assert database.write(sync_queue.claim, "charge", "ch_1").fence == 42


def test_the_worker_turns_to_its_other_chores_although_much_is_due(
    context: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        mark(f"ch_{number}")
    seconds = iter([0.0, 0.0, 4.9, 5.0])
    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with failing(monkeypatch, errors.StripeUnavailable("500")):
        assert sync.drain(seconds=5) == 2
    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=lambda: 0.0))
    with failing(monkeypatch, errors.StripeUnavailable("500")):
        assert sync.drain(limit=1) == 1


# The queue itself ---------------------------------------------------------------------------------------------------


def waits() -> tuple[int, float]:
    db.session.rollback()
    return database.write(sync_queue.waiting), sync_queue.oldest_wait(db.session()).total_seconds()


def test_news_counts_up_and_forgets_what_failed_but_not_since_when(context: Flask, clock: Clock) -> None:
    mark()
    database.write(sync_queue.fail, claim(), "it is broken")
    first = task_of().first_dirty_at
    clock.advance(seconds=0.5)
    mark()
    task = task_of()
    assert (task.dirty, task.clean, task.state, task.attempts, task.fence) == (2, 0, "live", 0, 1)
    assert task.first_dirty_at == first
    assert task.next_at <= app_clock.now()
    assert claim().fence == 2


def test_what_waits_longest_comes_first_and_nothing_before_its_time(context: Flask, clock: Clock) -> None:
    for number in (2, 1, 3):
        mark(f"ch_{number}")
        clock.advance(seconds=0.1)
    later = claim()
    assert later.object_id == "ch_2"
    database.write(sync_queue.fail, later, "it is broken")
    assert [claim().object_id for _ in range(2)] == ["ch_1", "ch_3"]
    assert database.write(sync_queue.claim_due) is None


def test_a_lease_lasts_twenty_seconds(context: Flask, clock: Clock) -> None:
    mark()
    claim()
    clock.advance(seconds=19)
    assert database.write(sync_queue.claim_due) is None
    clock.advance(seconds=1)
    assert claim().fence == 2


def test_what_ends_every_worker_is_buried_with_the_reason(
    context: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "is_here", lambda _: False)
    mark()
    for _ in range(sync_queue.MAX_ATTEMPTS):
        claim()
        clock.advance(seconds=20)
    mark("ch_next")
    assert claim().object_id == "ch_next"
    assert task_of().state == "dead"
    assert "every worker that claimed it ended" in str(task_of().last_error)


def test_an_hour_alone_counts_once(context: Flask, clock: Clock) -> None:
    mark()
    database.write(sync_queue.postpone, claim(), "500")
    bring_in_line()
    counted = []
    for minutes in (59, 1, 59, 1):
        clock.advance(minutes=minutes)
        bring_in_line()
        database.write(sync_queue.postpone, claim(), "500")
        counted.append(task_of().attempts)
    assert counted == [0, 1, 1, 2]


def test_another_that_came_through_when_the_trouble_began_counts(context: Flask, clock: Clock) -> None:
    mark()
    database.write(sync_queue.postpone, claim(), "500")
    bring_in_line()
    clock.advance(hours=1)
    database.write(sync_queue.postpone, claim(), "500")
    assert task_of().attempts == 1


def test_done_forgets_all_that_failed_and_touches_no_other(context: Flask, clock: Clock) -> None:
    for name in ("ch_1", "ch_2"):
        mark(name)
        database.write(sync_queue.postpone, claim(), "away")
    other = task_of("ch_2").failing_since
    clock.advance(seconds=2)
    done = claim()
    database.write(sync_queue.complete, done)
    task = task_of(done.object_id)
    assert (task.clean, task.attempts, task.last_error, task.failing_since) == (1, 0, None, None)
    assert (task.leased_until, task.leased_by, task.first_dirty_at) == (None, None, None)
    left = task_of("ch_2" if done.object_id == "ch_1" else "ch_1")
    assert (left.clean, left.last_error) == (0, "away")
    assert left.first_dirty_at is not None
    assert left.failing_since is not None
    assert other is not None


def test_news_during_the_fetch_stays_to_be_done(context: Flask) -> None:
    mark()
    early = claim()
    mark()
    database.write(sync_queue.complete, early)
    task = task_of()
    assert (task.dirty, task.clean) == (2, 1)
    assert task.first_dirty_at is not None
    assert task.leased_until is None
    assert claim().dirty == 2


def test_who_lost_the_claim_covers_what_it_read_and_leaves_the_lease_to_its_holder(
    context: Flask, clock: Clock
) -> None:
    mark()
    slow = claim()
    mark()
    clock.advance(seconds=21)
    fast = claim()
    database.write(sync_queue.complete, slow)
    assert (task_of().clean, task_of().leased_until is None) == (1, False)
    database.write(sync_queue.complete, fast)
    database.write(sync_queue.complete, slow)
    assert (task_of().clean, task_of().leased_until) == (2, None)


def test_who_is_done_too_late_makes_no_later_failure_forgotten(context: Flask, clock: Clock) -> None:
    mark()
    slow = claim()
    clock.advance(seconds=21)
    database.write(sync_queue.complete, claim())
    mark()
    database.write(sync_queue.fail, claim(), "it is broken")
    database.write(sync_queue.complete, slow)
    assert (task_of().attempts, task_of().last_error) == (1, "it is broken")


def test_a_page_claims_what_nobody_marked_and_covers_what_was_marked_meanwhile(context: Flask) -> None:
    assert database.write(sync_queue.claim, "charge", "ch_1").dirty == 1

    def look_and_claim(session: Session) -> Claim:
        seen = session.get_one(SyncTask, ("charge", "ch_1"))  # and kept: the session knows it as it was
        sync_queue.mark_dirty(session, "charge", "ch_1")
        claimed = sync_queue.claim(session, "charge", "ch_1")
        assert seen.fence == claimed.fence
        return claimed

    assert database.write(look_and_claim).dirty == 3


def test_two_workers_at_the_same_moment_claim_two_objects(context: Flask) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("on SQLite only one writes at a time")
    for number in (1, 2):
        mark(f"ch_{number}")
    with Session(db.engine) as one, Session(db.engine) as other:
        claims = [sync_queue.claim_due(session) for session in (one, other)]
    assert {claimed.object_id for claimed in claims if claimed} == {"ch_1", "ch_2"}


def test_what_waits_is_counted_and_timed(context: Flask, clock: Clock) -> None:
    assert waits() == (0, 0.0)
    mark()
    clock.advance(seconds=90)
    mark("ch_2")
    count, seconds = waits()
    assert count == 2
    assert 90 <= seconds < 95
    first = claim()
    database.write(sync_queue.complete, first)
    count, seconds = waits()
    assert count == 1
    assert seconds < 5 if first.object_id == "ch_1" else seconds >= 90


def test_what_was_given_up_is_told_apart_and_lives_again_all_at_once(context: Flask, clock: Clock) -> None:
    for name in ("ch_1", "ch_2"):
        mark(name)
    for _ in range(sync_queue.MAX_ATTEMPTS):
        for _ in range(2):
            database.write(sync_queue.fail, claim(), "it is broken")
        clock.advance(hours=1)
    assert (waits()[0], database.write(sync_queue.given_up)) == (0, 2)
    assert waits()[1] == 0
    database.write(sync_queue.revive_all)
    assert (waits()[0], database.write(sync_queue.given_up)) == (2, 0)
    assert database.write(sync_queue.kind_of, "ch_1") == "charge"
    assert database.write(sync_queue.kind_of, "ch_9") is None


def test_the_first_ticket_is_the_first(context: Flask) -> None:
    mark()
    assert claim().fence == 1


# Who holds a lease --------------------------------------------------------------------------------------------------


def test_this_process_is_here_and_not_gone() -> None:
    name = leases.holder()
    assert leases.is_here(name)
    assert not leases.is_gone(name)
    assert len(name) <= 100


def test_a_process_that_ended_is_gone() -> None:
    command = "from billing import leases; print(leases.holder())"
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert leases.is_gone(ended.stdout.strip())
    assert not leases.is_here(ended.stdout.strip())


def test_a_process_began_when_the_system_says() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        began = leases._started(child.pid)
        assert began is not None
        assert before - 1 <= began / os.sysconf("SC_CLK_TCK") <= before + 60
    finally:
        child.communicate(b"\n")


def test_a_process_with_the_same_number_that_started_later_is_another_one() -> None:
    name, _, started = leases.holder().rpartition("/")
    assert leases.is_gone(f"{name}/{int(started) - 1}")


@pytest.mark.parametrize("name", ["", "web-1:42", "web-1:42:deadbeef/77", "web-1:x:deadbeef/y"])
def test_nobody_else_is_called_gone(name: str) -> None:
    assert not leases.is_gone(name)
    assert not leases.is_here(name)


def test_without_proc_leases_merely_run_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leases, "PROC", tmp_path)
    name = leases.holder()
    assert not leases.is_gone(name)
    assert not leases.is_here(name)


def test_a_process_that_is_dead_and_not_buried_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert leases._started(child.pid) is None
    finally:
        child.wait()


def test_the_work_of_a_dead_process_is_taken_over_at_once(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    name, _, started = leases.holder().rpartition("/")
    with app.app_context():
        with monkeypatch.context() as patch:
            patch.setattr(leases, "holder", lambda: f"{name}/{int(started) - 1}")
            for _ in range(database.write(sync_queue.waiting)):
                claim()
        sync.drain()
    assert ann.balance_of("purchase") == 12


def test_the_lease_of_the_living_is_left_to_them(context: Flask) -> None:
    mark()
    claim()
    assert database.write(sync_queue.free_leases_of_the_dead) == 0
    assert database.write(sync_queue.claim_due) is None
