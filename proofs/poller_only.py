"""R6: every webhook is lost; the poller alone brings everything, and within a minute.

    python -m proofs.poller_only --objects 500 --database sqlite

The worker polls every 25 s of simulated time; a tenth of the polls finds Stripe away, never two in a row, and now and
then the worker itself is stopped for hours, the first time right after its first poll, when nothing has happened yet.
Oracle: after each poll that got through, whoever has acted since the last one is as Stripe's objects say
(proofs/stripe_oracle.py), after every tenth and the last one everybody is, and what happened while the worker ran was
brought within 60 s. Passes with 0 differences and 0 late.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field

from billing import errors, poller, sync
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop

POLL_SECONDS = 25
POLLS_PER_LOOK = 10
BAR_SECONDS = 60
NAP_SECONDS = 3 * 3600


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    objects: int = 0
    turns: int = 0
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
    acted = set()
    for _ in range(6):
        acted.add(shop.crowd.act())
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
    tally.turns += 1
    is_whole = tally.turns % POLLS_PER_LOOK == 0
    verdict = shop.judge(only=None if is_whole else acted)
    if is_whole:
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


@proof(
    "R6",
    "wrong or late without webhooks",
    passes="0 wrong after each poll, at most 60 s late",
    quick={"objects": 30},
    whole={"objects": 500},
)
def measure(engine: str, *, seed: int, objects: int) -> Outcome:
    """Lose every webhook."""
    tally = prove(engine, objects=objects, seed=seed)
    note = (
        f"objects, {tally.polls} polls, {tally.failed_polls} failed, {tally.naps} naps, slowest {tally.slowest:.0f} s"
    )
    return Outcome(tally.objects, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
