"""Run every measurement and print one table; `python -m bench ingest pages` runs some, `--quick` runs them shortly."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

import bench

# What the others are built from, and no measurement by themselves.
PARTS = {"__main__", "bare", "load", "servers"}


def main(arguments: list[str]) -> int:
    """Print each measurement's rows as they come, and keep them in var/bench.json."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = [m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in PARTS]
    parser.add_argument("names", nargs="*", choices=[*names, []], help="which to run; all when none is named")
    parser.add_argument("--quick", action="store_true", help="shorter rounds, for a first look")
    chosen = parser.parse_args(arguments)
    started, rows = time.monotonic(), []
    _say(f"{'measurement':46} {'ours':>12} {'bare':>12} {'ratio':>7} {'by CPU':>7}  note")
    for name in chosen.names or names:
        for row in importlib.import_module(f"bench.{name}").run(quick=chosen.quick):
            rows.append(row)
            _say(_line(row))
    _say(f"{len(rows)} measurements in {time.monotonic() - started:.0f} s")
    target = Path("var/bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=2))
    return 0


def _line(row: dict[str, object]) -> str:
    ratio, by_cpu = (f"{row[name]:.2f}" if row.get(name) is not None else "" for name in ("ratio", "cpu_ratio"))
    figures = f"{_figure(row['ours']):>12} {_figure(row.get('bare')):>12} {ratio:>7} {by_cpu:>7}"
    return f"{row['name']:46} {figures}  {row['unit']}. {row['note']}"


def _figure(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, (int, float)) and abs(value) >= 100 else f"{value:,.2f}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
