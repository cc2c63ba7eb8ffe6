"""An administrator adds, removes and forgives - with a name, a reason, and once."""

from __future__ import annotations

from datetime import timedelta

import pytest

import clock as app_clock
from database import write
from extensions import db
from ledger import adjusting, clawback, granting, spending, statement
from ledger.errors import DebtSmaller, IdempotencyConflict, NotEnoughCredits


def adjust(
    account: int, credits: int, key: str = "form 1", reason: str = "Goodwill", actor: str = "Eve"
) -> adjusting.Adjusted:
    return write(adjusting.adjust, account, credits, idempotency_key=key, reason=reason, actor=actor)


def forgive(account: int, credits: int, key: str = "form 1") -> adjusting.Adjusted:
    return write(adjusting.forgive, account, credits, idempotency_key=key, reason="Goodwill", actor="Eve")


def make_debt(account: int, credits: int) -> None:
    write(granting.grant, account, credits, kind="purchase", source="charge:1")
    write(spending.spend, account, credits, idempotency_key="all", reason="CV check")
    write(clawback.claw_to, account, "charge:1", credits, version=1)


def test_added_credits_say_who_gave_them_and_why(account: int) -> None:
    added = adjust(account, 5)
    assert (added.credits, added.debt, added.balance) == (5, 0, 5)
    line = statement.recent(db.session, account)[0]
    assert (line.kind, line.credits, line.reason, line.actor) == ("adjust", 5, "Goodwill", "Eve")
    assert statement.balance(db.session, account).sources[0].kind == "adjust"


def test_added_credits_can_expire(account: int) -> None:
    until = app_clock.now() + timedelta(days=3)
    write(adjusting.adjust, account, 5, idempotency_key="a", reason="Goodwill", actor="Eve", expires_at=until)
    assert statement.balance(db.session, account).sources[0].expires_at == until


def test_added_credits_repay_a_debt_first(account: int) -> None:
    make_debt(account, 10)
    assert adjust(account, 4).debt == -4
    added = adjust(account, 10, "form 2")
    assert (added.credits, added.debt, added.balance) == (4, -6, 4)


def test_removed_credits_go_in_spend_order(account: int) -> None:
    write(granting.grant, account, 5, kind="plan", source="a")
    write(granting.grant, account, 5, kind="purchase", source="b")
    removed = adjust(account, -7)
    assert (removed.credits, removed.balance) == (-7, 3)
    assert [source.source for source in statement.balance(db.session, account).sources] == ["b"]
    assert statement.recent(db.session, account)[0].used == 0


def test_more_than_there_is_cannot_be_removed(account: int) -> None:
    write(granting.grant, account, 5, kind="plan", source="a")
    with pytest.raises(NotEnoughCredits):
        adjust(account, -6)
    assert statement.balance(db.session, account).total == 5


def test_a_form_sent_twice_adjusts_once(account: int) -> None:
    first, again = adjust(account, 5), adjust(account, 5)
    assert (again.transaction_id, again.credits, again.balance) == (first.transaction_id, 5, 5)
    assert again.is_replay
    with pytest.raises(IdempotencyConflict):
        adjust(account, 6)
    with pytest.raises(IdempotencyConflict):
        adjust(account, 5, reason="Another reason")
    assert statement.balance(db.session, account).total == 5


@pytest.mark.parametrize(("reason", "actor"), [("", "Eve"), ("  ", "Eve"), ("Goodwill", ""), ("Goodwill", " ")])
def test_an_adjustment_without_reason_or_name_is_refused(account: int, reason: str, actor: str) -> None:
    with pytest.raises(ValueError, match="needs"):
        adjust(account, 5, reason=reason, actor=actor)


@pytest.mark.parametrize("credits", [0, 10**12 + 1, -(10**12) - 1])
def test_an_adjustment_by_nothing_or_by_too_much_is_refused(account: int, credits: int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        adjust(account, credits)


def test_a_debt_is_forgiven_in_part_or_whole_and_once(account: int) -> None:
    make_debt(account, 10)
    part = forgive(account, 4)
    assert (part.credits, part.debt, part.balance) == (0, -4, 0)
    assert forgive(account, 4).is_replay
    assert statement.balance(db.session, account).debt == 6
    assert forgive(account, 6, "form 2").debt == -6
    assert statement.balance(db.session, account).debt == 0


def test_more_than_is_owed_cannot_be_forgiven(account: int) -> None:
    make_debt(account, 10)
    with pytest.raises(DebtSmaller) as refused:
        forgive(account, 11)
    assert (refused.value.credits, refused.value.debt) == (11, 10)
