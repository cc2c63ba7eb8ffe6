"""The register of proofs: what each is called, how large it is, where it runs, and what it must find.

To add one, write a module of this package with a function of an engine, a seed and some sizes, and register it:

    @proof("R6", "wrong or late without webhooks", passes="0 wrong, at most 60 s late",
           quick={"objects": 30}, whole={"objects": 500})
    def measure(engine: str, *, seed: int, objects: int) -> Outcome:
        ...
        return Outcome(tried=..., problems=[...], note="...")

    if __name__ == "__main__":
        sys.exit(main(measure))

`make proof`, `python -m proofs --quick`, `python -m proofs.<module> --objects 40` and `--list` then know it. Add its
row to docs/proofs.md, which a test compares with this register.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proofs.throwaway import ENGINES, available

MOST_PROBLEMS = 20
# A size, or one for each engine.
Sizes = Mapping[str, int | Mapping[str, int]]


@dataclass(frozen=True)
class Outcome:
    """How much was tried, and what was wrong with it, in words; `note` says what the number tried counts, and more."""

    tried: int
    problems: list[str] = field(default_factory=list)
    note: str = ""


class Measure(Protocol):
    """A proof itself: it tries something on one kind of database and says what was wrong."""

    __name__: str
    __module__: str
    __doc__: str | None

    def __call__(self, engine: str, *, seed: int, **sizes: int) -> Outcome: ...


@dataclass(frozen=True)
class Proof:
    """One entry of the register.

    `alone` keeps everything else quiet while it measures how fast something is; `is_long` has it begin early.
    """

    number: str
    name: str
    passes: str
    measure: Callable[..., Outcome]
    quick: Sizes
    whole: Sizes
    engines: tuple[str, ...]
    alone: bool
    seed: int
    is_long: bool = False

    @property
    def module(self) -> str:
        """The name of its module, by which it is asked for."""
        return self.measure.__module__.rpartition(".")[2]

    def sizes(self, engine: str, *, quick: bool) -> dict[str, int]:
        """Return how much is tried on one kind of database."""
        chosen = self.quick if quick else self.whole
        return {name: size if isinstance(size, int) else size[engine] for name, size in chosen.items()}


PROOFS: list[Proof] = []


def proof(
    number: str,
    name: str,
    *,
    passes: str,
    quick: Sizes,
    whole: Sizes,
    engines: tuple[str, ...] = ENGINES,
    alone: bool = False,
    seed: int = 1,
    is_long: bool = False,
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a proof under its number; `name` says what would be wrong, `passes` the value with which it passes."""

    def keep(measure: Callable[..., Outcome]) -> Callable[..., Outcome]:
        PROOFS.append(Proof(number, name, passes, measure, quick, whole, engines, alone, seed, is_long))
        return measure

    return keep


def run(entry: Proof, engine: str, *, quick: bool) -> dict[str, object]:
    """Run one proof on one kind of database and return its row of the table."""
    started = time.monotonic()
    outcome = entry.measure(engine, seed=entry.seed, **entry.sizes(engine, quick=quick))
    return row(entry, engine, outcome, seconds=time.monotonic() - started)


def row(entry: Proof, engine: str, outcome: Outcome, *, seconds: float) -> dict[str, object]:
    """Return a row of the table."""
    return {
        "number": entry.number,
        "proof": entry.module,
        "name": entry.name,
        "database": engine,
        "wrong": len(outcome.problems),
        "tried": outcome.tried,
        "seed": entry.seed,
        "seconds": round(seconds, 1),
        "passes": entry.passes,
        "note": outcome.note,
        "problems": outcome.problems[:MOST_PROBLEMS],
    }


def main(measure: Callable[..., Outcome], arguments: list[str] | None = None) -> int:
    """Run one proof from its own command line, with sizes of one's choice; 0 when nothing was wrong."""
    entry = next(e for e in PROOFS if e.measure is measure)
    words = sys.modules[measure.__module__].__doc__
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in entry.whole:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--database", choices=entry.engines, default=entry.engines[0])
    parser.add_argument("--seed", type=int, default=entry.seed)
    chosen = vars(parser.parse_args(arguments))
    engine, seed = chosen.pop("database"), chosen.pop("seed")
    if not available(engine):
        raise SystemExit(f"No {engine} server answers here: start one, or set TEST_DATABASE_URL.")
    sizes = {**entry.sizes(engine, quick=False), **{name: size for name, size in chosen.items() if size is not None}}
    started = time.monotonic()
    outcome = measure(engine, seed=seed, **sizes)
    sys.stdout.write(
        f"{entry.number} {entry.name}, {engine}: {len(outcome.problems)} of {outcome.tried:,}; {outcome.note}, "
        f"seed {seed}, {time.monotonic() - started:.0f} s\n" + "".join(f"  {each}\n" for each in outcome.problems)
    )
    return 1 if outcome.problems else 0
