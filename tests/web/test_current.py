"""Who is asking is read at each request, and again when the request itself has changed something."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from flask import Flask
from flask_login import current_user
from sqlalchemy.orm import Session

import database
from accounts.models import Account
from tests.persons import Person, sign_up
from web import current


def rename(session: Session, account_id: int, name: str) -> None:
    session.get_one(Account, account_id).name = name


def cookies(person: Person) -> dict[str, str]:
    found = person.client.get_cookie("session")
    assert found is not None
    return {"Cookie": f"session={found.value}"}


def test_what_a_request_has_written_is_in_the_account_that_it_asks_for_next(app: Flask) -> None:
    ann = sign_up(app)
    with app.test_request_context("/", headers=cookies(ann)):
        before = current.current_account()
        database.write(rename, before.id, "Other")
        assert current.current_account() == before._replace(name="Other")
        database.write(rename, before.id, "Third")
        assert current.current_account().name == "Third"


def test_what_is_written_before_anybody_asks_is_in_it_too(app: Flask) -> None:
    ann = sign_up(app)
    with app.test_request_context("/", headers=cookies(ann)):
        assert current_user.is_authenticated  # with whom the account came
        database.write(rename, ann.account_id, "Other")
        assert current.current_account().name == "Other"


def test_who_is_asking_cannot_be_changed_by_mistake(app: Flask) -> None:
    ann = sign_up(app)
    with app.test_request_context("/", headers=cookies(ann)):
        with pytest.raises(FrozenInstanceError):
            current_user.email = "other@example.com"
        with pytest.raises(AttributeError):
            current.current_account().name = "Other"  # type: ignore[misc]
