"""Processes that spend are killed with -9, again and again; what they were told was done is done, once.

    python -m proofs.ledger_kill --kills 12 --spends 5000 --database sqlite

Each worker spends under the keys `<worker>:0`, `<worker>:1`, ... and notes each key once the ledger has answered. When
it is killed its successor goes on with the first key that was not noted: the spend may have been made or not, nobody
knows, and asking again with the same key must make it exactly once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

import database
from app import create_app
from extensions import db
from ledger import granting, invariants, spending
from proofs.registry import Outcome, main, proof
from proofs.throwaway import config, laboratory

WORKERS = 2
CREDITS = 10_000_000


@dataclass(frozen=True)
class Result:
    """What was tried, and what went wrong with it."""

    spends: int
    kills: int
    problems: list[str]


def work(url: str, account_id: int, worker: str, notes: Path) -> None:
    """Spend one credit after another until somebody pulls the plug."""
    with create_app(config(url)).app_context(), notes.open("ab", buffering=0) as noted:
        number = len(notes.read_text().splitlines())
        while True:
            key = f"{worker}:{number}"
            database.write(spending.spend, account_id, 1, idempotency_key=key, reason="CV check")
            noted.write(f"{key}\n".encode())
            number += 1


def prove(engine: str, kills: int, spends: int, seed: int) -> Result:
    """Kill workers until so many kills and noted spends are reached, and compare the notes with the ledger."""
    chance = random.Random(seed)  # noqa: S311 - when to kill, not a secret
    with laboratory(engine) as place, tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        account_id = place.new_account()
        database.write(granting.grant, account_id, CREDITS, kind="purchase", source="charge:1")
        notes = {f"worker {number}": Path(folder) / f"{number}.txt" for number in range(WORKERS)}
        for path in notes.values():
            path.touch()
        running = {worker: _start(place.place.url, account_id, worker, path) for worker, path in notes.items()}
        killed = 0
        try:
            while killed < kills or _noted(notes) < spends:
                _await_progress(notes, at_least=chance.randint(5, 200))
                victim = chance.choice(sorted(running))
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                killed += 1
                running[victim] = _start(place.place.url, account_id, victim, notes[victim])
        finally:
            for process in running.values():
                process.send_signal(signal.SIGKILL)
                process.wait()
        return Result(_noted(notes), killed + WORKERS, _problems(account_id, notes))


def _start(url: str, account_id: int, worker: str, notes: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "proofs.ledger_kill", "--work", url, str(account_id), worker, str(notes)]
    return subprocess.Popen(command, cwd=Path(__file__).resolve().parents[1], env=os.environ)


def _noted(notes: dict[str, Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in notes.values())


def _await_progress(notes: dict[str, Path], at_least: int) -> None:
    wanted = _noted(notes) + at_least
    give_up_at = time.monotonic() + 120
    while _noted(notes) < wanted:
        if time.monotonic() > give_up_at:
            raise TimeoutError("the workers make no progress")
        time.sleep(0.01)


def _problems(account_id: int, notes: dict[str, Path]) -> list[str]:
    """Return what contradicts the notes: a noted spend that is missing, or one too many that nobody could have made."""
    with Session(db.engine) as session:
        problems = invariants.violations(session)
        stored = list(session.scalars(text("SELECT idempotency_key FROM ledger_transactions WHERE kind = 'spend'")))
        balance = session.scalar(text("SELECT balance FROM wallets"))
    noted = {line for path in notes.values() for line in path.read_text().splitlines()}
    unknown = {f"{worker}:{len(path.read_text().splitlines())}" for worker, path in notes.items()}
    made = {key.removeprefix("spend:") for key in stored}
    problems += [f"{key} was answered and is not in the ledger" for key in sorted(noted - made)]
    problems += [f"{key} was never asked for" for key in sorted(made - noted - unknown)]
    if balance != CREDITS - len(stored):
        problems.append(f"the balance of account {account_id} is {balance} after {len(stored)} spends")
    return problems


@proof(
    "R10",
    "spends under kill -9",
    passes="every answered spend is there, once",
    quick={"kills": 3, "spends": 300},
    whole={"kills": 12, "spends": 5_000},
)
def measure(engine: str, *, seed: int, kills: int, spends: int) -> Outcome:
    """Spend, and kill who spends."""
    result = prove(engine, kills, spends, seed)
    return Outcome(result.spends, result.problems, f"spends, {result.kills} kills")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        url, account, worker, notes = sys.argv[2:]
        work(url, int(account), worker, Path(notes))
    sys.exit(main(measure))
