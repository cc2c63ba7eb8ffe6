"""R6: every webhook is lost; the poller alone brings everything, and within a minute.

    python -m proofs.poller_only --objects 500 --database sqlite

The worker polls every 25 s of simulated time; a tenth of the polls finds Stripe away, never two in a row, and now and
then the worker itself is stopped for hours, the first time right after its first poll, when nothing has happened yet.
Oracle: after each poll that got through, everything is what Stripe's objects say (proofs/stripe_oracle.py), and what
happened while the worker ran was brought within 60 s. Passes with 0 differences and 0 late.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from billing import errors, poller, sync
from proofs.shop import Shop, open_shop
from proofs.throwaway import ENGINES, available

POLL_SECONDS = 25
BAR_SECONDS = 60
NAP_SECONDS = 3 * 3600


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    objects: int = 0
    polls: int = 0
    failed_polls: int = 0
    naps: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


def prove(engine: str, *, objects: int, seed: int) -> Tally:
    """Let people act until Stripe has so many subscriptions and payments, and never deliver anything."""
    tally = Tally()
    chance = random.Random(seed)  # noqa: S311 - a history, not a secret
    with open_shop(engine, seed) as shop:
        shop.crowd.join(max(5, objects // 10))
        _poll(shop, tally, is_away=False)
        naps_at = {1, *chance.sample(range(5, 1000), 40)}
        while tally.objects < objects and not tally.problems:
            _one_turn(shop, tally, chance, is_nap=tally.polls in naps_at)
    return tally


def _one_turn(shop: Shop, tally: Tally, chance: random.Random, *, is_nap: bool) -> None:
    """Let something happen, wait for the next poll - one may fail - and compare."""
    oldest = shop.sandbox.clock.now()
    for _ in range(6):
        shop.crowd.act()
        shop.advance(chance.randint(0, POLL_SECONDS // 6))
    if is_nap:
        tally.naps += 1
        shop.advance(NAP_SECONDS)
    shop.advance(max(0.0, oldest + POLL_SECONDS - shop.sandbox.clock.now()))
    if chance.random() < 0.1:
        _poll(shop, tally, is_away=True)
        shop.advance(POLL_SECONDS)
    _poll(shop, tally, is_away=False)
    lag = shop.sandbox.clock.now() - oldest
    if not is_nap:
        tally.slowest = max(tally.slowest, lag)
        if lag > BAR_SECONDS:
            tally.problems.append(f"brought only after {lag:.0f} s")
    verdict = shop.judge()
    tally.objects = verdict.compared
    tally.problems += [f"poll {tally.polls}: {problem}" for problem in verdict.problems]


def _poll(shop: Shop, tally: Tally, *, is_away: bool) -> None:
    tally.polls += 1
    if is_away:
        shop.sandbox.break_api("unreachable")
        tally.failed_polls += 1
    try:
        poller.poll()
    except errors.StripeError:
        pass  # the worker logs it and polls again
    finally:
        shop.sandbox.heal()
    sync.drain()


def run(quick: bool, engines: Sequence[str] = ENGINES) -> list[dict[str, object]]:
    """Run the proof on every database that answers here."""
    rows: list[dict[str, object]] = []
    for engine in filter(available, engines):
        started = time.monotonic()
        tally = prove(engine, objects=30 if quick else 500, seed=1)
        rows.append(
            {
                "name": f"wrong or late without webhooks, {engine}",
                "wrong": len(tally.problems),
                "tried": tally.objects,
                "seed": 1,
                "seconds": time.monotonic() - started,
                "note": f"objects, {tally.polls} polls, {tally.failed_polls} failed, {tally.naps} naps, slowest "
                f"{tally.slowest:.0f} s" + "".join(f"; {each}" for each in tally.problems[:3]),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the proof from the command line; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    tally = prove(chosen.database, objects=chosen.objects, seed=chosen.seed)
    sys.stdout.write(
        f"Poller only on {chosen.database}: {len(tally.problems)} of {tally.objects} objects wrong or late, "
        f"{tally.polls} polls, {tally.failed_polls} failed, {tally.naps} naps, slowest {tally.slowest:.0f} s, "
        f"seed {chosen.seed}, {time.monotonic() - started:.0f} s\n" + "".join(f"  {each}\n" for each in tally.problems)
    )
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
