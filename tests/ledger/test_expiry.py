"""Credits run out when their time is over, and the statement says so."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

import clock as app_clock
from database import write
from extensions import db
from ledger import expiry, granting, spending, statement
from ledger.models import Wallet
from tests.worlds import Clock


def give(account: int, credits: int, source: str, days: float | None, kind: str = "plan") -> None:
    until = None if days is None else app_clock.now() + timedelta(days=days)
    write(granting.grant, account, credits, kind=kind, source=source, expires_at=until)


def test_credits_that_expire_leave_a_line_per_source(account: int, clock: Clock) -> None:
    give(account, 5, "invoice:1", 1)
    give(account, 3, "trial", 2, kind="trial")
    give(account, 2, "charge:1", None, kind="purchase")
    clock.advance(days=3)
    assert write(expiry.expire_due, account) == 8
    lines = statement.recent(db.session, account, 2)
    assert [(line.reason, line.credits, line.balance, line.reference) for line in lines] == [
        ("Unused trial credits expired", -3, 2, "trial"),
        ("Unused plan credits expired", -5, 5, "invoice:1"),
    ]


def test_nothing_expires_before_its_time_and_nothing_twice(account: int, clock: Clock) -> None:
    give(account, 5, "invoice:1", 1)
    assert write(expiry.expire_due, account) == 0
    clock.advance(days=1)
    assert [write(expiry.expire_due, account) for _ in range(2)] == [5, 0]


def test_each_expires_at_its_very_instant_and_the_next_one_is_waited_for(
    account: int, clock: Clock, still_time: None
) -> None:
    for days in (2, 1, 3):
        give(account, days, f"invoice:{days}", days)
    instants = [app_clock.now() + timedelta(days=days) for days in (1, 2, 3)]
    for expired, following in zip((1, 2, 3), [*instants[1:], None], strict=True):
        clock.advance(days=1)
        assert write(expiry.sweep) == expired
        assert db.session.scalar(select(Wallet.next_expiry_at)) == following
        db.session.rollback()


def test_a_balance_never_counts_what_has_expired(account: int, clock: Clock, still_time: None) -> None:
    give(account, 5, "invoice:1", 1)
    give(account, 7, "invoice:2", 2)
    clock.advance(days=1)
    assert statement.balance(db.session, account).total == 7
    assert [source.source for source in statement.balance(db.session, account).sources] == ["invoice:2"]


def test_a_sweep_finds_the_wallets_that_nobody_touches(account: int, other_account: int, clock: Clock) -> None:
    give(other_account, 4, "invoice:1", 1)
    give(account, 5, "invoice:1", 2)
    clock.advance(days=1)
    assert write(expiry.sweep) == 4
    clock.advance(days=1)
    assert write(expiry.sweep) == 5
    assert write(expiry.sweep) == 0


def test_a_sweep_takes_no_more_wallets_than_it_was_asked_to(account: int, other_account: int, clock: Clock) -> None:
    give(account, 4, "invoice:1", 2)
    give(other_account, 5, "invoice:1", 1)
    clock.advance(days=3)
    assert [write(expiry.sweep, limit=1) for _ in range(3)] == [5, 4, 0]


def test_a_wallet_whose_due_credits_were_spent_is_looked_at_once(account: int, clock: Clock) -> None:
    give(account, 5, "invoice:1", 1)
    write(spending.spend, account, 5, idempotency_key="a", reason="CV check")
    clock.advance(days=2)
    assert write(expiry.expire_due, account) == 0
    assert db.session.scalar(select(Wallet.next_expiry_at)) is None


def test_credits_granted_too_late_expire_at_once(account: int) -> None:
    give(account, 5, "invoice:1", -1)
    assert statement.balance(db.session, account).total == 0
    assert write(expiry.expire_due, account) == 5


def test_a_line_is_dated_when_its_credits_expired_and_not_when_they_were_swept(
    account: int, clock: Clock, still_time: None
) -> None:
    began = app_clock.now()
    give(account, 9, "charge:1", None, kind="purchase")
    give(account, 5, "invoice:1", 1)
    give(account, 3, "trial", 2, kind="trial")
    clock.advance(days=5)
    write(spending.spend, account, 1, idempotency_key="a", reason="CV check")
    lines = statement.recent(db.session, account, 3)[::-1]
    assert [(line.reason, (line.at - began).days, line.balance) for line in lines] == [
        ("Unused plan credits expired", 1, 12),
        ("Unused trial credits expired", 2, 9),
        ("CV check", 5, 8),
    ]
    days = statement.daily_balance(db.session(), account, began.date(), app_clock.now().date())
    assert [day.credits for day in days] == [17, 12, 9, 9, 9, 8]


def test_credits_that_were_over_when_they_came_expire_when_they_came(account: int, still_time: None) -> None:
    give(account, 5, "invoice:1", -3)
    assert write(expiry.expire_due, account) == 5
    assert {line.at for line in statement.recent(db.session, account)} == {app_clock.now()}
