"""Q5: the doctor goes through a million entries within five seconds, finds nothing wrong in them, and one needle.

    python -m proofs.large_books --entries 1000000 --database postgresql

Twenty thousand accounts with a grant and many spends each are written by SQL, sound to the last sum. Oracle: every
check of `flask doctor --offline` says nothing, and after one balance was changed the ledger's check names its wallet.
"""

from __future__ import annotations

import sys
import time

from sqlalchemy import text
from sqlalchemy.orm import Session

from billing import doctor
from extensions import db
from proofs.registry import Outcome, main, proof
from proofs.throwaway import Laboratory, laboratory

BAR_SECONDS = 5.0
SPENDS = 24

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last) ",
    "postgresql": "WITH n AS (SELECT generate_series(1, CAST(:last AS BIGINT)) AS i) ",
}
# A grant of 100 and 24 spends of 1 each for every account: two entries per transaction.
STATEMENTS = (
    "INSERT INTO accounts (id, public_id, name, created_at) {n} SELECT i, 'account' || i, 'Ann', :now FROM n",
    "INSERT INTO wallets (account_id, balance, held, debt, opened_at) {n} SELECT i, 76, 0, 0, :now FROM n",
    "INSERT INTO buckets (id, account_id, kind, priority, source, granted, remaining, expired, clawed, clawed_spent, "
    "clawed_expired, claw_version, granted_at) {n} SELECT i, i, 'purchase', 2, 'charge:' || i, 100, 76, 0, 0, 0, 0, 0, "
    " :now FROM n",
    "INSERT INTO ledger_transactions (id, account_id, kind, credits, debt, used, balance_after, reason, at) {n} "
    "SELECT i, i, 'grant', 100, 0, 0, 100, '', :now FROM n",
    "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) {n} "
    "SELECT i, 1, 'issued', i, -100 FROM n UNION ALL SELECT i, 2, 'available', i, 100 FROM n",
)
SPEND_STATEMENTS = (
    "INSERT INTO ledger_transactions (id, account_id, kind, credits, debt, used, balance_after, reason, at) {n} "
    "SELECT i + CAST(:last AS BIGINT) * CAST(:round AS BIGINT), i, 'spend', -1, 0, 1, 100 - CAST(:round AS BIGINT), '',"
    " :now FROM n",
    "INSERT INTO ledger_entries (transaction_id, line, book, bucket_id, amount) {n} "
    "SELECT i + CAST(:last AS BIGINT) * CAST(:round AS BIGINT), 1, 'available', i, -1 FROM n UNION ALL "
    "SELECT i + CAST(:last AS BIGINT) * CAST(:round AS BIGINT), 2, 'consumed', i, 1 FROM n",
)


@proof(
    "Q5",
    "wrong or slow over large books",
    passes="0 wrong, at most 5 s",
    quick={"entries": 20_000},
    whole={"entries": 1_000_000},
    alone=True,
)
def measure(engine: str, *, seed: int, entries: int) -> Outcome:
    """Fill the books, have the doctor look twice, and compare what it says with what is true."""
    with laboratory(engine) as place:
        accounts = max(1, entries // (2 * (SPENDS + 1)))
        _fill(place, accounts)
        problems, seconds = _look()
        if problems:
            problems = [f"found in sound books: {each}" for each in problems]
        if seconds > BAR_SECONDS:
            problems.append(f"took {seconds:.1f} s")
        with db.engine.begin() as connection:
            connection.execute(
                text("UPDATE wallets SET balance = balance + 1 WHERE account_id = :id"), {"id": accounts}
            )
        needle, _ = _look()
        if not any(each.startswith(f"I1 wallet {accounts}:") for each in needle):
            problems.append("the one wrong balance was not found")
    return Outcome(entries, problems, f"entries of {accounts:,} accounts gone through in {seconds:.1f} s")


def _look() -> tuple[list[str], float]:
    """Return what the doctor says, and the seconds it took."""
    started = time.monotonic()
    with Session(db.engine) as session:
        found = [finding.problem for _, told in doctor.examine(session, offline=True) for finding in told]
    return found, time.monotonic() - started


def _fill(place: Laboratory, accounts: int) -> None:
    numbers = NUMBERS[place.engine]
    values = {"last": accounts, "now": "2026-11-21 12:00:00+00:00"}
    with db.engine.begin() as connection:
        for statement in STATEMENTS:
            connection.execute(text(_placed(statement, numbers)), values)
        for number in range(1, SPENDS + 1):
            for statement in SPEND_STATEMENTS:
                connection.execute(text(_placed(statement, numbers)), {**values, "round": number})
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _placed(statement: str, numbers: str) -> str:
    head, _, rest = statement.partition("{n}")
    return head + numbers + rest


if __name__ == "__main__":
    sys.exit(main(measure))
