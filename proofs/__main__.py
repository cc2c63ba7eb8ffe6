"""Run every proof and print one table; `python -m proofs chaos aliasing` runs some, `--quick` runs them small.

Each proof is a module of this package with a `run(quick, engines)`; the table and var/proof.json say for each the
seed, how much was tried, how much of it was wrong, and how long it took. The exit status is 1 when anything was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
import traceback
from pathlib import Path

import proofs
from proofs.throwaway import ENGINES, available

# What the others are built from, and no proof by themselves.
PARTS = {
    "__main__",
    "customers",
    "errands",
    "ledger_oracle",
    "postman",
    "rehearsal",
    "shop",
    "stripe_oracle",
    "throwaway",
}
RESULTS = Path("var/proof.json")


def main(arguments: list[str]) -> int:
    """Run the proofs; return 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="proofs", description=__doc__)
    names = [m.name for m in pkgutil.iter_modules(proofs.__path__) if m.name not in PARTS]
    parser.add_argument("names", nargs="*", choices=[*names, []], help="which to run; all when none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look and for CI")
    parser.add_argument("--database", choices=ENGINES, help="only on this one")
    chosen = parser.parse_args(arguments)
    engines = [chosen.database] if chosen.database else list(ENGINES)
    for engine in engines:
        if not available(engine):
            _say(f"No {engine} server answers here, so nothing is proved on it.")
    started = time.monotonic()
    rows = [row for name in chosen.names or names for row in _rows(name, quick=chosen.quick, engines=engines)]
    _say("\n" + _table(rows))
    wrong = [row for row in rows if row["wrong"]]
    _say(f"\n{len(rows)} proofs in {time.monotonic() - started:.0f} s, {len(wrong)} of them found something.")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if wrong or not rows else 0


def _rows(name: str, *, quick: bool, engines: list[str]) -> list[dict[str, object]]:
    """Run one proof; one that breaks off has found something."""
    _say(f"{name} ...")
    started = time.monotonic()
    try:
        return importlib.import_module(f"proofs.{name}").run(quick=quick, engines=engines)
    except Exception as error:
        traceback.print_exc()
        return [
            {
                "name": name,
                "wrong": 1,
                "tried": 1,
                "seed": None,
                "seconds": time.monotonic() - started,
                "note": f"broke off: {type(error).__name__}: {error}".splitlines()[0],
            }
        ]


def _table(rows: list[dict[str, object]]) -> str:
    lines = [f"{'proof':48} {'wrong':>18} {'seed':>5} {'seconds':>8}  note"]
    for row in rows:
        share = f"{row['wrong']:,} of {row['tried']:,}"
        seed = "" if row["seed"] is None else row["seed"]
        lines.append(f"{row['name']:48} {share:>18} {seed:>5} {row['seconds']:>8.1f}  {row['note']}")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
