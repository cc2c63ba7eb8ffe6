"""R5: the app ends at every failpoint there is, and again, and recovers to what Stripe's objects say.

    python -m proofs.crash_points --database sqlite

Each scene (proofs/crash_scenes.py, proofs/account_scenes.py) leads through some points of failpoints.py, with the app
in processes that end there as under kill -9: at the first hit, with the person sending the same form again; at the
second hit; at the first and the second, so that the recovery ends as well; and at the first, with the person walking
away for good. Then webhooks are delivered, the worker is started again, and everything is compared: with Stripe's
objects (proofs/stripe_oracle.py), the ledger's invariants, the mails that arrived, and what the scene was about.
`--manners 4` tries all four at every point instead of two, one about the first attempt and one about the second.
Nobody is charged without what they paid for, and nobody is served without paying. A point that no scene leads through
is itself a finding.
"""

from __future__ import annotations

import random
import sys
import time
import timeit
from collections.abc import Sequence
from dataclasses import dataclass, field

import failpoints
from proofs import account_scenes  # noqa: F401 - adds its scenes
from proofs.crash_scenes import SCENES, Entry
from proofs.crash_world import WalkedAway, World, open_world
from proofs.registry import Outcome, main, proof

# At which hits of its point the app ends, and whether the person walks away then. Of two in a row, one is about the
# first attempt and one about the second.
MANNERS: tuple[tuple[tuple[int, ...], bool], ...] = (((1,), False), ((2,), False), ((1,), True), ((1, 2), False))


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    tried: int = 0
    deaths: int = 0
    points: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def prove(engine: str, *, seed: int, points: int, manners: int) -> Tally:
    """End the app at every point, or in the core scenes at so many of theirs; at each in so many manners."""
    tally = Tally()
    is_whole = points >= len(failpoints.POINTS)
    scenes = [entry for entry in SCENES if is_whole or entry.is_core]
    left = set(failpoints.POINTS)
    for catalogue in dict.fromkeys(entry.catalogue for entry in scenes):
        entries = [entry for entry in scenes if entry.catalogue == catalogue]
        with open_world(engine, seed, catalogue) as world:
            quickest = {point: entry for point, entry in _rehearse(world, tally, entries).items() if point in left}
            if not is_whole:
                chosen = random.Random(seed).sample(sorted(quickest), min(points, len(quickest)))  # noqa: S311
                quickest = {point: quickest[point] for point in chosen}
            left -= quickest.keys()
            _end_everywhere(world, tally, quickest, manners=manners, seed=seed)
    if is_whole:
        tally.problems += [f"no scene leads through {point}" for point in sorted(left)]
    return tally


def _end_everywhere(world: World, tally: Tally, where: dict[str, Entry], *, manners: int, seed: int) -> None:
    order = sorted(where, key=lambda point: (SCENES.index(where[point]), point))
    played: Entry | None = None
    for number, point in enumerate(order):
        entry = where[point]
        if entry is not played:
            world.shop.reopen(seed + number)
            played = entry
        for turn in range(manners):
            at, walks_away = MANNERS[(2 * number + turn) % len(MANNERS)]
            _try(world, tally, entry, point, at=at, walks_away=walks_away)


def _rehearse(world: World, tally: Tally, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Play scenes undisturbed; return for each point the quickest of those that lead through it."""
    quickest: dict[str, tuple[float, Entry]] = {}
    for number, entry in enumerate(entries):
        world.shop.reopen(1000 + number)
        started = time.monotonic()
        found = _play(world, entry, "", (), times=1, walks_away=False)
        cost = time.monotonic() - started
        tally.problems += [f"{entry.name}, undisturbed: {problem}" for problem in found]
        for point in world.forks.seen:
            if point not in quickest or cost < quickest[point][0]:
                quickest[point] = cost, entry
    return {point: entry for point, (_, entry) in quickest.items()}


def _try(world: World, tally: Tally, entry: Entry, point: str, *, at: tuple[int, ...], walks_away: bool) -> None:
    tally.tried += 1
    # A scene that comes by once is played by two people, one after the other, to come by a second time.
    found = _play(world, entry, point, at, times=1 if at[0] == 1 else 2, walks_away=walks_away)
    tally.deaths += world.forks.deaths
    if world.forks.deaths:
        tally.points.add(point)
    else:
        found.append("it was never hit")
    manner = f"{entry.name}, {point} at hit {' and '.join(map(str, at))}{', walking away' if walks_away else ''}"
    tally.problems += [f"{manner}: {problem}" for problem in found]
    if found:
        world.shop.reopen(tally.tried)  # what is left of it is not to disturb the others


def _play(world: World, entry: Entry, point: str, at: tuple[int, ...], *, times: int, walks_away: bool) -> list[str]:
    """Play a scene, so many times in a row, in which the app ends at some hits of a point; return what is wrong."""
    world.begin()
    world.walks_away = walks_away
    world.forks.plan(point, at)
    try:
        for _ in range(times):
            acted = _act(world, entry)
            world.settle()
            if acted is not None:
                next(acted, None)
        return world.judge(by_stripe=entry.by_stripe)
    except Exception as error:  # whatever it is, somebody did not get what they came for
        return [f"{type(error).__name__}: {error}"]
    finally:
        world.forks.is_calm = True
        world.end()


def _act(world: World, entry: Entry):  # type: ignore[no-untyped-def]
    """Play a scene up to what it says in the end, which is returned; None when the person walked away before."""
    playing = entry.play(world)
    next(playing)
    world.forks.is_calm = False
    try:
        next(playing)
    except WalkedAway:
        return None
    finally:
        world.forks.is_calm = True
    return playing


@proof(
    "R5",
    "recoveries from an end at a failpoint",
    passes="every point ended at, all right after each recovery",
    quick={"points": 16, "manners": 1},
    whole={"points": 1_000, "manners": {"sqlite": 2, "postgresql": 1}},
    is_long=True,
)
def measure(engine: str, *, seed: int, points: int, manners: int) -> Outcome:
    """End the app everywhere, or at some points when in a hurry."""
    tally = prove(engine, seed=seed, points=points, manners=manners)
    cost = min(timeit.repeat("hit('ingest.stored')", globals={"hit": failpoints.hit}, number=100_000, repeat=5)) * 1e4
    note = (
        f"ends at {len(tally.points)} of {len(failpoints.POINTS)} points in {len(SCENES)} scenes, {tally.deaths} "
        f"deaths; a point costs {cost:.0f} ns when off"
    )
    return Outcome(tally.tried, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
