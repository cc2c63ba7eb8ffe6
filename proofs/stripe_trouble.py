"""R19, trouble at Stripe: it is away, refuses for too many requests, or fails for a while; nothing is lost.

    python -m proofs.stripe_trouble --rounds 20 --database sqlite

Each round a shop does business while its webhooks go on arriving, then Stripe breaks in one of its ways - every request
or a share of them - for minutes or for hours, while webhooks of what happened before still come in and the worker goes
on trying. One subscription or payment of the round fails for ever (poison). Oracle:

- every webhook is answered with 200 while Stripe is away;
- after the trouble, what was not given up heals by itself within as long again as the trouble lasted;
- what was given up is listed by `flask webhooks list --dead` and by the doctor, `flask webhooks replay` brings it back,
  and then everything is what Stripe's objects say (proofs/stripe_oracle.py);
- the poisoned object keeps none of the others from being in line.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing import doctor, sync
from billing.models import StripeEvent, SyncTask
from commands import list_webhooks, replay_webhooks
from extensions import db
from proofs.shop import Shop, open_shop
from proofs.throwaway import ENGINES, available

TROUBLES = (("unreachable", 100), ("500", 100), ("429", 100), ("500", 40), ("unreachable", 40))
MINUTES = (2, 10, 30, 180)
TICK_SECONDS = 15
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
            problems = _round(shop, tally, mode, share, minutes * 60)
            tally.problems += [f"{mode} of {share} % for {minutes} min: {problem}" for problem in problems]
            tally.rounds += 1
    return tally


def _round(shop: Shop, tally: Tally, mode: str, share: int, seconds: int) -> list[str]:
    shop.crowd.join(6)
    for _ in range(25):
        shop.crowd.act()
    shop.postman.collect()
    poison = shop.crowd.chance.choice(_objects(shop))
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
    problems += _heal_by_itself(shop, tally, poison, seconds)
    shop.sandbox.heal()
    problems += _raise_the_dead(shop, tally)
    verdict = shop.judge()
    tally.compared += verdict.compared
    tally.deliveries += shop.postman.delivered
    return problems + verdict.problems


def _objects(shop: Shop) -> list[tuple[str, str]]:
    """List the subscriptions and charges there are, one of which is to be poisoned."""
    charges = [("charge", c.id) for c in shop.client.v1.charges.list({"limit": 100}).data]
    return charges + [("subscription", s.id) for s in shop.client.v1.subscriptions.list({"limit": 100}).data]


def _heal_by_itself(shop: Shop, tally: Tally, poison: tuple[str, str], seconds: int) -> list[str]:
    """Work until only the dead and the poisoned are out of line; that may take as long again as the trouble did."""
    healed_at = shop.sandbox.clock.now()
    while left := _waiting(poison):
        waited = shop.sandbox.clock.now() - healed_at
        if waited > 1.5 * seconds + 60:
            return [f"{kind} {object_id} is not in line {waited:.0f} s later" for kind, object_id in left]
        shop.advance(TICK_SECONDS)
        sync.drain()
    tally.slowest = max(tally.slowest, (shop.sandbox.clock.now() - healed_at) / seconds)
    return []


def _waiting(poison: tuple[str, str]) -> list[tuple[str, str]]:
    with Session(db.engine) as session:
        query = select(SyncTask.kind, SyncTask.object_id).where(
            SyncTask.clean < SyncTask.dirty, SyncTask.state == "live"
        )
        return [(row.kind, row.object_id) for row in session.execute(query) if tuple(row) != poison]


def _raise_the_dead(shop: Shop, tally: Tally) -> list[str]:
    """Have what was given up worked on again, as an operator does; first let the poisoned one die."""
    for _ in range(20):
        shop.advance(3700)
        sync.drain()
    with Session(db.engine) as session:
        dead = {(t.kind, t.object_id) for t in session.scalars(select(SyncTask).where(SyncTask.state == "dead"))}
        found = [finding.problem for finding in _late_work(session)]
        events = [
            event_id
            for kind, object_id in sorted(dead)
            for event_id in session.scalars(
                select(StripeEvent.stripe_id)
                .where(StripeEvent.object_kind == kind, StripeEvent.object_id == object_id)
                .limit(1)
            )
        ]
    tally.given_up += len(dead)
    runner = shop.place.app.test_cli_runner()
    listed = runner.invoke(list_webhooks, ["--dead", "--limit", "1000"]).output
    problems = [f"{object_id} is dead and not listed" for _, object_id in dead if object_id not in listed]
    problems += [f"{i} is dead and the doctor is silent" for _, i in dead if not any(i in each for each in found)]
    if len(events) < len(dead):
        problems.append(f"{len(dead) - len(events)} of the dead have no event to replay")
    if events:
        answer = runner.invoke(replay_webhooks, events)
        if answer.exit_code:
            problems.append(f"replay failed: {answer.output}")
    sync.drain()
    return problems


def _late_work(session: Session) -> list[doctor.Finding]:
    return [finding for _, found in doctor.examine(session, offline=True) for finding in found]


def run(quick: bool, engines: Sequence[str] = ENGINES) -> list[dict[str, object]]:
    """Run the proof on every database that answers here."""
    rows: list[dict[str, object]] = []
    for engine in filter(available, engines):
        started = time.monotonic()
        tally = prove(engine, rounds=2 if quick else 20, seed=1)
        rows.append(
            {
                "name": f"lost by trouble at Stripe, {engine}",
                "wrong": len(tally.problems),
                "tried": tally.compared,
                "seed": 1,
                "seconds": time.monotonic() - started,
                "note": _note(tally) + "".join(f"; {each}" for each in tally.problems[:3]),
            }
        )
    return rows


def _note(tally: Tally) -> str:
    return (
        f"facts in {tally.rounds} rounds, {tally.deliveries} deliveries, {tally.given_up} given up and replayed, the "
        f"rest healed within {tally.slowest:.2f} times the trouble"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the proof from the command line; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    tally = prove(chosen.database, rounds=chosen.rounds, seed=chosen.seed)
    sys.stdout.write(
        f"Trouble at Stripe on {chosen.database}: {len(tally.problems)} of {tally.compared} wrong, {_note(tally)}, "
        f"seed {chosen.seed}, {time.monotonic() - started:.0f} s\n" + "".join(f"  {each}\n" for each in tally.problems)
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
