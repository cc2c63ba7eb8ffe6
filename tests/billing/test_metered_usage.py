"""Usage beyond the plan: counted with the work, told to Stripe once, billed with the renewal."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

import clock as app_clock
import database
from billing import (
    access,
    doctor,
    errors,
    limits,
    metered_items,
    stripe_usage,
    sync,
    usage,
    usage_reports,
    usage_standing,
)
from billing.errors import LimitReached, UsageCapReached
from billing.usage_models import UsageRecord, UsageReport
from billing.usage_standing import Standing
from extensions import db
from mail import outbox, preparing, rendering
from mail.models import Email
from mail.preparing import Prepared
from projects import shelf
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

ORDERS = pytest.mark.parametrize("order", ["as_is", "reversed"])


def subscriber(
    shop: Stripe,
    clock: Clock,
    price_key: str = "pro_monthly",
    email: str = "ann@example.com",
    card: str = "4242424242424242",
) -> Person:
    """Sign somebody up, buy a plan, and let its trial pass; a card has one trial."""
    ann = sign_up(shop.app, email)
    shop.pay(ann.checkout(price_key), card)
    settle(shop)
    clock.advance(days=14, hours=2)
    settle(shop)
    log_in_again(ann)
    return ann


def settle(shop: Stripe, order: str = "as_is") -> None:
    shop.settle(order=order)
    shop.inside(metered_items.add_missing)
    shop.settle(order=order)


def use(ann: Person, quantity: int, key: str = "") -> usage.Recorded:
    with ann.app.app_context():
        return database.write(usage.record, ann.account_id, "events", quantity, key=key or f"{app_clock.now()}")


def standing(ann: Person) -> Standing:
    with ann.app.app_context():
        return usage_standing.standing(db.session(), ann.account_id, "events")


def flush(shop: Stripe, clock: Clock) -> int:
    clock.advance(minutes=1)
    return int(shop.inside(usage_reports.flush_due))


def reports(shop: Stripe) -> list[UsageReport]:
    with shop.app.app_context():
        return list(db.session.scalars(select(UsageReport).order_by(UsageReport.id)))


def meter_events(shop: Stripe) -> list[int]:
    with shop.sandbox.world() as world:
        return [int(event["_value"]) for event in world.select("billing.meter_event", ascending=True)]


def renewal(shop: Stripe, ann: Person) -> Any:
    """Return the newest invoice of the subscription."""
    with shop.app.app_context():
        mine = access.subscription_of(db.session(), ann.account_id)
        assert mine is not None
        stripe_id = mine.stripe_id
    return shop.api.v1.invoices.list({"subscription": stripe_id, "limit": 1}).data[0]


def to_period_end(clock: Clock, ann: Person, *, less: timedelta = timedelta(0)) -> None:
    clock.advance(seconds=(standing(ann).ends_at - less - app_clock.now()).total_seconds())


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_what_goes_beyond_the_plan_is_billed_with_the_renewal(shop: Stripe, clock: Clock, order: str) -> None:
    ann = subscriber(shop, clock)
    use(ann, 100_000)
    use(ann, 2_500)
    assert (standing(ann).used, standing(ann).over, standing(ann).amount_cents) == (102_500, 2_500, 125)
    assert flush(shop, clock) == 1
    assert meter_events(shop) == [102_500]
    to_period_end(clock, ann)
    clock.advance(hours=2)
    shop.settle(order=order, times=2, seed=7)
    invoice = renewal(shop, ann)
    assert sorted(line.amount for line in invoice.lines.data) == [125, 4900]
    assert (invoice.status, invoice.amount_paid) == ("paid", 5025)
    assert standing(ann).used == 0
    assert ann.balance_of("plan") == 200  # two months of 100: the line of usage brings no credits


@ORDERS
def test_a_yearly_plan_pays_for_use_by_the_month(shop: Stripe, clock: Clock, order: str) -> None:
    ann = subscriber(shop, clock, "enterprise_yearly")
    assert standing(ann).has_overage
    assert standing(ann).ends_at - standing(ann).starts_at < timedelta(days=32)
    use(ann, 1_010_000)
    flush(shop, clock)
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop, order)
    invoice = renewal(shop, ann)
    assert [line.amount for line in invoice.lines.data] == [300]
    assert (invoice.status, invoice.amount_paid) == ("paid", 300)
    assert standing(ann).used == 0


def test_the_same_key_counts_once_and_another_quantity_is_refused(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    assert not use(ann, 7, "job-1").is_replay
    assert use(ann, 7, "job-1").is_replay
    with pytest.raises(usage.UsageKeyUsedBefore):
        use(ann, 8, "job-1")
    assert standing(ann).used == 7


def test_work_that_is_undone_is_not_counted(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)

    def fail(session: Any) -> None:
        usage.record(session, ann.account_id, "events", 5, key="undone")
        raise RuntimeError("the work failed")

    with shop.app.app_context(), pytest.raises(RuntimeError):
        database.write(fail)
    assert standing(ann).used == 0
    assert flush(shop, clock) == 0


def test_a_plan_without_a_price_by_use_ends_at_its_limit(shop: Stripe, clock: Clock) -> None:
    free = sign_up(shop.app, "free@example.com")
    use(free, 1_000)
    with pytest.raises(LimitReached) as refused:
        use(free, 1)
    assert (refused.value.used, refused.value.allowed) == (1_000, 1_000)
    starter = subscriber(shop, clock, "starter_monthly", "bob@example.com")
    use(starter, 10_000)
    with pytest.raises(LimitReached):
        use(starter, 1)
    assert flush(shop, clock) == 0
    assert meter_events(shop) == []


def test_a_trial_ends_at_what_is_included(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("pro_monthly"))
    settle(shop)
    use(ann, 100_000)
    with pytest.raises(LimitReached):
        use(ann, 1)


def test_the_cap_holds_to_the_cent_and_changes_at_once(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    cap(ann, 0)
    use(ann, 100_000)
    with pytest.raises(UsageCapReached):
        use(ann, 1)
    cap(ann, 101)  # 50 cents per 1,000: 2,020 units
    with pytest.raises(UsageCapReached):
        use(ann, 2_021)
    use(ann, 2_020)
    assert standing(ann).amount_cents == 101
    with pytest.raises(UsageCapReached):
        use(ann, 1)
    cap(ann, None)
    use(ann, 1_000_000)


def cap(ann: Person, cents: int | None) -> None:
    with ann.app.app_context():
        database.write(usage.set_cap, ann.account_id, "events", cents)


# What can go wrong between us and Stripe --------------------------------------------------------------------------


def lose_the_stamp(shop: Stripe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die between the sending of a report and its stamp."""

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(usage_reports, "_stamp", die)
        with shop.app.app_context(), pytest.raises(KeyboardInterrupt):
            usage_reports.flush_due()


@pytest.mark.parametrize("later", [timedelta(minutes=1), timedelta(hours=20), timedelta(hours=25), timedelta(days=3)])
def test_a_report_whose_stamp_was_lost_counts_once(
    shop: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch, later: timedelta
) -> None:
    ann = subscriber(shop, clock)
    use(ann, 1_234)
    clock.advance(minutes=1)
    lose_the_stamp(shop, monkeypatch)
    assert meter_events(shop) == [1_234]
    if later < timedelta(hours=24):  # after a day Stripe would take it a second time
        shop.expect_violation("already exists with identifier")
    clock.advance(seconds=later.total_seconds())
    assert shop.inside(usage_reports.flush_due) == 1
    assert meter_events(shop) == [1_234]
    assert not differ(shop, clock, ann)


def differ(shop: Stripe, clock: Clock, ann: Person) -> list[usage_reports.Difference]:
    clock.advance(minutes=11)
    with shop.app.app_context():
        return usage_reports.differences(db.session(), ann.account_id, "events")


def test_a_report_that_never_arrived_is_sent_again_after_more_than_a_day(
    shop: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = subscriber(shop, clock)
    use(ann, 500)
    clock.advance(minutes=1)
    monkeypatch.setattr(stripe_usage, "report_usage", raising(errors.StripeUnavailable("away")))
    assert shop.inside(usage_reports.flush_due) == 0
    monkeypatch.undo()
    clock.advance(days=2)
    assert shop.inside(usage_reports.flush_due) == 1
    assert meter_events(shop) == [500]
    assert not differ(shop, clock, ann)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_what_is_told_in_the_draft_s_hour_is_on_its_invoice(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    to_period_end(clock, ann, less=timedelta(seconds=30))
    use(ann, 101_000)
    clock.advance(minutes=20)
    assert shop.inside(usage_reports.flush_due) == 1
    clock.advance(hours=2)
    settle(shop)
    assert renewal(shop, ann).amount_paid == 4950
    assert standing(ann).used == 0


@ORDERS
def test_what_is_told_after_the_invoice_is_billed_with_the_next(shop: Stripe, clock: Clock, order: str) -> None:
    ann = subscriber(shop, clock)
    to_period_end(clock, ann, less=timedelta(seconds=30))
    use(ann, 101_000)
    clock.advance(hours=3)
    settle(shop, order)
    assert renewal(shop, ann).amount_paid == 4900
    assert shop.inside(usage_reports.flush_due) == 1
    assert (standing(ann).used, standing(ann).carried) == (101_000, 101_000)
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop, order)
    assert renewal(shop, ann).amount_paid == 4950
    assert meter_events(shop) == [101_000]


def test_a_report_sent_before_the_invoice_and_not_stamped_keeps_its_period(
    shop: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = subscriber(shop, clock)
    to_period_end(clock, ann, less=timedelta(minutes=2))
    use(ann, 101_000)
    clock.advance(minutes=1, seconds=30)
    lose_the_stamp(shop, monkeypatch)
    shop.expect_violation("already exists with identifier")
    clock.advance(hours=3)
    settle(shop)
    assert shop.inside(usage_reports.flush_due) == 1
    assert meter_events(shop) == [101_000]
    assert renewal(shop, ann).amount_paid == 4950


def test_work_carried_over_never_passes_the_cap(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    to_period_end(clock, ann, less=timedelta(seconds=30))
    use(ann, 101_000)
    clock.advance(hours=3)
    settle(shop)
    cap(ann, 0)
    assert shop.inside(usage_reports.flush_due) == 0
    assert [report.lost_at is not None for report in reports(shop)] == [True]
    assert standing(ann).used == 0


@ORDERS
def test_the_last_use_before_an_end_is_billed_by_the_last_invoice(shop: Stripe, clock: Clock, order: str) -> None:
    ann = subscriber(shop, clock)
    with shop.app.app_context():
        stripe_id = access.subscription_of(db.session(), ann.account_id).stripe_id  # type: ignore[union-attr]
    shop.api.v1.subscriptions.update(stripe_id, {"cancel_at_period_end": True})
    to_period_end(clock, ann, less=timedelta(seconds=30))
    use(ann, 102_000)
    clock.advance(minutes=5)
    settle(shop, order)
    assert shop.inside(usage_reports.flush_due) == 1
    clock.advance(hours=2)
    last = shop.api.v1.invoices.list({"subscription": stripe_id, "limit": 1}).data[0]
    assert (last.status, last.amount_paid) == ("paid", 100)


def test_a_record_lost_by_hand_shows_as_a_difference(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 300)
    flush(shop, clock)
    assert not differ(shop, clock, ann)
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(quantity=299)))
        assert list(usage_reports.mismatches(db.session()))
    (found,) = differ(shop, clock, ann)
    assert (found.reported, found.counted) == (299, 300)


def test_a_minute_reports_once_and_late_work_waits_for_the_next(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 1, "a")
    shop.inside(usage_reports.flush_account, ann.account_id)
    use(ann, 2, "b")
    shop.inside(usage_reports.flush_account, ann.account_id)
    assert meter_events(shop) == [1]
    flush(shop, clock)
    flush(shop, clock)
    assert meter_events(shop) == [1, 2]
    assert len({report.minute for report in reports(shop)}) == 2
    with shop.app.app_context():
        assert all(row.report_id for row in db.session.scalars(select(UsageRecord)))


@ORDERS
def test_a_change_of_plan_bills_what_was_used_by_the_old_one(shop: Stripe, clock: Clock, order: str) -> None:
    from billing import plan_changes

    ann = subscriber(shop, clock)
    clock.advance(days=5)
    use(ann, 103_000)
    clock.advance(seconds=5)
    with shop.app.app_context():
        mine = access.subscription_of(db.session(), ann.account_id)
        assert mine is not None
        choice = plan_changes.choose(db.session(), mine, "enterprise_monthly")
        quote = plan_changes.quote(db.session(), mine, choice)
        assert quote.used_cents == 150
        outcome = plan_changes.confirm(quote, key="up")
        sync.run_now("subscription", quote.stripe_subscription_id)
    invoice = shop.api.v1.invoices.retrieve(str(outcome.stripe_invoice_id))
    assert (invoice.amount_due, invoice.status) == (quote.due_cents, "paid")
    settle(shop, order)
    now = standing(ann)
    assert (now.included, now.used) == (1_000_000, 0)
    use(ann, 1_001_000)
    flush(shop, clock)
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop, order)
    assert sorted(line.amount for line in renewal(shop, ann).lines.data) == [30, 19900]


@ORDERS
def test_a_smaller_plan_begins_without_what_it_does_not_have(shop: Stripe, clock: Clock, order: str) -> None:
    from billing import plan_changes

    ann = subscriber(shop, clock, "enterprise_monthly")
    use(ann, 1_100_000)
    flush(shop, clock)
    with shop.app.app_context():
        mine = access.subscription_of(db.session(), ann.account_id)
        assert mine is not None
        choice = plan_changes.choose(db.session(), mine, "pro_monthly")
        plan_changes.confirm(plan_changes.quote(db.session(), mine, choice), key="down")
    settle(shop, order)
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop, order)
    assert sorted(line.amount for line in renewal(shop, ann).lines.data if line.amount) == [3000, 4900]
    now = standing(ann)
    assert (now.plan.key, now.included, now.used) == ("pro", 100_000, 0)


# Many at once, and what the doctor sees --------------------------------------------------------------------------


def at_once(shop: Stripe, work: Callable[[int], Any], count: int = 8) -> int:
    """Do the same in several threads at the same moment; return how many were let through."""
    start = threading.Barrier(count)

    def run(number: int) -> bool:
        with shop.app.app_context():
            start.wait()
            try:
                work(number)
            except LimitReached:
                return False
            return True

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(run, range(count)))


def test_the_last_unit_under_the_cap_goes_to_one_of_many(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    cap(ann, 50)  # 1,000 beyond
    use(ann, 100_400)
    let_in = at_once(shop, lambda n: database.write(usage.record, ann.account_id, "events", 200, key=f"rival-{n}"))
    assert let_in == 3
    assert (standing(ann).used, standing(ann).amount_cents) == (101_000, 50)


def test_several_workers_report_each_use_once(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    bob = subscriber(shop, clock, "enterprise_monthly", "bob@example.com", "5555555555554444")
    for person, quantity in ((ann, 11), (bob, 13)):
        use(person, quantity)
    clock.advance(minutes=1)
    at_once(shop, lambda _: usage_reports.flush_due(), count=4)
    assert sorted(meter_events(shop)) == [11, 13]
    assert [report.flushed_at is not None for report in reports(shop)] == [True, True]


def test_the_last_project_goes_to_one_of_many(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    let_in = at_once(shop, lambda n: database.write(shelf.make, ann.account_id, f"Project {n}", key=f"rival-{n}"))
    assert let_in == 1
    with shop.app.app_context():
        assert limits.room(db.session(), ann.account_id, "projects") == limits.Room("projects", used=1, allowed=1)


def test_the_mails_at_80_percent_and_at_all_of_it_come_once_per_period(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 79_999)
    assert warnings(shop) == []
    use(ann, 1)
    use(ann, 1)
    use(ann, 19_999)
    use(ann, 50_000)
    assert warnings(shop) == [80, 100]
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop)
    use(ann, 100_000)
    assert warnings(shop) == [80, 100, 100]
    shop.inside(outbox.send_due)
    with shop.app.app_context():
        mails = db.session.scalars(select(Email).where(Email.template == "usage_warning").order_by(Email.id)).all()
        assert [mail.status for mail in mails] == ["cancelled", "cancelled", "kept"]
        shown = preparing.prepare(
            db.session(), Prepared("usage_warning", "a@example.com", json.loads(mails[-1].context))
        )
        words = rendering.part(shown, "body.txt", shown.context | {"app_name": "Tollgate"})
    assert "You have used 100,000 of the 100,000 events that Pro includes" in words
    assert "$0.50 for 1,000. You have set no cap." in words


def warnings(shop: Stripe) -> list[int]:
    with shop.app.app_context():
        mails = db.session.scalars(select(Email).where(Email.template == "usage_warning").order_by(Email.id))
        return [json.loads(mail.context)["percent"] for mail in mails]


def test_the_doctor_finds_use_that_waits_is_lost_or_does_not_add_up(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    use(ann, 300)
    flush(shop, clock)
    clock.advance(minutes=20)
    assert all(not found for _, found in examine(shop))
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(quantity=299)))
    ill = {check.name for check, found in examine(shop) if found}
    assert ill == {"reports are the sum of their records", "Stripe counts the same use"}
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(quantity=300, flushed_at=None)))
    assert "use is reported" in {check.name for check, found in examine(shop) if found}
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(UsageReport).values(lost_at=app_clock.now())))
    assert "use is reported" in {check.name for check, found in examine(shop) if found}


def examine(shop: Stripe) -> list[tuple[doctor.Check, list[doctor.Finding]]]:
    names = {"use is reported", "reports are the sum of their records", "Stripe counts the same use"}
    with shop.app.app_context():
        return [row for row in doctor.examine(db.session()) if row[0].name in names]
