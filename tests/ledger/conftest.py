"""What the tests of credits share: accounts with a wallet, and a ledger that adds up after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy.orm import Session

import database as unit_of_work
from accounts.models import Account
from extensions import db
from ledger import invariants


@pytest.fixture(autouse=True)
def ledger_adds_up(context: Flask) -> Iterator[None]:
    """Every test leaves a ledger without a contradiction."""
    yield
    assert found_violations() == []


@pytest.fixture
def account(context: Flask) -> int:
    """The id of an account without credits."""
    return make_account("Ann")


@pytest.fixture
def other_account(context: Flask) -> int:
    """The id of a second account without credits."""
    return make_account("Ben")


def make_account(name: str) -> int:
    return unit_of_work.write(_add, name)


def _add(session: Session, name: str) -> int:
    account = Account(name=name)
    session.add(account)
    session.flush()
    return account.id


def found_violations() -> list[str]:
    with Session(db.engine) as session:
        return invariants.violations(session)
