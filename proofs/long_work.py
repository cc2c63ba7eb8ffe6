"""R12, work that takes long: its processes are killed with -9 again and again; nobody pays for what they do not get.

    python -m proofs.long_work --jobs 500 --database sqlite

Each job sets credits aside, works, and captures them in the transaction that keeps its result (docs/ledger.md, Holds);
a tenth of the jobs fails and gives them back, a tenth needs fewer than it set aside, and some outlive their lease.
Whoever takes up a job again uses its key again. Meanwhile another process sweeps the holds whose lease ran out. Oracle:
the results themselves. Passes when every job came to its end, what was captured is what the kept results cost, each
capture has its result and each result its capture, nothing is held once the leases have run out, and the ledger's
invariants hold.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
import database
from accounts import people
from accounts.models import Account, User
from checker.models import Report, new_public_id
from extensions import db
from ledger import granting, holds, invariants
from ledger.errors import HoldSettled
from ledger.models import Hold, HoldStatus, Transaction, Wallet
from proofs.registry import Outcome, main, proof
from proofs.squad import Squad
from proofs.throwaway import laboratory

ACCOUNTS = 5
WORKERS = 4
GRANTED = 100_000
LEASE = timedelta(seconds=1)
LONGEST_LIFE = 0.6
PATIENCE_SECONDS = 600.0


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    jobs: int = 0
    results: int = 0
    kills: int = 0
    expired: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """Some work: what it sets aside, what it costs in the end (nothing when it fails), and how long it takes."""

    number: int
    account_id: int
    user_id: int
    credits: int
    cost: int
    seconds: float

    @property
    def key(self) -> str:
        """What the job is known by."""
        return f"job:{self.number}"


def prove(engine: str, *, jobs: int, seed: int) -> Tally:
    """Do so many jobs, killing who does them."""
    chance = random.Random(seed)  # noqa: S311 - when to kill, not a secret
    tally = Tally(jobs=jobs)
    with laboratory(engine) as place:
        owners = [database.write(_sign_up, f"person{number}@example.com") for number in range(ACCOUNTS)]
        todo = [_job(number, owners[number % ACCOUNTS], chance) for number in range(jobs)]
        works = {f"worker {number}": (lambda n=number: _work(todo[n::WORKERS])) for number in range(WORKERS)}
        squad = Squad(place.app, {**works, "sweeper": _sweep_for_ever})
        squad.start()
        try:
            give_up_at = time.monotonic() + PATIENCE_SECONDS
            while len(squad.running) > 1:
                time.sleep(LONGEST_LIFE * chance.random())
                squad.kill_one(chance)
                if time.monotonic() > give_up_at:
                    tally.problems.append("the jobs are never done")
                    break
        finally:
            squad.stop()
        tally.kills = squad.kills
        tally.problems += squad.failed
        _judge(tally, todo)
    return tally


def _job(number: int, owner: tuple[int, int], chance: random.Random) -> Job:
    credits = chance.randint(2, 6)
    cost = 0 if number % 10 == 3 else credits - 1 if number % 10 == 7 else credits
    seconds = 1.3 * LEASE.total_seconds() if number % 50 == 11 else 0.03 * chance.random()
    return Job(number, *owner, credits, cost, seconds)


def _work(jobs: Sequence[Job]) -> None:
    """Do one job after the other, those first that nobody has begun; come back until all are done."""
    left = list(jobs)
    random.shuffle(left)
    while left:
        left = [job for job in left if not _is_done(job) and not _do(job)]


def _is_done(job: Job) -> bool:
    with Session(db.engine) as session:
        ended = select(Hold.id).where(
            Hold.account_id == job.account_id,
            Hold.reference == job.key,
            Hold.status.in_((HoldStatus.CAPTURED, HoldStatus.RELEASED)),
        )
        return session.scalar(ended) is not None


def _do(job: Job) -> bool:
    """Do a job; return False when its lease ran out before its end, so that it is to be done again."""
    held = database.write(_reserve, job)
    time.sleep(job.seconds)
    try:
        if job.cost:
            _finish(job, held.hold_id)
        else:
            database.write(holds.release, held.hold_id)
    except HoldSettled:
        return False
    return True


def _reserve(session: Session, job: Job) -> holds.Held:
    """Set the job's credits aside, or find that they are: each hold that ran out was an attempt of its own."""
    ended = select(func.count()).select_from(Hold)
    attempt = session.scalar(
        ended.where(Hold.account_id == job.account_id, Hold.reference == job.key, Hold.status == HoldStatus.EXPIRED)
    )
    return holds.reserve(
        session,
        job.account_id,
        job.credits,
        idempotency_key=f"{job.key}:{attempt}",
        reason="Long work",
        # What outlived its lease once is given more time.
        lease=LEASE * (3 if attempt else 1),
        reference=job.key,
    )


def _finish(job: Job, hold_id: int) -> None:
    database.write(_keep, job, hold_id)


def _keep(session: Session, job: Job, hold_id: int) -> None:
    """Charge for the result and keep it, both or neither."""
    settled = holds.capture(session, hold_id, job.cost)
    if settled.is_replay:
        return
    session.add(
        Report(
            public_id=new_public_id(),
            account_id=job.account_id,
            user_id=job.user_id,
            transaction_id=settled.transaction_id,
            idempotency_key=job.key,
            title="Result",
            score=50,
            pages=1,
            credits=job.cost,
            content={},
        )
    )


def _sweep_for_ever() -> None:
    while True:
        database.write(holds.sweep, limit=50)
        time.sleep(0.05)


def _judge(tally: Tally, jobs: Sequence[Job]) -> None:
    clock.travel(10 * LEASE)
    try:
        database.write(holds.sweep, limit=10_000)
    finally:
        clock.reset()
    with Session(db.engine) as session:
        results = {row.idempotency_key: row for row in session.scalars(select(Report))}
        captures = {row.id: row.used for row in session.scalars(select(Transaction).where(Transaction.used > 0))}
        found = session.execute(select(Hold.reference, Hold.status)).all()
        wallets = session.scalars(select(Wallet)).all()
        held, balance = sum(w.held for w in wallets), sum(w.balance for w in wallets)
        tally.problems += invariants.violations(session)
    tally.results = len(results)
    tally.expired = sum(status == HoldStatus.EXPIRED for _, status in found)
    ended = {reference for reference, status in found if status in (HoldStatus.CAPTURED, HoldStatus.RELEASED)}
    for job in jobs:
        result = results.get(job.key)
        if job.key not in ended:
            tally.problems.append(f"{job.key} never came to an end")
        elif bool(job.cost) != (result is not None):
            tally.problems.append(f"{job.key} was to cost {job.cost} and has {'a' if result else 'no'} result")
        elif result is not None and captures.get(result.transaction_id) != job.cost:
            tally.problems.append(f"{job.key} was charged {captures.get(result.transaction_id)}, not {job.cost}")
    if len(captures) != len(results):
        tally.problems.append(f"{len(captures)} captures and {len(results)} results")
    if held:
        tally.problems.append(f"{held} credits are held after every lease has run out")
    if balance != ACCOUNTS * GRANTED - sum(captures.values()):
        tally.problems.append(f"the balance is {balance}, of {ACCOUNTS * GRANTED} less {sum(captures.values())}")


def _sign_up(session: Session, email: str) -> tuple[int, int]:
    """Return the ids of a new account and its owner, with credits of one kind only."""
    user = User(email=email, email_key=email, fs_uniquifier=people.new_uniquifier(), confirmed_at=clock.now())
    account = Account(name=email)
    session.add_all([user, account])
    session.flush()
    granting.grant(session, account.id, GRANTED, kind="purchase", source="charge:1")
    return account.id, user.id


@proof(
    "R12",
    "long work charged wrongly under kill -9",
    passes="captured is what the kept results cost, nothing held after the leases",
    quick={"jobs": 30},
    whole={"jobs": 500},
)
def measure(engine: str, *, seed: int, jobs: int) -> Outcome:
    """Do long work under kill -9."""
    tally = prove(engine, jobs=jobs, seed=seed)
    note = f"jobs, {tally.kills} kills, {tally.results} results, {tally.expired} holds that ran out"
    return Outcome(tally.jobs, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
