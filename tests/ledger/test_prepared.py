"""Statements that are put together once send the same as those that are put together each time."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Session

from database import write
from extensions import db
from ledger.models import wallets
from prepared import Prepared

OPENED_AT = datetime(2026, 3, 1, tzinfo=UTC)


def open_wallet(session: Session, account: int) -> int:
    opening = {"account_id": account, "balance": 0, "held": 0, "debt": 0, "opened_at": OPENED_AT}
    return Prepared(insert(wallets), columns=list(opening)).change(session.connection(), opening)


def test_an_insert_fills_the_columns_that_it_names_and_leaves_the_others_empty(account: int) -> None:
    assert write(open_wallet, account) == 1
    stored = db.session.execute(select(wallets)).one()
    assert (stored.opened_at, stored.frozen_reason, stored.next_expiry_at) == (OPENED_AT, None, None)


def test_a_statement_is_sent_what_it_was_given_and_what_it_was_written_with(account: int) -> None:
    write(open_wallet, account)
    total = wallets.c.balance + bindparam("more") * 10 + bindparam("more")
    statement = Prepared(select(total, wallets.c.opened_at).where(wallets.c.account_id == bindparam("account_id")))
    connection = db.session.connection()
    assert statement.first(connection, {"more": 3, "account_id": account}) == (33, OPENED_AT)
    assert statement.first(connection, {"more": 3, "account_id": 0}) is None
