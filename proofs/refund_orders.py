"""Refunds and disputes of a payment, heard of in every order: one end state for each state at Stripe.

    python -m proofs.refund_orders --orders 2000 --database sqlite

A payment's story is up to five events. Each message about it makes the app read the payment's state as it is at that
moment, and work with it some time later: the version is when it was read. All orders in which the readings can be
applied are tried, among spends and holds that succeed in all of them.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from extensions import db
from ledger import clawback, granting, holds, invariants, spending, statement
from ledger.models import Bucket
from proofs.throwaway import ENGINES, available, laboratory

PAID_CENTS = 2_000
EVENTS = ("refund 1", "refund 2", "refund 3", "full refund", "refund failed", "dispute opened", "won", "lost")


@dataclass(frozen=True)
class Payment:
    """What Stripe says of a payment at one moment."""

    refunded_cents: int = 0
    is_disputed: bool = False
    last_refund_cents: int = 0

    def after(self, event: str) -> Payment | None:
        """Return the payment after an event, or None when it cannot happen now."""
        room = PAID_CENTS - self.refunded_cents
        if event.startswith("refund ") and event[-1].isdigit():
            cents = min(room, 137 * int(event[-1]))
            return Payment(self.refunded_cents + cents, self.is_disputed, cents) if cents else None
        if event == "full refund":
            return Payment(PAID_CENTS, self.is_disputed, room) if room else None
        if event == "refund failed":
            left = self.refunded_cents - self.last_refund_cents
            return Payment(left, self.is_disputed) if self.last_refund_cents else None
        if event == "dispute opened":
            return None if self.is_disputed else Payment(self.refunded_cents, True, self.last_refund_cents)
        if not self.is_disputed:
            return None
        return Payment(self.refunded_cents, event == "lost", self.last_refund_cents)


@dataclass(frozen=True)
class Story:
    """The states a payment goes through, and what its credits are used for meanwhile."""

    granted: int
    spent: int
    on_hold: int
    captured: int
    states: tuple[Payment, ...]


def tell(chance: random.Random) -> Story:
    """Make up a story of one to five events that can follow each other."""
    granted = chance.randint(1, 40)
    spent = chance.randint(0, granted)
    on_hold = chance.randint(0, granted - spent)
    payment, states = Payment(), []
    length = chance.randint(1, 5)
    while len(states) < length:
        following = payment.after(chance.choice(EVENTS))
        if following is not None:
            payment = following
            states.append(payment)
    return Story(granted, spent, on_hold, chance.randint(0, on_hold), tuple(states))


def end_of(story: Story, order: tuple[int, ...], account_id: int, settle_after: int) -> tuple[int, ...]:
    """Live through a story in one order of readings, each delivered twice; return balance, held, debt and clawed."""
    database.write(granting.grant, account_id, story.granted, kind="purchase", source="charge:1")
    hold_id = None
    if story.spent:
        database.write(spending.spend, account_id, story.spent, idempotency_key="spend", reason="CV check")
    if story.on_hold:
        lease = timedelta(hours=1)
        held = database.write(
            holds.reserve, account_id, story.on_hold, idempotency_key="hold", reason="CV check", lease=lease
        )
        hold_id = held.hold_id
    for position, reading in enumerate((*order, *order)):
        if position == settle_after and hold_id is not None:
            _settle(hold_id, story.captured)
            hold_id = None
        target = _target(story, reading)
        database.write(clawback.claw_to, account_id, "charge:1", target, version=reading + 1)
    if hold_id is not None:
        _settle(hold_id, story.captured)
    with Session(db.engine) as session:
        shown = statement.balance(session, account_id)
        clawed = session.scalar(
            select(Bucket.clawed).where(Bucket.account_id == account_id, Bucket.source == "charge:1")
        )
    return shown.total, shown.held, shown.debt, clawed or 0


def prove(engine: str, orders: int, seed: int) -> tuple[int, int, list[str]]:
    """Try so many orders of readings and return how many, in how many stories, and what went wrong."""
    chance = random.Random(seed)  # noqa: S311 - stories, not secrets
    tried, stories, problems = 0, 0, []
    with laboratory(engine) as place:
        while tried < orders:
            story, ends = tell(chance), set()
            stories += 1
            ways = list(itertools.permutations(range(len(story.states))))
            for order in chance.sample(ways, min(len(ways), 24)):
                settle_after = chance.randint(0, 2 * len(order))
                ends.add(end_of(story, order, place.new_account(), settle_after))
                tried += 1
            expected = _expected(story)
            if ends != {expected}:
                problems.append(f"{story} ends in {sorted(ends)}, not only in {expected}")
        with Session(db.engine) as session:
            problems += invariants.violations(session)
    return tried, stories, problems


def _target(story: Story, reading: int) -> int:
    payment = story.states[reading]
    return clawback.target(
        story.granted,
        paid_cents=PAID_CENTS,
        refunded_cents=payment.refunded_cents,
        is_disputed=payment.is_disputed,
    )


def _expected(story: Story) -> tuple[int, ...]:
    """Return the one right end: what was granted, less what is taken back and what was used, or the debt of it."""
    last = story.states[-1]
    clawed = story.granted if last.is_disputed else math.ceil(story.granted * last.refunded_cents / PAID_CENTS)
    net = story.granted - clawed - story.spent - story.captured
    return max(0, net), 0, max(0, -net), clawed


def _settle(hold_id: int, captured: int) -> None:
    if captured:
        database.write(holds.capture, hold_id, captured)
    else:
        database.write(holds.release, hold_id)


def run(quick: bool, engines: Sequence[str] = ENGINES) -> list[dict[str, object]]:
    """Run the proof on every database that answers here."""
    rows: list[dict[str, object]] = []
    for engine in filter(available, engines):
        started = time.monotonic()
        tried, stories, problems = prove(engine, 200 if quick else 2000, seed=1)
        rows.append(
            {
                "name": f"orders of refunds and disputes, {engine}",
                "wrong": len(problems),
                "tried": tried,
                "seed": 1,
                "seconds": time.monotonic() - started,
                "note": f"{stories} stories" + "".join(f"; {problem}" for problem in problems[:3]),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the proof from the command line; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    tried, stories, problems = prove(chosen.database, chosen.orders, chosen.seed)
    sys.stdout.write(
        f"Orders of refunds and disputes on {chosen.database}: {len(problems)} of {tried} wrong, {stories} stories, "
        f"seed {chosen.seed}, {time.monotonic() - started:.0f} s\n" + "".join(f"  {each}\n" for each in problems)
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
