"""The last credit, the last second and the first of all: where a small fault in the ledger would hide."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import literal, select
from sqlalchemy.orm import Session

import clock as app_clock
from accounts.models import Account
from database import write
from extensions import db
from ledger import adjusting, clawback, granting, holds, journal, spending, statement, wallets
from ledger.errors import LedgerCorrupt, NotEnoughCredits
from ledger.models import entries, hold_lines
from ledger.statement import DayBalance
from tests.worlds import Clock


def give(account: int, credits: int, source: str = "pack", **more: object) -> granting.Granted:
    return write(granting.grant, account, credits, kind="purchase", source=source, **more)  # type: ignore[arg-type]


def adjust(account: int, credits: int, key: str) -> adjusting.Adjusted:
    return write(adjusting.adjust, account, credits, idempotency_key=key, reason="Goodwill", actor="Eve")


def test_one_credit_can_be_added_and_the_last_one_removed_but_not_one_more(account: int) -> None:
    assert adjust(account, 1, "one more").balance == 1
    assert adjust(account, -1, "one less").balance == 0
    with pytest.raises(NotEnoughCredits):
        adjust(account, -1, "one too many")


@pytest.mark.parametrize("credits", [0, -1, True])
def test_a_debt_is_forgiven_in_whole_credits(account: int, credits: int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        write(adjusting.forgive, account, credits, idempotency_key="form", reason="Goodwill", actor="Eve")


def test_the_largest_grant_is_taken_and_one_credit_more_is_not(account: int) -> None:
    assert give(account, journal.MAX_CREDITS).balance == journal.MAX_CREDITS
    with pytest.raises(ValueError, match="whole number"):
        give(account, journal.MAX_CREDITS + 1, "more")


def test_a_grant_says_what_was_taken_back_of_it_since(account: int) -> None:
    assert give(account, 10).clawed == 0
    assert give(account, 10).repaid == 0
    write(clawback.claw_to, account, "pack", 4)
    assert give(account, 10).clawed == 4


def test_more_than_a_grant_cannot_be_taken_back_of_it(account: int) -> None:
    give(account, 10)
    give(account, 90, "another")
    with pytest.raises(ValueError, match="cannot be taken back of a grant of 10"):
        write(clawback.claw_to, account, "pack", 11)


def test_credits_given_back_after_their_end_can_be_used_for_seven_days(account: int, clock: Clock) -> None:
    give(account, 10, expires_at=app_clock.now() + timedelta(days=1))
    write(clawback.claw_to, account, "pack", 10)
    clock.advance(days=2)
    write(clawback.claw_to, account, "pack", 0)
    clock.advance(days=6, hours=23)
    assert statement.balance(db.session(), account).total == 10
    clock.advance(hours=1)
    assert statement.balance(db.session(), account).total == 0


def test_an_account_can_be_given_credits_in_the_unit_of_work_that_makes_it(account: int) -> None:
    def make_and_give(session: Session) -> None:
        session.add(Account(id=account + 1, name="Cleo"))
        granting.grant(session, account + 1, 5, kind="promo", source="welcome")

    write(make_and_give)
    assert statement.balance(db.session(), account + 1).total == 5


def test_a_key_may_be_as_long_as_two_hundred_characters(account: int) -> None:
    longest = "k" * journal.MAX_KEY_LENGTH
    assert give(account, 1, longest).created
    assert write(spending.spend, account, 1, idempotency_key=longest, reason="CV check").balance == 0
    with pytest.raises(ValueError, match="1 to 200 printable"):
        give(account, 1, longest + "k")


def test_the_lines_of_transactions_and_holds_are_numbered_from_one(account: int) -> None:
    give(account, 1, "one")
    give(account, 5, "two")
    held = write(holds.reserve, account, 3, idempotency_key="job", reason="Long check", lease=timedelta(hours=1))
    own = select(entries.c.line).where(entries.c.transaction_id == held.hold_id).order_by(entries.c.line)
    assert db.session.scalars(own).all() == [1, 2, 3, 4]
    parts = select(hold_lines.c.line, hold_lines.c.credits).where(hold_lines.c.hold_id == held.hold_id)
    assert db.session.execute(parts.order_by(hold_lines.c.line)).all() == [(1, 1), (2, 2)]


def test_a_quiet_day_keeps_the_balance_of_the_day_before(account: int, other_account: int, clock: Clock) -> None:
    assert statement.first_day(db.session(), account) is None
    give(other_account, 99)
    clock.advance(days=3)
    first = app_clock.now().date()
    give(account, 10)
    write(spending.spend, account, 3, idempotency_key="a", reason="CV check")
    clock.advance(days=2)
    write(spending.spend, account, 2, idempotency_key="b", reason="CV check")
    db.session.rollback()
    days = [first + timedelta(days=number) for number in range(-1, 4)]
    shown = statement.daily_balance(db.session(), account, days[0], days[-1])
    assert shown == [DayBalance(day, balance) for day, balance in zip(days, [0, 7, 7, 5, 5], strict=True)]
    assert statement.daily_balance(db.session(), account, days[2], days[2]) == [DayBalance(days[2], 7)]
    assert statement.first_day(db.session(), account) == first


def test_a_hook_hears_of_every_spend_once_and_can_undo_it(account: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "_spend_hooks", [])
    heard: list[tuple[int, int]] = []

    def hook(_session: object, account_id: int, spent: spending.Spent) -> None:
        heard.append((account_id, spent.credits))
        if spent.credits == 2:
            raise OSError("the notice cannot be kept")

    spending.after_spend(hook)
    spending.after_spend(hook)
    give(account, 10)
    write(spending.spend, account, 1, idempotency_key="a", reason="CV check")
    with pytest.raises(OSError, match="notice"):
        write(spending.spend, account, 2, idempotency_key="b", reason="CV check")
    assert heard == [(account, 1), (account, 2)]
    assert statement.balance(db.session(), account).total == 9


def test_a_hook_hears_of_a_hold_for_it_lowers_the_balance_too(account: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[spending.Spent] = []
    monkeypatch.setattr(spending, "_spend_hooks", [lambda _session, _account, spent: heard.append(spent)])
    give(account, 10)
    for _ in range(2):
        more = {"idempotency_key": "job", "reason": "Long check", "lease": timedelta(hours=1)}
        held = write(holds.reserve, account, 4, **more)
    assert heard == [spending.Spent(held.hold_id, 4, 6)]
    assert [heard[0].crosses(threshold) for threshold in (6, 7, 10, 11)] == [False, True, True, False]


def test_a_wallet_that_cannot_be_opened_stops_whoever_wants_it(account: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for dialect in wallets._OPEN:
        monkeypatch.setitem(wallets._OPEN, dialect, select(literal(1)))
    with pytest.raises(LedgerCorrupt, match="cannot be opened"):
        give(account, 1)
