"""R3, convergence: objects change while they are delivered and some of Stripe's answers are slow; none stays stale.

    python -m proofs.convergence --histories 40 --database sqlite

Histories in one process (proofs/rehearsal.py): up to four slow calls wait at any one time, before they arrive or with
an answer that grows old, some of their workers are killed, leases run out, pages sync beside the worker, and one API
request of a hundred fails. Oracle: at rest every subscription, payment and balance is what Stripe's objects say
(proofs/stripe_oracle.py). Passes with 0 differences.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from proofs.rehearsal import Rehearsal
from proofs.shop import open_shop
from proofs.throwaway import ENGINES, available


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


def run(quick: bool, engines: Sequence[str] = ENGINES) -> list[dict[str, object]]:
    """Run the proof on every database that answers here."""
    rows: list[dict[str, object]] = []
    for engine in filter(available, engines):
        started = time.monotonic()
        tally = prove(engine, histories=2 if quick else 60, steps=120 if quick else 250, seed=101)
        rows.append(
            {
                "name": f"stale after slow answers, {engine}",
                "wrong": len(tally.problems),
                "tried": tally.compared,
                "seed": 101,
                "seconds": time.monotonic() - started,
                "note": f"facts in {tally.histories} histories, {tally.deliveries} deliveries, "
                f"{tally.slow} slow calls, {tally.kills} kills"
                + "".join(f"; {problem}" for problem in tally.problems[:3]),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the proof from the command line; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=60)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=101)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    tally = prove(chosen.database, histories=chosen.histories, steps=chosen.steps, seed=chosen.seed)
    sys.stdout.write(
        f"Convergence on {chosen.database}: {len(tally.problems)} of {tally.compared} facts wrong in "
        f"{tally.histories} histories, {tally.deliveries} deliveries, {tally.slow} slow calls, {tally.kills} kills, "
        f"seeds from {chosen.seed}, {time.monotonic() - started:.0f} s\n"
        + "".join(f"  {each}\n" for each in tally.problems)
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
