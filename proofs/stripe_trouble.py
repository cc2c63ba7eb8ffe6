"""R19, trouble at Stripe: it is away, refuses for too many requests, or fails for a while; nothing is lost.

    python -m proofs.stripe_trouble --rounds 20 --database sqlite

Each round a shop does business while its webhooks go on arriving, then Stripe breaks in one of its ways - every request
or a share of them, before they are carried out or after - for minutes or for hours, while webhooks of what happened
before still come in and the worker goes on trying. One subscription or payment of the round fails for ever (poison).
Oracle:

- every webhook is answered with 200 while Stripe is away;
- a minute after the trouble everything but the poison is in line, however long the trouble was, and nothing was given
  up;
- the poison keeps none of the others from being in line; while business goes on it is given up within a day;
- what was given up is listed by `flask webhooks list --dead` and by the doctor, `flask webhooks replay` brings it back
  by its own id, and then everything is what Stripe's objects say (proofs/stripe_oracle.py);
- no endpoint of Stripe is asked more than 20 times within any second.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from billing import doctor, pacing, sync, sync_queue
from billing.models import SyncTask
from commands import list_webhooks, replay_webhooks
from extensions import db
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop

TROUBLES = (("unreachable", 100), ("500", 100), ("429", 100), ("429", 30), ("500", 40), ("unreachable_after", 40))
MINUTES = (2, 10, 30, 180)
TICK_SECONDS = 15
BAR_SECONDS = 60
PER_SECOND = 20
MOST_HOURS = 24
PATHS = {
    "subscription": "/v1/subscriptions/{}",
    "invoice": "/v1/invoices/{}",
    "charge": "/v1/charges/{}",
    "checkout_session": "/v1/checkout/sessions/{}",
}


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    rounds: int = 0
    compared: int = 0
    deliveries: int = 0
    given_up: int = 0
    slowest: float = 0.0
    busiest: int = 0
    problems: list[str] = field(default_factory=list)


def prove(engine: str, *, rounds: int, seed: int) -> Tally:
    """Go through so many rounds of trouble, each of another kind or length."""
    tally = Tally()
    with open_shop(engine, seed) as shop:
        kinds = [(mode, share, minutes) for minutes in MINUTES for mode, share in TROUBLES]
        random.Random(seed).shuffle(kinds)  # noqa: S311 - an order, not a secret
        for number in range(rounds):
            mode, share, minutes = kinds[number % len(kinds)]
            shop.reopen(seed + number)
            shop.set_pace(PER_SECOND)
            with _counting(shop, tally):
                problems = _round(shop, tally, mode, share, minutes * 60)
            tally.problems += [f"{mode} of {share} % for {minutes} min: {problem}" for problem in problems]
            tally.rounds += 1
        if tally.busiest > PER_SECOND:
            tally.problems.append(f"an endpoint was asked {tally.busiest} times within a second")
    return tally


@contextmanager
def _counting(shop: Shop, tally: Tally) -> Iterator[None]:
    """Count how often the app asks each endpoint within any second of the shop's time."""
    asked: dict[str, list[float]] = defaultdict(list)
    original = shop.line.request

    def request(method: str, url: str, *args: object, **options: object) -> object:
        times = asked[pacing.endpoint_of(method, url)]
        times.append(shop.sandbox.clock.now())
        within = sum(1 for at in reversed(times[-2 * PER_SECOND :]) if at > times[-1] - 0.999)
        tally.busiest = max(tally.busiest, within)
        return original(method, url, *args, **options)  # type: ignore[arg-type]

    shop.line.request = request  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        shop.line.request = original  # type: ignore[method-assign]


def _round(shop: Shop, tally: Tally, mode: str, share: int, seconds: int) -> list[str]:
    shop.crowd.join(6)
    for _ in range(25):
        shop.crowd.act()
    shop.postman.collect()
    poison, other = _objects(shop)
    began = shop.sandbox.clock.now()
    shop.sandbox.break_api("500", path=PATHS[poison[0]].format(poison[1]))
    shop.sandbox.break_api(mode, share=share)
    while shop.sandbox.clock.now() < began + seconds:
        shop.postman.deliver_some(4)
        sync.drain()
        shop.advance(TICK_SECONDS if seconds <= 600 else 8 * TICK_SECONDS)
    problems = [f"{shop.postman.refused} webhooks were refused"] if shop.postman.refused else []
    shop.sandbox.heal()
    shop.sandbox.break_api("500", path=PATHS[poison[0]].format(poison[1]))
    shop.postman.deliver_some(len(shop.postman.bag))
    problems += _heal_by_itself(shop, tally, poison)
    problems += _let_it_be_given_up(shop, tally, poison, other)
    shop.sandbox.heal()
    problems += _raise_the_dead(shop, poison)
    verdict = shop.judge()
    tally.compared += verdict.compared
    tally.deliveries += shop.postman.delivered
    return problems + verdict.problems


def _objects(shop: Shop) -> tuple[tuple[str, str], tuple[str, str]]:
    """Choose what is to be poisoned, and another object of its kind that stays well."""
    found = [[("charge", c.id) for c in shop.client.v1.charges.list({"limit": 100}).data if c.status == "succeeded"]]
    found.append([("subscription", s.id) for s in shop.client.v1.subscriptions.list({"limit": 100}).data])
    poison, other = shop.crowd.chance.sample(shop.crowd.chance.choice([some for some in found if len(some) > 1]), 2)
    return poison, other


def _heal_by_itself(shop: Shop, tally: Tally, poison: tuple[str, str]) -> list[str]:
    """Work until only the poisoned is out of line; that may take a minute, however long the trouble lasted."""
    healed_at = shop.sandbox.clock.now()
    while left := _waiting(poison):
        waited = shop.sandbox.clock.now() - healed_at
        if waited > BAR_SECONDS:
            return [f"{kind} {object_id} is not in line {waited:.0f} s later" for kind, object_id in left]
        shop.advance(1)
        sync.drain()
    tally.slowest = max(tally.slowest, shop.sandbox.clock.now() - healed_at)
    dead = database.write(sync_queue.given_up)
    return [f"{dead} objects were given up in the trouble"] if dead else []


def _waiting(poison: tuple[str, str]) -> list[tuple[str, str]]:
    with Session(db.engine) as session:
        query = select(SyncTask.kind, SyncTask.object_id).where(
            SyncTask.clean < SyncTask.dirty, SyncTask.state == "live"
        )
        return [(row.kind, row.object_id) for row in session.execute(query) if tuple(row) != poison]


def _let_it_be_given_up(shop: Shop, tally: Tally, poison: tuple[str, str], other: tuple[str, str]) -> list[str]:
    """Go on with business until the poison is given up: others of its kind come through, and it never does."""
    database.write(sync_queue.mark_dirty, *poison)
    for _ in range(MOST_HOURS):
        database.write(sync_queue.mark_dirty, *other)
        for _ in range(2):
            sync.drain()
            shop.advance(1900)
        if database.write(sync_queue.given_up):
            tally.given_up += 1
            return []
    return [f"{poison[1]} is tried for ever"]


def _raise_the_dead(shop: Shop, poison: tuple[str, str]) -> list[str]:
    """Have what was given up worked on again, as an operator does."""
    with Session(db.engine) as session:
        told = [finding.problem for finding in _told(session)]
    runner = shop.place.app.test_cli_runner()
    listed = runner.invoke(list_webhooks, ["--dead"]).output
    problems = [f"{poison[1]} is dead and not listed"] if poison[1] not in listed else []
    problems += [f"{poison[1]} is dead and the doctor is silent"] if not any(poison[1] in each for each in told) else []
    answer = runner.invoke(replay_webhooks, [poison[1]])
    if answer.exit_code:
        problems.append(f"replay failed: {answer.output}")
    shop.postman.collect()
    shop.postman.deliver_some(len(shop.postman.bag))
    shop.advance(BAR_SECONDS)
    sync.drain()
    return problems


def _told(session: Session) -> list[doctor.Finding]:
    return [finding for _, found in doctor.examine(session, offline=True) for finding in found]


@proof(
    "R19",
    "lost by trouble at Stripe",
    passes="all answered with 200, in line within 60 s, only the poison given up, at most 20 calls/s to an endpoint",
    quick={"rounds": 1},
    whole={"rounds": 4},
    is_long=True,
)
def measure(engine: str, *, seed: int, rounds: int) -> Outcome:
    """Let Stripe fail in so many ways."""
    tally = prove(engine, rounds=rounds, seed=seed)
    note = (
        f"facts in {tally.rounds} rounds, {tally.deliveries} deliveries, in line within {tally.slowest:.0f} s, "
        f"{tally.given_up} poisoned objects given up and replayed, at most {tally.busiest} calls/s to an endpoint"
    )
    return Outcome(tally.compared, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
