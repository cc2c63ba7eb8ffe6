"""What a claw-back would do is what it does, to the credit, whatever became of the grant meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

import clock as app_clock
import database
from extensions import db
from ledger import clawback, granting, holds, spending, statement
from ledger.errors import UnknownGrant
from ledger.models import Hold
from tests.worlds import Clock

SOURCE = "charge:ch_1"


def make(account: int, *, spent: int, held: int, taken: int, days: int | None) -> None:
    """Grant 30 credits beside 5 others, and use, hold and take back some of them."""
    expires_at = app_clock.now() + timedelta(days=days) if days else None
    database.write(granting.grant, account, 30, kind="purchase", source=SOURCE, expires_at=expires_at)
    database.write(granting.grant, account, 5, kind="purchase", source="charge:ch_2")
    if taken:
        database.write(clawback.claw_to, account, SOURCE, taken)
    if spent:
        database.write(spending.spend, account, spent, idempotency_key="s", reason="Work")
    if held:
        database.write(holds.reserve, account, held, idempotency_key="h", reason="Work", lease=timedelta(days=9))


@pytest.mark.parametrize("target", [0, 7, 15, 30])
@pytest.mark.parametrize("days", [None, 3])
@pytest.mark.parametrize(("spent", "held", "taken"), [(0, 0, 0), (12, 0, 0), (12, 6, 0), (25, 3, 7), (2, 0, 20)])
def test_the_preview_is_what_happens(
    account: int, clock: Clock, spent: int, held: int, taken: int, days: int | None, target: int
) -> None:
    make(account, spent=min(spent, 30 - taken), held=held, taken=taken, days=days)
    clock.advance(days=4)
    before = statement.balance(db.session(), account)
    shown = clawback.preview(db.session(), account, SOURCE, target)
    db.session.rollback()
    if target <= taken:
        assert (shown.unused, shown.expired, shown.owed) == (0, 0, 0)
        return
    done = database.write(clawback.claw_to, account, SOURCE, target)
    after = statement.balance(db.session(), account)
    assert (shown.balance, shown.debt) == (after.total, after.debt)
    assert (shown.granted, shown.clawed, shown.owed) == (30, taken, done.owed)
    assert before.total - after.total == shown.unused
    assert shown.unused + shown.expired + shown.owed == target - taken


def test_a_grant_of_which_some_expired_and_some_came_back_is_previewed_as_it_is(account: int, clock: Clock) -> None:
    make(account, spent=0, held=4, taken=0, days=3)
    clock.advance(days=4)
    database.write(holds.release, db.session.scalars(select(Hold.id)).one())
    shown = clawback.preview(db.session(), account, SOURCE, 5)
    assert (shown.unused, shown.expired, shown.owed) == (4, 1, 0)
    db.session.rollback()
    assert database.write(clawback.claw_to, account, SOURCE, 5).owed == 0


def test_what_expires_at_this_instant_is_previewed_as_expired(account: int, clock: Clock, still_time: None) -> None:
    make(account, spent=4, held=0, taken=0, days=3)
    clock.advance(days=3)
    shown = clawback.preview(db.session(), account, SOURCE, 30)
    assert (shown.unused, shown.expired, shown.owed, shown.balance) == (0, 26, 4, 5)


def test_a_grant_that_is_not_there_has_no_preview(account: int) -> None:
    with pytest.raises(UnknownGrant):
        clawback.preview(db.session(), account, "charge:ch_none", 1)
