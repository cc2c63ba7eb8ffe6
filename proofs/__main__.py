"""Run every proof and print one table; `python -m proofs chaos aliasing` runs some, `--quick` runs them small.

Each proof is an entry of proofs/registry.py. They run as processes of their own, a few beside each other; what measures
speed runs alone. The table and var/proof.json say for each the seed, how much was tried, how
much of it was wrong, and how long it took. The exit status is 1 when anything was.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import pkgutil
import platform
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import proofs
from proofs import registry
from proofs.registry import Outcome, Proof
from proofs.throwaway import ENGINES, available

RESULTS = Path("var/proof.json")
PATIENCE_SECONDS = 2_700.0
COLUMNS = f"{'':5}{'proof':49} {'database':10} {'wrong':>18} {'seed':>5} {'seconds':>8}  note"

Row = dict[str, object]
# Each proof has a fresh process, which begins with everything imported.
FORK = multiprocessing.get_context("fork")
LINES = 4


def main(arguments: list[str]) -> int:
    """Run the proofs; return 0 when nothing was found."""
    entries = _all()
    parser = argparse.ArgumentParser(prog="proofs", description=__doc__)
    modules = sorted({entry.module for entry in entries})
    parser.add_argument("names", nargs="*", choices=[*modules, []], help="which to run; all when none is named")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look and for CI")
    parser.add_argument("--database", choices=ENGINES, help="only on this one")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    chosen = parser.parse_args(arguments)
    entries = [entry for entry in entries if not chosen.names or entry.module in chosen.names]
    if chosen.list:
        _say("\n".join(_described(entry) for entry in entries))
        return 0
    engines = [chosen.database] if chosen.database else list(ENGINES)
    missing = [engine for engine in engines if not available(engine)]
    for engine in missing:
        _say(f"No {engine} server answers here, so nothing is proved on it.")
    engines = [engine for engine in engines if engine not in missing]
    started = time.monotonic()
    rows = _run_all(entries, engines, quick=chosen.quick)
    return _conclude(rows, missing, quick=chosen.quick, seconds=time.monotonic() - started)


def _all() -> list[Proof]:
    """Return the register, in its numbers' order: every module is imported, and some of them register something."""
    for module in pkgutil.iter_modules(proofs.__path__):
        if module.name != "__main__":
            importlib.import_module(f"proofs.{module.name}")
    return sorted(registry.PROOFS, key=lambda entry: (len(entry.number), entry.number, entry.module))


def _run_all(entries: Sequence[Proof], engines: Sequence[str], *, quick: bool) -> list[Row]:
    """Run what measures speed with nothing beside it, then the rest, a few at a time: most of them wait a lot."""
    long_first = sorted(entries, key=lambda entry: not entry.is_long)
    todo = [(entry, engine) for entry in long_first for engine in engines if engine in entry.engines]
    _say(COLUMNS)
    rows = [_run_apart(entry, engine, quick=quick) for entry, engine in todo if entry.alone]
    # The workers fork one process for each proof, so they may have no threads: they are processes themselves.
    with ProcessPoolExecutor(LINES, mp_context=FORK) as lines:
        crowd = [lines.submit(_run_apart, *each, quick=quick) for each in todo if not each[0].alone]
        rows += [line.result() for line in crowd]
    return sorted(rows, key=lambda row: (len(str(row["number"])), row["number"], row["name"]))


def _run_apart(entry: Proof, engine: str, *, quick: bool) -> Row:
    """Run one proof in a process of its own, which is ended when it takes too long."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        kept, said = Path(folder) / "row.json", Path(folder) / "said"
        process = FORK.Process(target=_run_into, args=(kept, said, entry, engine, quick))
        process.start()
        try:
            process.join(PATIENCE_SECONDS)
        finally:
            if process.pid and process.is_alive():
                os.killpg(process.pid, signal.SIGKILL)
                process.join()
        if kept.exists():
            row: Row = json.loads(kept.read_text())
        else:
            words = [f"ended with status {process.exitcode}: {said.read_text(errors='replace')[-1500:]}"]
            row = registry.row(entry, engine, Outcome(1, words), seconds=time.monotonic() - started)
    _say(_line(row))
    return row


def _run_into(kept: Path, said: Path, entry: Proof, engine: str, quick: bool) -> None:
    """Run one proof as the head of a group of processes; what is said goes to one file, the row to another."""
    os.setsid()
    with said.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    kept.write_text(json.dumps(_run_here(entry, engine, quick=quick)))


def _run_here(entry: Proof, engine: str, *, quick: bool) -> Row:
    """Run one proof in this process; one that breaks off has found something."""
    started = time.monotonic()
    try:
        return registry.run(entry, engine, quick=quick)
    except Exception as error:
        traceback.print_exc()
        words = f"broke off: {type(error).__name__}: {error}".splitlines()[0]
        return registry.row(entry, engine, Outcome(1, [words]), seconds=time.monotonic() - started)


def _conclude(rows: list[Row], missing: list[str], *, quick: bool, seconds: float) -> int:
    """Print the table, write the file and return the exit status."""
    wrong = [row for row in rows if row["wrong"]]
    _say("\n" + "\n".join([COLUMNS, *map(_line, rows)]))
    for row in wrong:
        _say(f"\n{row['name']}, {row['database']}:")
        _say("\n".join(f"  {problem}" for problem in row["problems"]))  # type: ignore[attr-defined]
    _say(f"\n{len(rows)} proofs in {seconds:.0f} s, {len(wrong)} of them found something.")
    facts = {"quick": quick, "seconds": round(seconds, 1), "left_out": missing, "versions": _versions(), "rows": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n")
    return 1 if wrong or not rows else 0


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("flask", "sqlalchemy", "psycopg", "stripe")}
    return {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **packages}


def _line(row: Row) -> str:
    share = f"{row['wrong']:,} of {row['tried']:,}"
    return (
        f"{row['number']:5}{row['name']:49} {row['database']:10} {share:>18} {row['seed']:>5} {row['seconds']:>8.1f}  "
        f"{row['note']}"
    )


def _described(entry: Proof) -> str:
    sizes = ", ".join(f"{name} {_size(entry.quick[name])} / {_size(size)}" for name, size in entry.whole.items())
    apart = ", alone" if entry.alone else ""
    return (
        f"{entry.number:5}{entry.module:16} {entry.name}\n{'':21} passes with {entry.passes}\n{'':21} "
        f"{' and '.join(entry.engines)}{apart}; quick / whole: {sizes}"
    )


def _size(size: object) -> str:
    return f"{size:,}" if isinstance(size, int) else " or ".join(f"{each:,}" for each in size.values())  # type: ignore[attr-defined]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
