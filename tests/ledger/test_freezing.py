"""Spending is paused by cause, and goes on when the last cause is gone."""

from __future__ import annotations

import pytest

from database import write
from extensions import db
from ledger import freezing, granting, spending, statement
from ledger.errors import WalletFrozen


def spend(account: int, key: str) -> spending.Spent:
    return write(spending.spend, account, 1, idempotency_key=key, reason="CV check")


def test_a_frozen_wallet_gives_nothing_but_takes_grants(account: int) -> None:
    write(granting.grant, account, 5, kind="purchase", source="charge:1")
    first = spend(account, "a")
    assert write(freezing.freeze, account, "dispute:1", reason="a payment is disputed")
    with pytest.raises(WalletFrozen, match="a payment is disputed") as refused:
        spend(account, "b")
    assert (refused.value.reason, refused.value.status) == ("a payment is disputed", 403)
    assert spend(account, "a").transaction_id == first.transaction_id
    write(granting.grant, account, 5, kind="purchase", source="charge:2")
    assert statement.balance(db.session, account).total == 9


def test_a_wallet_thaws_with_its_last_cause(account: int) -> None:
    write(granting.grant, account, 5, kind="purchase", source="charge:1")
    write(freezing.freeze, account, "dispute:1", reason="first")
    write(freezing.freeze, account, "dispute:2", reason="second")
    assert statement.balance(db.session, account).frozen_reason == "first"
    assert write(freezing.unfreeze, account, "dispute:1")
    assert statement.balance(db.session, account).frozen_reason == "second"
    with pytest.raises(WalletFrozen):
        spend(account, "a")
    assert write(freezing.unfreeze, account, "dispute:2")
    assert statement.balance(db.session, account).frozen_reason is None
    assert spend(account, "a").balance == 4


def test_a_freeze_needs_a_cause_by_which_it_can_be_lifted(account: int) -> None:
    for cause in ("", "dispute:\n1"):
        with pytest.raises(ValueError, match="a key must be"):
            write(freezing.freeze, account, cause, reason="a payment is disputed")
    assert statement.balance(db.session, account).frozen_reason is None


def test_freezing_twice_for_one_cause_is_freezing_once(account: int) -> None:
    assert write(freezing.freeze, account, "dispute:1", reason="first", actor="Eve")
    assert not write(freezing.freeze, account, "dispute:1", reason="again")
    assert write(freezing.unfreeze, account, "dispute:1", reason="Dispute won")
    assert not write(freezing.unfreeze, account, "dispute:1")
    lines = [(line.kind, line.reason, line.actor, line.credits) for line in statement.recent(db.session, account)]
    assert lines == [("unfreeze", "Dispute won", None, 0), ("freeze", "first", "Eve", 0)]
