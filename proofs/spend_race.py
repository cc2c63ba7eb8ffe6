"""R8: more people spend at once than there are credits, over HTTP; exactly the credits are spent, and nothing breaks.

    python -m proofs.spend_race --rounds 20 --spends 400 --database sqlite

In each round an account with 100 credits, and 400 requests sent in the same moment through gunicorn, each for one
credit under a key of its own. Oracle: 100 are answered with 201 and the others with 402, the balance is 0, there are
100 reports, the ledger's invariants hold, and the log tells of no database that was locked. Passes with 0 wrong.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from sqlalchemy import func, select

from checker.models import Report
from extensions import db
from ledger import invariants, statement
from proofs import busy_site
from proofs.busy_site import Answer, BusySite, Visitor
from proofs.registry import Outcome, main, proof

CREDITS = 100
BODY = json.dumps({"text": "Ann Smith\nann@example.com\nExperience\n" + "Led a team of five. " * 20}).encode()


@proof(
    "R8",
    "spends that raced for the last credits",
    passes="exactly the credits are spent, 0 answers of 500 or above, 0 locked databases",
    quick={"rounds": 1, "spends": 400},
    whole={"rounds": 20, "spends": 400},
)
def measure(engine: str, *, seed: int, rounds: int, spends: int) -> Outcome:
    """Spend more than there is, again and again; nothing is left to chance but the order, which the kernel makes."""
    problems: list[str] = []
    answers: list[Answer] = []
    with busy_site.open_site(engine, threads=16) as site:
        for number in range(rounds):
            visitor = busy_site.sign_in(site, f"racer{seed}-{number}", credits=CREDITS)
            answers += _race(site, visitor, spends, problems)
        problems += site.trouble()
    note = f"spends in {rounds} rounds for {CREDITS} credits each, p99 {busy_site.percentile(answers, 0.99):,.0f} ms"
    return Outcome(len(answers), problems, note)


def _race(site: BusySite, visitor: Visitor, spends: int, problems: list[str]) -> list[Answer]:
    def spend(number: int) -> Answer:
        headers = {**visitor.headers, "Content-Type": "application/json", "Idempotency-Key": f"request-{number}"}
        return busy_site.send(site, "POST", "/api/v1/cv", headers=headers, body=BODY)

    before = statement.balance(db.session(), visitor.account_id).total
    db.session.remove()
    answers = busy_site.at_once(spends, spend)
    statuses = Counter(answer.status for answer in answers)
    if statuses != {201: before, 402: spends - before}:
        problems.append(f"{before} credits, {spends} spends, answered with {dict(statuses)}")
    after = statement.balance(db.session(), visitor.account_id).total
    reports = db.session.scalar(select(func.count()).select_from(Report).where(Report.account_id == visitor.account_id))
    if (after, reports) != (0, before):
        problems.append(f"{before} credits became {reports} reports and a balance of {after}")
    problems += map(str, invariants.violations(db.session()))
    db.session.remove()
    return answers


if __name__ == "__main__":
    sys.exit(main(measure))
