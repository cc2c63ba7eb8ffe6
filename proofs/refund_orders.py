"""Refunds and disputes of a payment, heard of in every order: one end state for each state at Stripe.

    python -m proofs.refund_orders --orders 2000 --database sqlite

A payment's story is up to five events. Each message about it makes the app read the payment's state as it is at that
moment, and work with it some time later: the version is when it was read. All orders in which the readings can be
applied are tried, among spends and holds that succeed in all of them.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import billing.models
import clock
import database
from billing import charges
from extensions import db
from ledger import clawback, granting, holds, invariants, spending, statement
from ledger.models import Bucket
from proofs.registry import Outcome, main, proof
from proofs.throwaway import laboratory

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
        returned_cents=PAID_CENTS if payment.is_disputed else payment.refunded_cents,
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


def prove_in_parts(engine: str, orders: int, seed: int) -> list[str]:
    """Pay grants in two parts, and hear of what became of each in so many orders; return what went wrong."""
    chance = random.Random(f"{seed} parts")  # noqa: S311
    problems = []
    with laboratory(engine) as place:
        for number in range(orders):
            granted = chance.randint(1, 40)
            parts = [tell_part(chance) for _ in range(2)]
            readings = [(which, at) for which, states in enumerate(parts) for at in range(len(states))] * 2
            chance.shuffle(readings)
            clawed = database.write(_hear_of_parts, place.new_account(), number, granted, parts, readings)
            gone = sum(PAID_CENTS if states[-1].is_disputed else states[-1].refunded_cents for states in parts)
            expected = math.ceil(granted * gone / (2 * PAID_CENTS))
            if clawed != expected:
                problems.append(f"{clawed} of {granted} are taken back, not {expected}, after {readings} of {parts}")
        with Session(db.engine) as session:
            problems += invariants.violations(session)
    return problems


def tell_part(chance: random.Random) -> list[Payment]:
    """Make up what becomes of one payment: up to three events."""
    states = [Payment()]
    for event in chance.choices(EVENTS, k=chance.randint(0, 3)):
        states += filter(None, [states[-1].after(event)])
    return states


def _hear_of_parts(
    session: Session,
    account_id: int,
    number: int,
    granted: int,
    parts: list[list[Payment]],
    readings: list[tuple[int, int]],
) -> int:
    source = f"invoice:in_{number}"
    granting.grant(session, account_id, granted, kind="plan", source=source)
    for which in range(len(parts)):
        session.add(
            billing.models.Payment(
                account_id=account_id,
                stripe_charge_id=f"ch_{number}_{which}",
                kind="subscription",
                description="A plan",
                grant_source=source,
                amount_cents=PAID_CENTS,
                currency="usd",
                paid_at=clock.now(),
            )
        )
    session.flush()
    newest = [-1] * len(parts)
    for which, at in readings:
        if at > newest[which]:  # an older reading of the same charge is thrown away by its fence
            newest[which] = at
            charges.apply(session, account_id, _charge(f"ch_{number}_{which}", parts[which][at]))
            session.flush()
    return granting.get_grant(session, account_id, source).clawed


def _charge(charge_id: str, payment: Payment) -> dict[str, Any]:
    # Lost rather than open: whether spending is frozen meanwhile is not asked here.
    dispute = {
        "id": f"du_{charge_id}",
        "status": "lost" if payment.is_disputed else "won",
        "reason": "general",
        "amount": PAID_CENTS,
        "currency": "usd",
        "created": 0,
        "evidence": {},
        "evidence_details": {"due_by": None, "submission_count": 0},
    }
    return {
        "id": charge_id,
        "paid": True,
        "amount_captured": PAID_CENTS,
        "amount_refunded": payment.refunded_cents,
        "disputes": [dispute],
        "refunds": {"data": []},
    }


@proof(
    "R13",
    "orders of refunds and disputes",
    passes="one end state per story",
    quick={"orders": {"sqlite": 200, "postgresql": 60}},
    whole={"orders": 2_000},
)
def measure(engine: str, *, seed: int, orders: int) -> Outcome:
    """Hear of refunds and disputes in so many orders."""
    tried, stories, problems = prove(engine, orders, seed)
    problems += prove_in_parts(engine, orders // 2, seed)
    return Outcome(
        tried + orders // 2, problems, f"orders of {stories} stories, and of {orders // 2} paid in two parts"
    )


if __name__ == "__main__":
    sys.exit(main(measure))
