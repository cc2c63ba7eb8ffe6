"""R2, second part: steps that are wrong in a usual way, and right as long as no process ends; each must be caught.

    python -m proofs.faulty_steps --database sqlite

Each fault below takes one step of the app out of its transaction, or takes its key away, and is told the scene of
proofs/crash_scenes.py in which the app ends at one failpoint. Passes when each is caught there, and nothing is found in
the same places without a fault. What is wrong even without an end is caught by proofs/faulty_handlers.py.
"""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import database
from billing import card_charges, gateway, receipts, refund_making, stripe_reversals, stripe_usage, sync
from blueprints import auth, reports
from checker import archive
from checker.models import Report
from ledger import holds, spending
from mail import outbox
from mail.models import SENT, Email
from proofs import crash_points, long_work
from proofs.crash_scenes import SCENES
from proofs.crash_world import World, open_world
from proofs.registry import Outcome, main, proof

Fault = Callable[[], Iterator[None]]


@dataclass(frozen=True)
class Faulty:
    """A fault, in words, and where it shows: a scene, the point at which the app ends, and at which hit."""

    words: str
    scene: str
    point: str
    at: int
    put_in: Fault


FAULTS: list[Faulty] = []
JOBS = 12


def fault(words: str, *, scene: str, point: str, at: int = 1) -> Callable[[Fault], Fault]:
    """Name a fault by what the step does wrong."""

    def keep(function: Fault) -> Fault:
        FAULTS.append(Faulty(words, scene, point, at, function))
        return function

    return keep


@fault("asks for the money of a click under a new key each time", scene="buy_by_one_click", point="topup.charged")
def top_up_without_key() -> Iterator[None]:
    call = gateway.call
    with patch.object(gateway, "call", lambda ask, **how: call(lambda client: ask(_WithoutKeys(client)), **how)):
        yield


class _WithoutKeys:
    """Stripe's client, which forgets the key of a payment."""

    def __init__(self, client: Any) -> None:
        self._client, self.v1 = client, self

    def __getattr__(self, name: str) -> Any:
        return self if name == "payment_intents" else getattr(self._client.v1, name)

    def create(self, params: Any, _key: Any) -> Any:
        return self._client.v1.payment_intents.create(params)

    def retrieve(self, *named: Any) -> Any:
        return self._client.v1.payment_intents.retrieve(*named)


@fault("charges the card again without looking what was made", scene="buy_by_one_click", point="topup.charged")
def top_up_without_a_look() -> Iterator[None]:
    ask = card_charges.ask

    def as_new(row: Any) -> Any:
        row.public_id = secrets.token_hex(16)
        return ask(row)

    with patch.object(card_charges, "ask", as_new):
        yield


@fault("refunds again under a new key", scene="money_is_paid_back", point="refund.made")
def refund_without_key() -> Iterator[None]:
    create = stripe_reversals.create_refund

    def under_new_key(params: Any, *, idempotency_key: str) -> Any:
        return create(params, idempotency_key=f"{idempotency_key}:{secrets.token_hex(4)}")

    nothing = patch.object(refund_making, "_find_made", lambda _task: None)
    with nothing, patch.object(stripe_reversals, "create_refund", under_new_key):
        yield


@fault("reports usage under a new identifier each time", scene="usage_is_told_to_stripe", point="usage.told")
def usage_without_identifier() -> Iterator[None]:
    report = stripe_usage.report_usage

    def as_new(params: Any) -> Any:
        return report({**params, "identifier": secrets.token_hex(8)})

    with patch.object(stripe_usage, "report_usage", as_new):
        yield


@fault("promises the mail after the commit", scene="reset_a_password", point="reset.committed")
def mail_after_commit() -> Iterator[None]:
    queue, sign_out = auth.mails.queue_password_changed, auth.sessions.sign_out
    changed: list[Any] = []

    def sign_out_and_tell() -> None:
        if changed:
            database.write(queue, changed.pop())
        sign_out()

    late = patch.object(auth.mails, "queue_password_changed", lambda _session, user: changed.append(user))
    with late, patch.object(auth.sessions, "sign_out", sign_out_and_tell):
        yield


@fault("writes the receipt after the commit", scene="buy_a_pack_and_return", point="sync.committed.charge")
def receipt_after_commit() -> Iterator[None]:
    promise, run = receipts.after_charge, sync._run
    paid: list[tuple[int, str]] = []

    def run_and_tell(claim: Any, **how: Any) -> None:
        run(claim, **how)
        while paid:
            database.write(promise, *paid.pop())

    late = patch.object(receipts, "after_charge", lambda _session, *which: paid.append(which))
    with late, patch.object(sync, "_run", run_and_tell):
        yield


@fault("notes a mail as sent before it is sent", scene="reset_a_password", point="outbox.rendered")
def mail_marked_first() -> Iterator[None]:
    claim = outbox._claim

    def claim_and_mark(session: Any) -> Any:
        claimed = claim(session)
        if claimed is not None:
            session.get_one(Email, claimed.id).status = SENT
        return claimed

    with patch.object(outbox, "_claim", claim_and_mark):
        yield


@fault("charges for a report and keeps it in two transactions", scene="check_a_cv", point="database.committed")
def charged_apart_from_kept() -> Iterator[None]:
    keep = reports._keep

    def keep_later(findings: Any, request_hash: str, key: str) -> Report:
        account_id, credits = reports.current_account().id, reports.credits_for(findings.pages)
        facts = {"idempotency_key": key, "reason": "CV report", "request_hash": request_hash}
        spent = database.write(spending.spend, account_id, credits, **facts)
        if spent.is_replay:
            raise LookupError("it was paid for and is not there")
        with patch.object(archive.spending, "spend", lambda *_, **__: spent):
            user_id = reports.current_user.id
            return database.write(keep, account_id, user_id, findings=findings, key=key, request_hash=request_hash)

    with patch.object(reports, "keep", keep_later):
        yield


def capture_apart_from_result() -> Iterator[None]:
    """Capture a hold in a transaction of its own, and keep the result in the next one."""
    keep = long_work._keep

    def keep_later(job: long_work.Job, hold_id: int) -> None:
        settled = database.write(holds.capture, hold_id, job.cost)
        if job.number < long_work.WORKERS:
            signal.pause()  # until the kill, which would rarely fall between the two by itself
        with patch.object(long_work.holds, "capture", lambda *_: settled):
            database.write(keep, job, hold_id)

    with patch.object(long_work, "_finish", keep_later):
        yield


def prove(engine: str, *, seed: int, faults: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield for so many faults the words, what was found with it, and what was found in the same place without."""
    chosen = FAULTS[:faults]
    entries = {entry.name: entry for entry in SCENES}
    for catalogue in dict.fromkeys(entries[each.scene].catalogue for each in chosen):
        with open_world(engine, seed, catalogue) as world:
            for each in (each for each in chosen if entries[each.scene].catalogue == catalogue):
                yield each.words, _found(world, each, seed, with_it=True), _found(world, each, seed, with_it=False)


def _found(world: World, faulty: Faulty, seed: int, *, with_it: bool) -> list[str]:
    world.shop.reopen(seed)
    tally = crash_points.Tally()
    entry = next(entry for entry in SCENES if entry.name == faulty.scene)
    with contextmanager(faulty.put_in)() if with_it else contextmanager(_nothing)():
        crash_points._try(world, tally, entry, faulty.point, at=(faulty.at,), walks_away=False)
    return tally.problems


def _nothing() -> Iterator[None]:
    yield


@proof(
    "R2",
    "faulty steps that go unnoticed",
    passes="all caught where the app ends, and nothing found without a fault",
    quick={"faults": {"sqlite": 3, "postgresql": 2}},
    whole={"faults": 100},
)
def measure(engine: str, *, seed: int, faults: int) -> Outcome:
    """Put one fault after the other into the app, and end it where that shows."""
    results = list(prove(engine, seed=seed, faults=faults))
    with contextmanager(capture_apart_from_result)():
        results.append(("captures before it keeps", long_work.prove(engine, jobs=JOBS, seed=seed).problems, []))
    problems = [f"not caught: {words}" for words, found, _ in results if not found]
    problems += [f"without a fault: {problem}" for _, _, innocent in results for problem in innocent]
    return Outcome(len(results), problems, "faults, each in one scene")


if __name__ == "__main__":
    sys.exit(main(measure))
