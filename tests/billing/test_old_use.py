"""Old use is folded into sums by the day: every unit stays in exactly one place, and nobody's page or bill changes."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

import clock as app_clock
import database
import failpoints
from billing import usage_retention
from billing.usage_models import UsageDay, UsageRecord, UsageReport
from extensions import db
from jobs import worker
from tests.billing.test_metered_usage import examine, flush, reports, standing, subscriber, use
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe


def age(shop: Stripe, months: int) -> None:
    """Let all use be so many months older; a month has 31 days here."""

    def back(session: Session) -> None:
        by = timedelta(days=31 * months)
        for record in session.scalars(select(UsageRecord)):
            record.at -= by
        for report in session.scalars(select(UsageReport)):
            report.at, report.minute = report.at - by, report.minute - int(by.total_seconds()) // 60

    shop.inside(database.write, back)


def days(person: Person) -> list[tuple[date, bool, int, int]]:
    with person.app.app_context():
        query = select(UsageDay).where(UsageDay.account_id == person.account_id).order_by(UsageDay.used_on)
        return [(day.used_on, day.is_billed, day.quantity, day.records) for day in db.session.scalars(query)]


def in_all(person: Person) -> int:
    with person.app.app_context():
        return usage_retention.used_in_all(db.session(), person.account_id, "events")


def sweep(shop: Stripe, limit: int = 100) -> int:
    return int(shop.inside(database.write, usage_retention.sweep, limit))


def test_what_is_old_and_told_becomes_one_sum_a_day(shop: Stripe, clock: Clock) -> None:
    ann, free = subscriber(shop, clock), sign_up(shop.app, "free@example.com")
    for quantity in (1, 2, 3):
        use(ann, quantity)
        flush(shop, clock)
    use(free, 40)
    day = app_clock.now().date() - timedelta(days=31 * 14)
    age(shop, 14)
    use(ann, 500)
    flush(shop, clock)
    use(ann, 70)  # not told yet
    used = standing(ann).used
    with shop.app.app_context():
        assert worker.run_once() > 0
    while sweep(shop):
        pass
    assert days(ann) == [(day, True, 6, 3)]
    assert days(free) == [(day, False, 40, 1)]
    assert [report.quantity for report in reports(shop)] == [500]
    assert (in_all(ann), in_all(free), standing(ann).used) == (576, 40, used)
    assert all(not found for _, found in examine(shop))


def test_what_stripe_has_not_heard_of_stays_however_old_it_is(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 7)
    flush(shop, clock)
    age(shop, 14)
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(flushed_at=None)))
    assert sweep(shop) == 0
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(lost_at=app_clock.now())))
    assert sweep(shop) == 1
    assert in_all(ann) == 7


def test_a_record_is_kept_for_as_long_as_the_policy_says_and_a_sweep_is_all_or_nothing(
    shop: Stripe, clock: Clock
) -> None:
    ann = subscriber(shop, clock)
    use(ann, 7, "job-1")
    flush(shop, clock)
    age(shop, 11)
    assert sweep(shop) == 0
    assert use(ann, 7, "job-1").is_replay
    age(shop, 2)

    def end(name: str) -> None:
        if name == "usage.swept":
            raise RuntimeError("killed")

    failpoints.listen(end)
    try:
        with pytest.raises(RuntimeError):
            sweep(shop)
    finally:
        failpoints.listen(None)
    assert (days(ann), in_all(ann)) == ([], 7)
    assert sweep(shop) == 1
    assert in_all(ann) == 7
    assert not use(ann, 7, "job-1").is_replay
