"""Random histories of credits, told to the ledger and to an oracle, which must agree after every call.

    python -m proofs.ledger_model --calls 100000 --database sqlite

After every call the ledger's invariants are checked as well (ledger/invariants.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, text
from sqlalchemy.orm import Session

import clock
import database
from extensions import db
from ledger import adjusting, clawback, expiry, freezing, granting, holds, invariants, spending, statement
from ledger.errors import LedgerError
from ledger.models import Bucket
from proofs import ledger_oracle as oracle
from proofs.ledger_oracle import Refused
from proofs.registry import Outcome, main, proof
from proofs.throwaway import Laboratory, laboratory

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
STEPS = 50

amounts = st.integers(1, 30)
# Mostly Ann: the second account is there to show that nothing leaks from one to the other.
people = st.sampled_from([0, 0, 0, 0, 1])
# Every other request repeats a key; what a repetition asks for is the same only sometimes.
keys = st.one_of(st.sampled_from("abc"), st.uuids().map(str))
reasons = st.sampled_from(["CV check", "CV check", "Export"])
kinds = st.sampled_from(["trial", "promo", "plan", "purchase", "adjust"])
sources = st.one_of(st.sampled_from(["trial", "invoice:1", "charge:1"]), st.uuids().map(str))
lifetimes = st.sampled_from([None, None, *(timedelta(days=days) for days in (-1, 0.1, 3, 30, 30))])
leases = st.sampled_from([timedelta(minutes=20), timedelta(hours=6)])
leaps = st.sampled_from([timedelta(minutes=10), timedelta(hours=3), timedelta(days=2), timedelta(days=12)])
causes = st.sampled_from(["dispute:1", "dispute:2"])
percents = st.sampled_from([0, 0, 25, 50, 75, 100, 100])
# Most requests ask for a part of what is there, or else nearly all would be refused.
shares = st.one_of(st.integers(1, 100), st.integers(1, 100), st.none())
seldom = st.sampled_from([False, False, False, True])


NOTHING = (0, 0, False, 0, [])
_WALLETS = text(
    "SELECT account_id, held, debt, frozen_reason IS NOT NULL, "
    "(SELECT COALESCE(SUM(used), 0) FROM ledger_transactions t WHERE t.account_id = w.account_id) FROM wallets w"
)
_BUCKETS = select(
    *(
        Bucket.__table__.c[name]
        for name in ("account_id", "source", "kind", "granted", "remaining", "expired", "clawed", "expires_at")
    )
).order_by(Bucket.__table__.c.id)


@dataclass
class Tally:
    """How much a run has tried."""

    calls: int = 0
    refusals: int = 0
    histories: int = 0


class LedgerHistory(RuleBasedStateMachine):
    """Two accounts that live through everything that can happen to credits."""

    place: ClassVar[Laboratory]
    tally: ClassVar[Tally] = Tally()
    now: ClassVar[datetime] = START

    def __init__(self) -> None:
        super().__init__()
        self.place.empty()
        LedgerHistory.now = START
        self.tally.histories += 1
        self.accounts = [self.place.new_account(name) for name in ("Ann", "Ben")]
        self.wallets = [oracle.Wallet(), oracle.Wallet()]
        self.holds: list[tuple[int, oracle.Hold, oracle.Wallet]] = []
        self.version = 0

    def call(self, expected: Callable[[], Any], operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Ask the oracle, then the ledger, and compare: the same refusal, or the same answer to "was it new"."""
        for wallet in self.wallets:
            wallet.pass_time(self.now)
        self.tally.calls += 1
        try:
            foreseen, is_new = "done", expected()
        except Refused as refusal:
            foreseen, is_new = str(refusal), None
            self.tally.refusals += 1
        result = None
        try:
            result = database.write(operation, *args, **kwargs)
            happened = "done"
        except LedgerError as error:
            happened = type(error).__name__
        assert happened == foreseen, f"the ledger says {happened}, the oracle {foreseen}"
        if isinstance(is_new, bool):
            assert _was_new(result) == is_new, f"{result} should be {'new' if is_new else 'a repetition'}"
        return result

    @rule(who=people, credits=amounts, kind=kinds, source=sources, lifetime=lifetimes)
    def grant(self, who: int, credits: int, kind: str, source: str, lifetime: timedelta | None) -> None:
        until = None if lifetime is None else self.now + lifetime
        self.call(
            lambda: self.wallets[who].grant(credits, kind, source, until),
            granting.grant,
            self.accounts[who],
            credits,
            kind=kind,
            source=source,
            expires_at=until,
        )

    @initialize(credits=amounts)
    def begin_with_credits(self, credits: int) -> None:
        for who in (0, 1):
            self.grant(who, credits + who, "plan", "invoice:0", timedelta(days=30))

    @rule(who=people, credits=amounts, key=keys, reason=reasons, share=shares)
    def spend(self, who: int, credits: int, key: str, reason: str, share: int | None) -> None:
        wallet = self.wallets[who]
        wanted = self.part_of(wallet, share) or credits
        self.call(
            lambda: wallet.spend(wanted, key, reason),
            spending.spend,
            self.accounts[who],
            wanted,
            idempotency_key=key,
            reason=reason,
        )

    @rule(who=people, credits=amounts, key=keys, reason=reasons, lease=leases, share=shares)
    def reserve(self, who: int, credits: int, key: str, reason: str, lease: timedelta, share: int | None) -> None:
        wallet = self.wallets[who]
        wanted = self.part_of(wallet, share) or credits
        result = self.call(
            lambda: wallet.reserve(wanted, key, reason, self.now + lease),
            holds.reserve,
            self.accounts[who],
            wanted,
            idempotency_key=key,
            reason=reason,
            lease=lease,
        )
        if result is not None and not result.is_replay:
            self.holds.append((result.hold_id, wallet.holds[-1], wallet))

    def part_of(self, wallet: oracle.Wallet, percent: int | None) -> int:
        wallet.pass_time(self.now)
        return 0 if percent is None else -(-wallet.balance * percent // 100)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), share=st.sampled_from([1, 50, 100]), is_old=seldom)
    def capture(self, data: st.DataObject, share: int, is_old: bool) -> None:
        hold_id, hold, wallet = self.pick_hold(data, is_old)
        credits = -(-hold.credits * share // 100)
        self.call(lambda: wallet.settle(hold, credits, "captured", self.now), holds.capture, hold_id, credits)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), is_old=seldom)
    def release(self, data: st.DataObject, is_old: bool) -> None:
        self.call(*self.releasing(self.pick_hold(data, is_old)))

    def releasing(self, entry: tuple[int, oracle.Hold, oracle.Wallet]) -> tuple[Any, ...]:
        hold_id, hold, wallet = entry
        return lambda: wallet.settle(hold, 0, "released", self.now), holds.release, hold_id

    def pick_hold(self, data: st.DataObject, is_old: bool) -> tuple[int, oracle.Hold, oracle.Wallet]:
        still_open = [entry for entry in self.holds if entry[1].status == "open"]
        return data.draw(st.sampled_from(self.holds if is_old or not still_open else still_open))

    def sweep(self) -> None:
        self.call(lambda: None, expiry.sweep)
        due = [(hold, wallet) for _, hold, wallet in self.holds if hold.status == "open"]
        due = [(hold, wallet) for hold, wallet in due if hold.expires_at <= self.now]
        order = sorted(due, key=lambda pair: self.wallets.index(pair[1]))

        def give_back() -> None:
            for hold, wallet in order:
                wallet.settle(hold, 0, "expired", self.now)

        assert self.call(give_back, holds.sweep) == len(due)

    @precondition(lambda self: any(wallet.buckets for wallet in self.wallets))
    @rule(data=st.data(), percent=percents, is_stale=seldom)
    def refund_or_dispute(self, data: st.DataObject, percent: int, is_stale: bool) -> None:
        pairs = [(who, bucket) for who in (0, 1) for bucket in self.wallets[who].buckets]
        who, bucket = data.draw(st.sampled_from(pairs))
        self.version += 1
        version = max(1, bucket.version - 1) if is_stale else self.version
        self.claw_to(who, bucket.source, -(-bucket.granted * percent // 100), version)

    def claw_to(self, who: int, source: str, target: int, version: int) -> None:
        wallet = self.wallets[who]
        bucket = wallet.bucket(source)
        assert bucket is not None
        result = self.call(
            lambda: wallet.claw_to(bucket, target, version, self.now),
            clawback.claw_to,
            self.accounts[who],
            source,
            target,
            version=version,
        )
        assert result.clawed == bucket.clawed

    @rule(who=people, credits=st.integers(-9, 9).filter(bool), key=keys, reason=reasons)
    def adjust(self, who: int, credits: int, key: str, reason: str) -> None:
        self.call(
            lambda: self.wallets[who].adjust(credits, key, reason),
            adjusting.adjust,
            self.accounts[who],
            credits,
            idempotency_key=key,
            reason=reason,
            actor="Eve",
        )

    @precondition(lambda self: any(wallet.debt for wallet in self.wallets))
    @rule(who=people, credits=amounts, key=keys, reason=reasons)
    def forgive(self, who: int, credits: int, key: str, reason: str) -> None:
        credits = min(credits, self.wallets[who].debt) or credits
        self.call(
            lambda: self.wallets[who].forgive(credits, key, reason),
            adjusting.forgive,
            self.accounts[who],
            credits,
            idempotency_key=key,
            reason=reason,
            actor="Eve",
        )

    @rule(who=people, cause=causes, is_freeze=seldom)
    def freeze_or_unfreeze(self, who: int, cause: str, is_freeze: bool) -> None:
        wallet = self.wallets[who]
        changes = (cause in wallet.freezes) != is_freeze
        if is_freeze:
            operation, reason, foresee = freezing.freeze, "A payment is disputed", wallet.freezes.add
        else:
            operation, reason, foresee = freezing.unfreeze, "", wallet.freezes.discard
        assert self.call(lambda: foresee(cause), operation, self.accounts[who], cause, reason=reason) == changes

    @rule(who=people)
    def read_the_balance(self, who: int) -> None:
        wallet = self.wallets[who]
        wallet.pass_time(self.now)
        with Session(db.engine) as session:
            shown = statement.balance(session, self.accounts[who])
        assert (shown.total, shown.held, shown.debt) == (wallet.balance, wallet.held, wallet.debt)
        assert [s.source for s in shown.sources] == [b.source for b in wallet.in_spend_order() if b.left]

    @rule(leap=leaps, is_swept=st.booleans())
    def pass_time(self, leap: timedelta, is_swept: bool) -> None:
        LedgerHistory.now += leap
        if is_swept:
            self.sweep()

    @invariant()
    def nothing_contradicts_itself(self) -> None:
        with Session(db.engine) as session:
            assert invariants.violations(session) == []

    @invariant()
    def the_ledger_and_the_oracle_agree(self) -> None:
        with Session(db.engine) as session:
            found = _stored_states(session, self.now)
        for account_id, wallet in zip(self.accounts, self.wallets, strict=True):
            wallet.pass_time(self.now)
            assert found.get(account_id, NOTHING) == _expected_state(wallet)


def _was_new(result: Any) -> bool:
    for answer in ("created", "applied"):
        if hasattr(result, answer):
            return bool(getattr(result, answer))
    return not result.is_replay


def _stored_states(session: Session, now: datetime) -> dict[int, tuple[Any, ...]]:
    """Return of each account what is held, owed, frozen and used, and its buckets."""
    states = {}
    for account_id, held, debt, is_frozen, used in session.execute(_WALLETS):
        states[account_id] = (held, debt, bool(is_frozen), used, [])
    for account_id, source, kind, granted, remaining, expired, clawed, expires_at in session.connection().execute(
        _BUCKETS
    ):
        # What is due counts as expired, even if no operation has met it yet.
        is_over = expires_at is not None and expires_at <= now
        left, gone = (0, expired + remaining) if is_over else (remaining, expired)
        states[account_id][-1].append((source, kind, granted, left, gone, clawed))
    return states


def _expected_state(wallet: oracle.Wallet) -> tuple[Any, ...]:
    contents = [(b.source, b.kind, b.granted, b.left, b.expired, b.clawed) for b in wallet.buckets]
    return (wallet.held, wallet.debt, bool(wallet.freezes), wallet.used, contents)


@contextmanager
def frozen_clock() -> Iterator[None]:
    """Let the histories alone decide what time it is."""
    original = clock.now
    clock.now = lambda: LedgerHistory.now
    try:
        yield
    finally:
        clock.now = original


def run_histories(place: Laboratory, *, histories: int, seed: int, steps: int = STEPS) -> Tally:
    """Run random histories on a database and return what was tried; raises AssertionError on the first violation."""
    LedgerHistory.place = place
    LedgerHistory.tally = Tally()
    with frozen_clock():
        run_state_machine_as_test(
            hypothesis.seed(seed)(LedgerHistory),
            settings=settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return LedgerHistory.tally


def prove(engine: str, calls: int, seed: int) -> Tally:
    """Run histories until so many calls were made, at most a hundred histories per seed, and return the sum."""
    total = Tally()
    with laboratory(engine) as place:
        while total.calls < calls:
            tally = run_histories(place, histories=min(100, max(1, calls // 30)), seed=seed)
            total = Tally(total.calls + tally.calls, total.refusals + tally.refusals, total.histories + tally.histories)
            seed += 1
    return total


@proof(
    "R9",
    "calls that ledger and oracle judge differently",
    passes="0 different",
    quick={"calls": {"sqlite": 2_000, "postgresql": 500}},
    whole={"calls": {"sqlite": 100_000, "postgresql": 20_000}},
)
def measure(engine: str, *, seed: int, calls: int) -> Outcome:
    """Make so many calls of random histories; the first that differs breaks it off."""
    total = prove(engine, calls, seed)
    return Outcome(total.calls, [], f"calls in {total.histories} histories, {total.refusals} rightly refused")


if __name__ == "__main__":
    sys.exit(main(measure))
