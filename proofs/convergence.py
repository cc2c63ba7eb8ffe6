"""R3, convergence: objects change while they are delivered and some of Stripe's answers are slow; none stays stale.

    python -m proofs.convergence --histories 40 --database sqlite

Histories in one process (proofs/rehearsal.py): up to four slow calls wait at any one time, before they arrive or with
an answer that grows old, some of their workers are killed, leases run out, pages sync beside the worker, and one API
request of a hundred fails. Oracle: at rest every subscription, payment and balance is what Stripe's objects say
(proofs/stripe_oracle.py). Passes with 0 differences.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from proofs.registry import Outcome, main, proof
from proofs.rehearsal import Rehearsal
from proofs.shop import open_shop


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    histories: int = 0
    compared: int = 0
    deliveries: int = 0
    slow: int = 0
    kills: int = 0
    problems: list[str] = field(default_factory=list)


def prove(engine: str, *, histories: int, steps: int, seed: int) -> Tally:
    """Tell so many histories, each with its own seed."""
    tally = Tally()
    with open_shop(engine) as shop:
        for number in range(seed, seed + histories):
            shop.reopen(number)
            rehearsal = Rehearsal(shop, api_trouble_percent=1)
            slow_before = shop.line.waited
            verdict = rehearsal.play(steps, people=8, slow_percent=15)
            tally.histories += 1
            tally.compared += verdict.compared
            tally.deliveries += shop.postman.delivered
            tally.slow += shop.line.waited - slow_before
            tally.kills += rehearsal.kills
            tally.problems += [f"history {number}: {problem}" for problem in verdict.problems]
    return tally


@proof(
    "R3",
    "stale after slow answers",
    passes="0 facts stale at rest",
    quick={"histories": 1, "steps": 120},
    whole={"histories": {"sqlite": 24, "postgresql": 10}, "steps": 250},
    is_long=True,
    seed=101,
)
def measure(engine: str, *, seed: int, histories: int, steps: int) -> Outcome:
    """Tell so many histories, their seeds counted from `seed`."""
    tally = prove(engine, histories=histories, steps=steps, seed=seed)
    note = (
        f"facts in {tally.histories} histories, {tally.deliveries} deliveries, {tally.slow} slow calls, "
        f"{tally.kills} kills"
    )
    return Outcome(tally.compared, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
