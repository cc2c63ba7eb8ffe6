"""R20: the database goes away, the worker stops, clocks go wrong, and the calendar has its odd days.

    python -m proofs.outages --seconds 10 --anchors 40 --database postgresql

- The database is away while webhooks arrive: on PostgreSQL it accepts no connections and ends those there are, on
  SQLite somebody else holds it. Every delivery is answered with 200 or 503, and those with 503, delivered again, leave
  nothing behind: at rest everything is what Stripe's objects say (proofs/stripe_oracle.py).
- The worker stops for five minutes: `/healthz/worker` turns red within 60 s, whether anything waits for it or not,
  `/readyz` stays green, and all is green again when it is back.
- Webhooks whose sender's clock is four minutes off either way are taken; six minutes old ones are not.
- People sign up, and buy yearly plans, at the ends of months, of February in common and leap years, of the year, and
  when clocks are changed in Europe and America. For fifteen months every allowance is granted at its second and not
  one second earlier, and expires when the next one begins, plus the grace. The oracle works the days out by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
from billing import catalog, pulse, sync, sync_queue
from billing.models import PlanGrant, StripeEvent, TrialUse
from extensions import db
from jobs import worker
from ledger.models import Bucket
from proofs.customers import CARD
from proofs.registry import Outcome, main, proof
from proofs.shop import ENDPOINT, Shop, open_shop
from proofs.throwaway import WEBHOOK_SECRET, Laboratory
from tests.databases import SqliteFile

BAR_SECONDS = 60
STOPPED_SECONDS = 300
MONTHS = 15
LATER = timedelta(hours=2)
# By their first second: the ends of long and short months, leap days, turns of years, changes of clocks.
ANCHORS = (
    *("2026-03-29T00:59:59", "2026-03-29T01:00:00", "2026-03-29T02:30:00", "2026-03-30T12:00:00"),
    *("2026-03-31T23:59:59", "2026-04-30T00:00:00", "2026-05-30T06:00:00", "2026-05-31T06:00:00"),
    *("2026-06-30T23:59:59", "2026-07-31T00:00:00", "2026-08-29T10:00:00", "2026-08-30T10:00:00"),
    *("2026-08-31T10:00:00", "2026-09-30T17:00:00", "2026-10-25T00:30:00", "2026-10-25T01:00:00"),
    *("2026-10-25T01:30:00", "2026-10-31T22:00:00", "2026-11-01T05:30:00", "2026-11-01T06:00:00"),
    *("2026-11-30T00:00:00", "2026-12-28T12:00:00", "2026-12-29T12:00:00", "2026-12-30T12:00:00"),
    *("2026-12-31T00:00:00", "2026-12-31T23:59:59", "2027-01-01T00:00:00", "2027-01-28T08:00:00"),
    *("2027-01-29T08:00:00", "2027-01-30T08:00:00", "2027-01-31T08:00:00", "2027-02-28T23:59:59"),
    *("2027-03-14T09:59:59", "2027-03-14T10:00:00", "2027-12-31T23:59:59", "2028-01-29T08:00:00"),
    *("2028-01-30T08:00:00", "2028-01-31T08:00:00", "2028-02-28T08:00:00", "2028-02-29T08:00:00"),
)


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    tried: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@proof(
    "R20",
    "wrong after outages and odd days",
    passes="200 or 503 and nothing lost, red within 60 s, 0 wrong allowances or expiries",
    quick={"seconds": 2, "anchors": 6},
    whole={"seconds": 10, "anchors": len(ANCHORS)},
)
def measure(engine: str, *, seed: int, seconds: int, anchors: int) -> Outcome:
    """Take the database away for so many seconds, stop the worker, set clocks wrong, and live through odd days."""
    tally = Tally()
    with open_shop(engine, seed) as shop:
        _database_away(shop, tally, seconds)
        _worker_stopped(shop, tally)
        _clocks_off(shop, tally)
    with open_shop(engine, seed, settings={"CATALOG": "projects"}) as shop:
        _odd_days(shop, tally, ANCHORS[:: max(1, len(ANCHORS) // anchors)][:anchors])
    return Outcome(tally.tried, tally.problems, "; ".join(tally.notes))


# The database ---------------------------------------------------------------------------------------------------------


def _database_away(shop: Shop, tally: Tally, seconds: int) -> None:
    shop.crowd.join(5)
    for _ in range(60):
        shop.crowd.act()
    shop.postman.collect()
    answers: list[int | None] = []
    original = shop.postman.post

    def post(headers: dict[str, str], body: bytes) -> int | None:
        answers.append(original(headers, body))
        return answers[-1]

    shop.postman.post = post
    shop.postman.deliver_some(5)
    with _away(shop.place, seconds) as is_over:
        while not is_over.is_set():
            shop.postman.deliver_some(1)
            time.sleep(0.02)
    for _ in range(20):
        shop.postman.deliver_some(len(shop.postman.bag))
    if shop.postman.bag:
        tally.problems.append(f"{len(shop.postman.bag)} webhooks are refused for ever")
    strange = {answer for answer in answers if answer not in {200, 503}}
    tally.problems += [f"a webhook was answered with {answer} while the database was away" for answer in strange]
    sync.drain()
    tally.problems += [f"after the database was away: {problem}" for problem in shop.judge().problems]
    tally.tried += len(answers)
    tally.notes.append(f"{len(answers)} webhooks around an outage of {seconds} s, {answers.count(503)} of them put off")


@contextmanager
def _away(place: Laboratory, seconds: int) -> Iterator[threading.Event]:
    """Take the database away for so long, in the wall's time; the event is set when it is back."""
    is_over = threading.Event()
    keeper = threading.Thread(target=_keep_away, args=(place.place, seconds, is_over))
    keeper.start()
    try:
        yield is_over
    finally:
        keeper.join()


def _keep_away(place: object, seconds: int, is_over: threading.Event) -> None:
    if isinstance(place, SqliteFile):
        holder = sqlite3.connect(place.path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        holder.execute("ROLLBACK")
        holder.close()
    else:
        place._on_server(f'ALTER DATABASE "{place.name}" ALLOW_CONNECTIONS false')  # type: ignore[attr-defined]
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{place.name}'"  # type: ignore[attr-defined]  # noqa: S608 - our own name
        place._on_server(ended)  # type: ignore[attr-defined]
        time.sleep(seconds)
        place._on_server(f'ALTER DATABASE "{place.name}" ALLOW_CONNECTIONS true')  # type: ignore[attr-defined]
    is_over.set()


# The worker -----------------------------------------------------------------------------------------------------------


def _worker_stopped(shop: Shop, tally: Tally) -> None:
    for is_waiting in (False, True):
        database.write(pulse.note, pulse.WORKER)
        if is_waiting:
            database.write(sync_queue.mark_dirty, "subscription", "sub_waits")
        red_after = None
        for second in range(0, STOPPED_SECONDS, 5):
            if red_after is None and _status(shop, "/healthz/worker") == 503:
                red_after = second
            if _status(shop, "/readyz") != 200:
                tally.problems.append("the site was taken out of service because its worker stopped")
            shop.advance(5)
        if red_after is None or red_after > BAR_SECONDS:
            tally.problems.append(f"a stopped worker was noticed after {red_after} s")
        tally.tried += 1
        tally.notes.append(f"a stopped worker noticed after {red_after} s")
        database.write(pulse.note, pulse.WORKER)
        if not is_waiting and _status(shop, "/healthz/worker") != 200:
            tally.problems.append("a worker that is back is not noticed")


def _status(shop: Shop, path: str) -> int:
    base_url = shop.place.app.config["TOLLGATE"].app_base_url
    return shop.place.app.test_client().get(path, base_url=base_url).status_code


# The sender's clock ---------------------------------------------------------------------------------------------------


def _clocks_off(shop: Shop, tally: Tally) -> None:
    for minutes, wanted in ((-4, 200), (0, 200), (4, 200), (-6, 400)):
        for number in range(10):
            event = {
                "id": f"evt_skewed_{minutes + 10}_{number}",
                "object": "event",
                "type": "customer.subscription.updated",
                "created": int(time.time()),
                "livemode": False,
                "data": {"object": {"id": "sub_waits", "object": "subscription"}},
            }
            answer = _post(shop, json.dumps(event).encode(), int(time.time()) + 60 * minutes)
            tally.tried += 1
            with Session(db.engine) as session:
                is_stored = session.get(StripeEvent, event["id"]) is not None
            if answer != wanted or is_stored != (wanted == 200):
                tally.problems.append(f"a webhook {minutes} minutes off was answered with {answer}")


def _post(shop: Shop, body: bytes, at: int) -> int:
    mac = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    base_url = shop.place.app.config["TOLLGATE"].app_base_url
    headers = {"Stripe-Signature": f"t={at},v1={mac}"}
    return shop.place.app.test_client().post(ENDPOINT, data=body, headers=headers, base_url=base_url).status_code


# The calendar ---------------------------------------------------------------------------------------------------------


@dataclass
class Person:
    """Somebody who came at an odd moment; every other one buys a yearly plan at once."""

    account_id: int
    came_at: datetime
    has_plan: bool


def _odd_days(shop: Shop, tally: Tally, anchors: tuple[str, ...]) -> None:
    """Let people come at their moments and live through their months, all of them in one calendar."""
    moments = sorted(datetime.fromisoformat(anchor).replace(tzinfo=UTC) for anchor in anchors)
    due = sorted(
        (begin, number) for number, at in enumerate(moments) for begin in _begins(at, has_plan=number % 2 == 1)
    )
    # An invoice of a renewal is a draft for an hour.
    due = sorted([*due, *((_month_later(at, 12) + LATER, number) for number, at in enumerate(moments) if number % 2)])
    persons: dict[int, Person] = {}
    shop.sandbox.clock.freeze((moments[0] - timedelta(seconds=1)).timestamp())
    for at, number in due:
        shop.advance(max(0.0, at.timestamp() - 1 - clock.now().timestamp()))
        _let_worker_grant()
        before = _granted(persons[number]) if number in persons else []
        if any(grant.starts_at > clock.now() for grant, _ in before):
            tally.problems.append(f"granted before {at}")
        shop.advance(max(0.0, at.timestamp() - clock.now().timestamp()))
        if number not in persons:
            persons[number] = _come(shop, at, has_plan=number % 2 == 1)
        _settle(shop)
        _let_worker_grant()
        tally.tried += 1
    grace = timedelta(hours=catalog.current().policies.plan_credit_grace_hours)
    for person in persons.values():
        tally.problems += _wrong_months(person, grace)
    tally.notes.append(f"{len(due)} months of {len(persons)} people at odd moments")


def _come(shop: Shop, at: datetime, *, has_plan: bool) -> Person:
    shop.crowd.join(1)
    person = Person(shop.crowd.accounts[-1], at, has_plan)
    if has_plan:
        database.write(_had_trial, person.account_id)
        shop.crowd.buy(person.account_id, "starter_yearly", CARD)
    return person


def _had_trial(session: Session, account_id: int) -> None:
    values = {"account_id": account_id, "stripe_subscription_id": "sub_before", "used_at": clock.now()}
    session.add(TrialUse(key=f"account:{account_id}", **values))


def _let_worker_grant() -> None:
    """Grant what is due, as the worker's rounds do: a yearly plan's month waits until Stripe was asked."""
    worker.grant_due_allowances()
    sync.drain()
    worker.grant_due_allowances()


def _settle(shop: Shop) -> None:
    shop.postman.collect()
    shop.postman.deliver_some(len(shop.postman.bag))
    sync.drain()


def _granted(person: Person) -> list[tuple[PlanGrant, Bucket]]:
    """Return the months that a person was granted: of the plan, or free ones."""
    is_of_plan = PlanGrant.stripe_subscription_id.is_not(None)
    with Session(db.engine, expire_on_commit=False) as session:
        query = (
            select(PlanGrant, Bucket)
            .join(Bucket, (Bucket.account_id == PlanGrant.account_id) & (Bucket.source == PlanGrant.source))
            .where(PlanGrant.account_id == person.account_id, is_of_plan if person.has_plan else ~is_of_plan)
            .order_by(PlanGrant.starts_at)
        )
        return [(grant, bucket) for grant, bucket in session.execute(query)]


def _begins(came_at: datetime, *, has_plan: bool) -> list[datetime]:
    """Return when each month begins; those of a plan's second year are counted from the day on which that begins."""
    first = [_month_later(came_at, month) for month in range(12)]
    since, months = (_month_later(came_at, 12), range(MONTHS - 12)) if has_plan else (came_at, range(12, MONTHS))
    return first + [_month_later(since, month) for month in months]


def _wrong_months(person: Person, grace: timedelta) -> Iterator[str]:
    who = f"who came at {person.came_at:%Y-%m-%d %H:%M:%S}{' and bought a year' if person.has_plan else ''}"
    granted = _granted(person)
    if len(granted) < MONTHS:
        yield f"{who} was granted {len(granted)} months instead of {MONTHS}"
    begins = _begins(person.came_at, has_plan=person.has_plan)
    for month, (grant, bucket) in enumerate(granted):
        if month + 1 >= len(begins):
            break
        starts_at, ends_at = begins[month], begins[month + 1]
        if (grant.starts_at, grant.ends_at) != (starts_at, ends_at):
            yield f"{who}: month {month} is {grant.starts_at} to {grant.ends_at}, not {starts_at} to {ends_at}"
        if bucket.expires_at != ends_at + grace:
            yield f"{who}: month {month} expires at {bucket.expires_at}, not at {ends_at + grace}"
        in_time = LATER if person.has_plan and month == 12 else timedelta(seconds=1)
        if not starts_at <= bucket.granted_at <= starts_at + in_time:
            yield f"{who}: month {month} was granted at {bucket.granted_at}"


def _month_later(anchor: datetime, months: int) -> datetime:
    """Work out the same day of a later month, or its last day, without the app's own arithmetic."""
    first = anchor.replace(day=1)
    for _ in range(months):
        first = (first + timedelta(days=32)).replace(day=1)
    last = ((first + timedelta(days=32)).replace(day=1) - timedelta(days=1)).day
    return first.replace(day=min(anchor.day, last))


if __name__ == "__main__":
    sys.exit(main(measure))
