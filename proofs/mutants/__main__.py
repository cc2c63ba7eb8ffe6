"""Put small faults into the code, one at a time, and count those that no test notices.

    python -m proofs.mutants                                     # every area
    python -m proofs.mutants ledger                              # one
    python -m proofs.mutants billing/sync.py --tests tests/billing/test_poller.py tests/billing/test_doctor.py

Prints for each module how many faults were made and killed, the lines and branches that no test reaches, and every
fault that survived. Those that change nothing anybody could notice are listed with the reason in equivalents.toml
beside this file, and tried with --excused only. What only PostgreSQL can notice is tried there too, where a server
answers.

With --keep, what was found is kept in a file, and what was killed there is not tried again: after tests were added,
only what had survived is. The exit status is 1 when fewer than 90 of 100 are killed, or a line or branch is not
reached.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.mutants import mutations
from tests import databases

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENTS = Path(__file__).parent / "equivalents.toml"
HEARTBEAT_SECONDS = 30.0
NOTICED = ("killed", "timeout")

Result = dict[str, Any]


@dataclass(frozen=True)
class Area:
    """Modules, or folders of them, the tests that hold them, and those that tell more on PostgreSQL."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    on_postgresql: tuple[str, ...] = ()


AREAS = {
    "ledger": Area(("ledger",), ("tests/ledger",), on_postgresql=("tests/ledger/test_spending.py",)),
    "credits": Area(
        (
            "billing/allowances.py",
            "billing/charges.py",
            "billing/fulfilment.py",
            "billing/invoice_history.py",
            "billing/periods.py",
            "billing/plan_grants.py",
            "billing/plan_periods.py",
        ),
        (
            "tests/admin/test_disputes.py",
            "tests/billing/test_buying_by_one_click.py",
            "tests/billing/test_buying_credits.py",
            "tests/billing/test_changing_the_plan.py",
            "tests/billing/test_invoices_in_any_order.py",
            "tests/billing/test_money_back_for_a_year.py",
            "tests/billing/test_money_back_in_parts.py",
            "tests/billing/test_pausing.py",
            "tests/billing/test_payment_links.py",
            "tests/billing/test_periods.py",
            "tests/billing/test_refunds_and_disputes.py",
            "tests/billing/test_rollover.py",
            "tests/billing/test_subscribing.py",
            "tests/billing/test_trials.py",
            "tests/billing/test_two_plans_on_one_subscription.py",
            "tests/billing/test_what_a_payment_brings.py",
            "tests/billing/test_what_an_invoice_pays_for.py",
            "tests/test_what_users_of_others_suffered.py",
        ),
    ),
    "sync": Area(
        ("billing/inbox.py", "billing/poller.py", "billing/pulse.py", "billing/sync.py"),
        (
            "tests/admin/test_disputes.py",
            "tests/billing/test_a_card_fails_then_recovers.py",
            "tests/billing/test_auto_top_up.py::test_falling_below_buys_one_pack_and_says_so",
            "tests/billing/test_auto_top_up.py::test_two_declines_stop_it_and_a_mail_says_so",
            "tests/billing/test_buying_by_one_click.py",
            "tests/billing/test_buying_credits.py",
            "tests/billing/test_each_error_of_stripe.py",
            "tests/billing/test_entitlements.py",
            "tests/billing/test_every_event_twice_and_in_any_order.py",
            "tests/billing/test_invoices_and_receipts.py::test_each_payment_has_one_receipt_mail_and_each_refunded_amount_one",
            "tests/billing/test_invoices_in_any_order.py",
            "tests/billing/test_metered_usage.py::test_what_goes_beyond_the_plan_is_billed_with_the_renewal",
            "tests/billing/test_notices.py::test_the_last_notice_says_that_the_plan_is_closed_or_has_ended",
            "tests/billing/test_notices.py::test_whoever_left_the_trial_is_not_reminded",
            "tests/billing/test_payment_links.py",
            "tests/billing/test_poller.py",
            "tests/billing/test_refunds_and_disputes.py",
            "tests/billing/test_subscribing.py",
            "tests/billing/test_sync_queue.py",
            "tests/billing/test_the_return_page.py",
            "tests/billing/test_trials.py",
            "tests/billing/test_two_subscriptions_at_once.py",
            "tests/billing/test_webhook_commands.py",
            "tests/billing/test_webhook_endpoint.py",
            "tests/web/test_health.py",
        ),
        on_postgresql=("tests/billing/test_webhook_endpoint.py",),
    ),
    "queue": Area(
        ("billing/leases.py", "billing/pacing.py", "billing/sync_queue.py"),
        (
            "tests/billing/test_each_error_of_stripe.py",
            "tests/billing/test_pacing.py",
            "tests/billing/test_poller.py",
            "tests/billing/test_sync_queue.py",
            "tests/billing/test_webhook_commands.py",
            "tests/billing/test_webhook_endpoint.py",
            "tests/web/test_health.py",
        ),
        on_postgresql=("tests/billing/test_sync_queue.py",),
    ),
    "compare": Area(
        ("billing/compare.py", "billing/differences.py"),
        ("tests/billing/test_comparing_with_stripe.py",),
    ),
}
# Tables are held by the migrations' tests and the database; nobody but a reader calls a docstring.
LEFT_OUT = {"ledger/__init__.py", "ledger/models.py"}


def main(arguments: list[str]) -> int:
    """Run the areas or modules that are named; return 0 when the tests are good enough."""
    parser = argparse.ArgumentParser(
        prog="proofs.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(AREAS), help=f"areas ({', '.join(AREAS)}) or modules")
    parser.add_argument("--tests", nargs="+", help="the tests that hold the modules named")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes at a time")
    parser.add_argument("--sample", type=int, help="only so many faults of each area, by chance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where to keep what was found, and to go on from")
    parser.add_argument("--slowest", type=float, default=10.0, help="leave tests out that take longer, in seconds")
    parser.add_argument("--budget", type=float, default=20.0, help="how long tests may run on one fault, in seconds")
    parser.add_argument("--excused", action="store_true", help="try those of equivalents.toml as well, which take long")
    parser.add_argument("--at-least", type=float, default=90.0, help="how many of 100 must be killed")
    chosen = parser.parse_args(arguments)
    areas = {name: AREAS[name] for name in chosen.names if name in AREAS}
    modules = tuple(name for name in chosen.names if name not in AREAS)
    if modules:
        if not chosen.tests:
            parser.error("say with --tests which tests hold these modules")
        areas["named"] = Area(modules, tuple(chosen.tests))
    found = [_try(name, area, chosen) for name, area in areas.items()]
    return 0 if all(share >= chosen.at_least for share in found) else 1


def _try(name: str, area: Area, chosen: argparse.Namespace) -> float:
    """Make and try the faults of one area; return how many of 100 were killed, and 0 when something is not reached."""
    sources, started = _modules(area.sources), time.monotonic()
    keys = [
        (source, mutant.where, mutant.change)
        for source in sources
        for mutant in mutations.find(ast.parse((ROOT / source).read_text()))
    ]
    known = _killed_before(chosen.keep)
    alike = set() if chosen.excused else _excused() & set(keys)
    wanted = [number for number, key in enumerate(keys) if key not in known | alike]
    if chosen.sample is not None and chosen.sample < len(wanted):
        wanted = random.Random(chosen.seed).sample(wanted, chosen.sample)  # noqa: S311 - a sample, not a secret
    results = _work(sources, area.tests, wanted, chosen)
    alive = [result["number"] for result in results if result.get("end", "killed") not in NOTICED]
    has_gaps = any(result.get("missing") or result.get("partial") for result in results)
    server = databases.find_postgresql() if area.on_postgresql and (alive or has_gaps) else None
    if server is not None:
        results = _both(results, _work(sources, area.on_postgresql, alive, chosen, server=server))
    if chosen.keep is not None:
        with chosen.keep.open("a") as file:
            file.writelines(json.dumps(result) + "\n" for result in results if "end" in result)
    gaps = _say_coverage(results)
    for slow in (result for result in results if "left_out" in result):
        _say(f"left out, because it takes {slow['seconds']:.0f} s: {slow['left_out']}")
    before = [_not_tried(key, "killed") for key in keys if key in known]
    left_out = [_not_tried(key, "equivalent") for key in keys if key in alike - known]
    killed, tried = _say_mutants([result for result in results if "end" in result] + before + left_out)
    share = 100 * killed / max(1, tried)
    seconds = time.monotonic() - started
    count = f"{killed} of {tried} faults killed ({share:.1f} %{f', {len(before)} of them before' if before else ''})"
    _say(f"{name}: {count}, {gaps} lines or branches not reached, {seconds:.0f} s\n")
    return 0.0 if gaps else share


def _excused() -> set[tuple[str, str, str]]:
    """Return the faults that change nothing anybody could notice."""
    excused = tomllib.loads(EQUIVALENTS.read_text()).get("equivalent", [])
    return {(entry["module"], entry["where"], entry["change"]) for entry in excused}


def _not_tried(key: tuple[str, str, str], end: str) -> Result:
    module, where, change = key
    return {"module": module, "where": where, "change": change, "end": end, "line": 0}


def _killed_before(file: Path | None) -> set[tuple[str, str, str]]:
    """Return what a kept file says is killed; of two faults that read alike, both have to be."""
    if file is None or not file.exists():
        return set()
    ends: dict[tuple[str, str, str, int], str] = {}
    for line in file.read_text().splitlines():
        result = json.loads(line)
        ends[result["module"], result["where"], result["change"], result["twin"]] = result["end"]
    alive = {key[:3] for key, end in ends.items() if end not in NOTICED}
    return {key[:3] for key in ends} - alive


def _both(results: list[Result], others: list[Result]) -> list[Result]:
    """Join what was found on SQLite with what was found on PostgreSQL: either may reach a line, or kill a fault."""
    killed = {other["number"]: other for other in others if other.get("end") in NOTICED}
    covered = {other["covered"]: other for other in others if "covered" in other}
    return [
        _reached_by_either(result, covered[result["covered"]])
        if result.get("covered") in covered
        else killed.get(result.get("number"), result)
        for result in results
    ]


def _reached_by_either(one: Result, other: Result) -> Result:
    ways = {line: set(to) & set(other["partial"].get(line, ())) for line, to in one["partial"].items()}
    missing = [line for line in one["missing"] if line in other["missing"]]
    return {**one, "missing": missing, "partial": {line: to for line, to in ways.items() if to}}


def _modules(sources: Sequence[str]) -> list[str]:
    found = []
    for source in sources:
        place = ROOT / source
        paths = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        found += [path.relative_to(ROOT).as_posix() for path in paths]
    return [path for path in found if path not in LEFT_OUT]


def _work(
    sources: list[str], tests: Sequence[str], wanted: list[int], chosen: argparse.Namespace, *, server: str = ""
) -> list[Result]:
    """Let some processes try the faults of some numbers and return everything that they found."""
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        results, log = Path(folder) / "results.jsonl", Path(folder) / "log"
        order = {"sources": sources, "tests": tests, "wanted": wanted, "results": str(results)}
        order |= {"jobs": chosen.jobs, "slowest": chosen.slowest, "budget": chosen.budget}
        command = [sys.executable, "-m", "proofs.mutants.session", json.dumps(order)]
        environment = {**os.environ, "TEST_DATABASE_URL": server}
        with log.open("w") as out:
            session = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            _say_progress(session, results, of=len(wanted))
            if session.wait() not in (0, 5):
                raise SystemExit(f"The tests do not run:\n{log.read_text()[-4000:]}")
        finally:
            if session.poll() is None:
                os.killpg(session.pid, signal.SIGKILL)  # its workers too
        return [json.loads(line) for line in results.read_text().splitlines()]


def _say_progress(session: subprocess.Popen[bytes], results: Path, *, of: int) -> None:
    """Say every half minute how far it is, until it has ended."""
    said = time.monotonic()
    while session.poll() is None:
        time.sleep(0.2)
        if time.monotonic() - said > HEARTBEAT_SECONDS:
            said = time.monotonic()
            lines = [line for line in results.read_text().splitlines() if '"end":' in line] if results.exists() else []
            alive = sum(not any(f'"end": "{end}"' in line for end in NOTICED) for line in lines)
            _say(f"  ... {len(lines)} of {of} tried, {alive} not killed so far")


def _say_coverage(results: list[Result]) -> int:
    gaps = 0
    for covered in (result for result in results if "covered" in result):
        partial = {line: ends for line, ends in covered["partial"].items() if int(line) not in covered["missing"]}
        gaps += len(covered["missing"]) + len(partial)
        words = f"{covered['lines']} lines and {covered['branches']} branches"
        if covered["missing"] or partial:
            words += f"; not reached: lines {covered['missing']}, branches from {', '.join(partial) or 'none'}"
        _say(f"{covered['covered']:32} {words}")
    return gaps


def _say_mutants(results: list[Result]) -> tuple[int, int]:
    """Say what survived, module by module; return how many were killed of those that could be."""
    known = _excused()
    killed = tried = 0
    for module in sorted({result["module"] for result in results}):
        own = [result for result in results if result["module"] == module]
        alike = [r for r in own if r["end"] not in NOTICED and (module, r["where"], r["change"]) in known]
        dead = [r for r in own if r["end"] in NOTICED]
        alive = [r for r in own if r not in alike and r not in dead]
        killed, tried = killed + len(dead), tried + len(own) - len(alike)
        _say(f"{module:32} {len(dead)} of {len(own) - len(alike)} faults killed, {len(alike)} equivalent")
        wrongly_excused = [
            {**r, "end": "noticed, though excused"} for r in dead if (module, r["where"], r["change"]) in known
        ]
        for result in sorted(alive + wrongly_excused, key=lambda r: r["line"]):
            _say(f"  {result['line']:4} {result['end']:9} {result['where']}: {result['change']}")
    return killed, tried


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the session ends with it
    sys.exit(main(sys.argv[1:]))
