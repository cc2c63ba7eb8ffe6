"""People for tests: made directly and signed in by their session row, because most tests are not about passwords."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
from accounts import people, sessions
from accounts.models import STAFF, Role, User
from extensions import db
from ledger import statement


@dataclass(frozen=True)
class Person:
    """A signed-in person with a browser and an account."""

    app: Flask
    client: FlaskClient
    user_id: int
    account_id: int
    email: str

    def balance(self) -> int:
        """Return the account's credits."""
        with self.app.app_context():
            return statement.balance(db.session(), self.account_id).total

    def balance_of(self, kind: str) -> int:
        """Return the account's credits of one kind, such as purchase."""
        with self.app.app_context():
            sources = statement.balance(db.session(), self.account_id).sources
            return sum(source.remaining for source in sources if source.kind == kind)

    def checkout(self, price_key: str) -> str:
        """Ask for a checkout as the pricing page's button does; return the address that it leads to."""
        answer = post(self.client, f"/pricing/checkout/{price_key}")
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return str(answer.location)


def sign_up(app: Flask, email: str = "ann@example.com", *, verified: bool = True) -> Person:
    """Make a person with the account that everybody gets, and sign them in."""
    with app.app_context():
        user_id, account_id, token = database.write(_make, email, verified)
    client = app.test_client()
    with client.session_transaction() as cookie:
        cookie["_user_id"] = token
        cookie["_fresh"] = True
    return Person(app, client, user_id, account_id, email)


def hire(person: Person) -> Person:
    """Make a person a member of staff, who may use the back office."""
    with person.app.app_context():
        database.write(_hire, person.user_id)
    return person


def log_in_again(person: Person) -> None:
    """Sign a person in anew, because sessions end when nobody comes for days."""
    with person.app.app_context():
        token = database.write(sessions.start, person.user_id, is_remembered=False)
    with person.client.session_transaction() as cookie:
        cookie["_user_id"] = token
        cookie["_fresh"] = True


def _hire(session: Session, user_id: int) -> None:
    role = session.scalar(select(Role).where(Role.name == STAFF)) or Role(name=STAFF)
    user = session.get_one(User, user_id)
    user.roles.append(role)


def _make(session: Session, email: str, verified: bool) -> tuple[int, int, str]:
    user = people.create_user(session, email=email, password_hash=None, confirmed_at=clock.now() if verified else None)
    token = sessions.start(session, user.id, is_remembered=False)
    return user.id, people.personal_account(session, user.id).id, token


def csrf_token(client: FlaskClient) -> str:
    """Return the token that a form of this browser carries."""
    import re

    page = client.get("/").get_data(as_text=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "the front page has no form with a CSRF token"
    return found.group(1)


def post(client: FlaskClient, path: str, **fields: str):  # type: ignore[no-untyped-def]
    """Submit a form as a browser does: with its CSRF token."""
    return client.post(
        path, data={"csrf_token": csrf_token(client), **fields}, headers={"Sec-Fetch-Site": "same-origin"}
    )
