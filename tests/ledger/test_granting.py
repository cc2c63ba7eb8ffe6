"""Credits come in once per source."""

from __future__ import annotations

from datetime import timedelta

import pytest

import clock as app_clock
from database import write
from extensions import db
from ledger import clawback, granting, spending, statement
from ledger.errors import UnknownGrant


def test_a_grant_fills_the_balance_and_names_its_source(account: int) -> None:
    granted = write(granting.grant, account, 30, kind="purchase", source="charge:ch_1", note="30 credits")
    assert (granted.created, granted.credits, granted.balance) == (True, 30, 30)
    balance = statement.balance(db.session, account)
    assert balance.total == 30
    assert [(s.kind, s.remaining, s.granted, s.expires_at, s.source) for s in balance.sources] == [
        ("purchase", 30, 30, None, "charge:ch_1")
    ]
    line = statement.recent(db.session, account)[0]
    assert (line.kind, line.credits, line.balance, line.reason, line.reference) == (
        "grant",
        30,
        30,
        "30 credits",
        "charge:ch_1",
    )


def test_the_same_source_is_granted_once_even_with_another_amount(account: int) -> None:
    first = write(granting.grant, account, 30, kind="plan", source="invoice:in_1")
    again = write(granting.grant, account, 50, kind="plan", source="invoice:in_1")
    assert (again.created, again.bucket_id, again.credits, again.balance) == (False, first.bucket_id, 30, 30)


def test_the_same_source_can_grant_to_two_accounts(account: int, other_account: int) -> None:
    assert write(granting.grant, account, 5, kind="trial", source="trial").created
    assert write(granting.grant, other_account, 5, kind="trial", source="trial").created


def test_a_grant_repays_what_is_owed_first(account: int) -> None:
    write(granting.grant, account, 10, kind="purchase", source="charge:1")
    write(spending.spend, account, 10, idempotency_key="a", reason="CV check")
    write(clawback.claw_to, account, "charge:1", 10, version=1)
    part = write(granting.grant, account, 4, kind="promo", source="promo:1")
    assert (part.repaid, part.balance) == (4, 0)
    rest = write(granting.grant, account, 10, kind="purchase", source="charge:2")
    assert (rest.repaid, rest.balance) == (6, 4)
    assert statement.balance(db.session, account).debt == 0


@pytest.mark.parametrize("credits", [0, -1, 1.5, "3", True, None, 10**12 + 1])
def test_an_amount_that_is_no_number_of_credits_is_refused(account: int, credits: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        write(granting.grant, account, credits, kind="plan", source="invoice:1")
    assert statement.balance(db.session, account).total == 0


@pytest.mark.parametrize("source", ["", "x" * 201, "line\nbreak", "nul\0"])
def test_a_source_that_cannot_be_stored_is_refused(account: int, source: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        write(granting.grant, account, 5, kind="plan", source=source)


def test_an_unknown_kind_of_credits_is_refused(account: int) -> None:
    with pytest.raises(ValueError, match="gold"):
        write(granting.grant, account, 5, kind="gold", source="invoice:1")


def test_what_a_source_granted_can_be_asked_for(account: int) -> None:
    until = app_clock.now() + timedelta(days=30)
    write(granting.grant, account, 30, kind="plan", source="invoice:1", expires_at=until)
    write(clawback.claw_to, account, "invoice:1", 12, version=1)
    known = write(granting.get_grant, account, "invoice:1")
    assert (known.credits, known.clawed, known.expires_at, known.balance) == (30, 12, until, 18)
    with pytest.raises(UnknownGrant, match="invoice:2"):
        write(granting.get_grant, account, "invoice:2")
