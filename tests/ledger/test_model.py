"""Random histories agree with an oracle; and the histories are good enough to find a ledger that is wrong.

The long versions are `python -m proofs.ledger_model --calls 100000 --database sqlite` (and `postgresql`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from extensions import db
from ledger import adjusting, buckets, clawback, granting, holds, journal, spending, wallets
from ledger.errors import LedgerCorrupt, NotEnoughCredits
from ledger.models import Book, Bucket, CreditKind
from proofs import ledger_model
from proofs.throwaway import Laboratory
from tests.databases import PostgresqlDatabase, SqliteFile

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def place(context: Flask, database: SqliteFile | PostgresqlDatabase) -> Laboratory:
    """The database of the suite, for histories that begin with empty tables."""
    return Laboratory(context, db.engine.dialect.name, database)


def test_random_histories_agree_with_the_oracle(place: Laboratory) -> None:
    tally = ledger_model.run_histories(place, histories=20, seed=2026, steps=30)
    assert tally.calls > 300
    assert 0 < tally.refusals < tally.calls / 2


def forget_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every spend counts, also the one that is only repeated."""
    original, number = spending.spend, itertools.count()

    def spend(session: Session, account_id: int, credits: int, *, idempotency_key: str, **more: Any) -> Any:
        return original(session, account_id, credits, idempotency_key=f"{idempotency_key} {next(number)}", **more)

    monkeypatch.setattr(spending, "spend", spend)


def forget_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key answers whatever comes under it."""
    monkeypatch.setattr(journal, "fingerprint", lambda *_: "same")


def grant_per_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message about a payment grants anew."""
    original, number = granting.grant, itertools.count()

    def grant(session: Session, account_id: int, credits: int, *, source: str, **more: Any) -> Any:
        return original(session, account_id, credits, source=f"{source} {next(number)}", **more)

    monkeypatch.setattr(granting, "grant", grant)


def claw_deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refund message subtracts once more."""
    original = clawback.claw_to

    def claw_to(session: Session, account_id: int, source: str, target: int, *, version: int | None = None) -> Any:
        known = session.execute(
            select(Bucket.granted, Bucket.clawed).where(Bucket.account_id == account_id, Bucket.source == source)
        ).one()
        return original(session, account_id, source, min(known.granted, known.clawed + target), version=version)

    monkeypatch.setattr(clawback, "claw_to", claw_to)


def ignore_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives last wins, however early it was read."""
    original, number = clawback.claw_to, itertools.count(10**6)

    def claw_to(session: Session, account_id: int, source: str, target: int, *, version: int | None = None) -> Any:
        return original(session, account_id, source, target, version=next(number))

    monkeypatch.setattr(clawback, "claw_to", claw_to)


def forgive_what_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refund takes what is left and forgets the rest: no debt."""
    original = clawback._take

    def take(*args: Any, **kwargs: Any) -> list[journal.Move]:
        return [move for move in original(*args, **kwargs) if move.origin is not Book.DEBT]

    monkeypatch.setattr(clawback, "_take", take)


def restore_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes back into its bucket, whether it fits or not (reliability's B.5.6)."""
    monkeypatch.setattr(clawback, "_room", lambda _wallet, _bucket, *, used, unused, repaid: used + unused - repaid)


def spend_what_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a nightly job expires credits."""
    monkeypatch.setattr(wallets.LockedWallet, "has_credits_due", False)


def spend_purchases_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was paid for goes before what is given away."""
    monkeypatch.setattr(buckets, "PRIORITY", {kind: -rank for kind, rank in buckets.PRIORITY.items()})


def charge_for_dead_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep captures instead of releasing."""

    def expire(session: Session, hold_id: int) -> bool:
        holds.capture(session, hold_id)
        return True

    monkeypatch.setattr(holds, "_expire", expire)


def return_holds_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back from a hold fills the bucket that the hold emptied last, not first."""
    original = holds._moves
    monkeypatch.setattr(
        holds, "_moves", lambda wallet, lines, captured: original(wallet, list(reversed(lines)), captured)
    )


def spend_while_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disputed payment stops nothing."""

    def find_refusal(wallet: wallets.LockedWallet, credits: int) -> NotEnoughCredits | None:
        return NotEnoughCredits(credits, wallet.balance) if wallet.balance < credits else None

    monkeypatch.setattr(spending, "find_refusal", find_refusal)


def grant_before_repaying(monkeypatch: pytest.MonkeyPatch) -> None:
    """New credits are all available, and the debt stays."""

    def incoming(bucket_id: int, *, credits: int, repaid: int) -> list[journal.Move]:
        return [journal.Move(Book.ISSUED, Book.AVAILABLE, credits + repaid, bucket_id)]

    original = buckets.fill

    def fill(wallet: wallets.LockedWallet, credits: int, *, remaining: int, **more: Any) -> int:
        return original(wallet, credits, remaining=credits, **more)

    monkeypatch.setattr(buckets, "fill", fill)
    monkeypatch.setattr(granting, "incoming", incoming)


def adjust_without_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form sent twice adjusts twice."""
    original, number = adjusting.adjust, itertools.count()

    def adjust(session: Session, account_id: int, credits: int, *, idempotency_key: str, **more: Any) -> Any:
        return original(session, account_id, credits, idempotency_key=f"{idempotency_key} {next(number)}", **more)

    monkeypatch.setattr(adjusting, "adjust", adjust)


# Each with a seed that finds it soon; another seed finds it later.
MUTANTS: dict[Patch, int] = {
    forget_keys: 1,
    forget_what_was_asked: 1,
    grant_per_delivery: 1,
    claw_deltas: 1,
    ignore_the_fence: 1,
    forgive_what_was_spent: 1,
    spend_what_has_expired: 1,
    spend_purchases_first: 1,
    charge_for_dead_work: 6,
    return_holds_anywhere: 5,
    spend_while_frozen: 1,
    grant_before_repaying: 1,
    adjust_without_key: 1,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_ledger_that_is_wrong_is_found_out(place: Laboratory, monkeypatch: pytest.MonkeyPatch, mutant: Patch) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, LedgerCorrupt, DBAPIError)):
        ledger_model.run_histories(place, histories=500, seed=MUTANTS[mutant])
    monkeypatch.undo()
    place.empty()


def tell_the_story_of_the_overflow(place: Laboratory) -> None:
    """A hold comes back to a bucket whose refund then fails: random histories need some thousand calls to get here."""
    ledger_model.LedgerHistory.place = place
    with ledger_model.frozen_clock():
        history = ledger_model.LedgerHistory()
        steps: list[Callable[[], object]] = [
            lambda: history.grant(0, 26, "purchase", "charge:1", None),
            lambda: history.reserve(0, 13, "a", "CV check", timedelta(hours=6), None),
            lambda: history.claw_to(0, "charge:1", 26, 1),
            lambda: history.grant(0, 20, "purchase", "charge:2", None),
            lambda: history.call(*history.releasing(history.holds[0])),
            lambda: history.claw_to(0, "charge:1", 0, 2),
        ]
        for step in steps:
            step()
            history.nothing_contradicts_itself()
            history.the_ledger_and_the_oracle_agree()


def test_the_story_of_the_overflow_agrees_with_the_oracle(place: Laboratory) -> None:
    tell_the_story_of_the_overflow(place)
    assert ledger_model.LedgerHistory.place is place


def test_a_ledger_that_overflows_a_bucket_is_found_out(place: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    restore_without_room(monkeypatch)
    with pytest.raises(DBAPIError, match=r"(?i)constraint"):
        tell_the_story_of_the_overflow(place)
    monkeypatch.undo()
    place.empty()


def test_every_kind_of_credits_has_a_place_in_the_spend_order(place: Laboratory) -> None:
    assert set(buckets.PRIORITY) == set(buckets.KIND_NAMES) == set(CreditKind)
