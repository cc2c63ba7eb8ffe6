"""No page, header or amount of work tells whether an address is known here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

import clock as app_clock
import database
from accounts import passwords, people
from accounts.models import User
from extensions import db
from tests.auth.test_sessions import PASSWORD
from tests.persons import csrf_token, post

KNOWN, DISABLED, UNVERIFIED, PENDING, UNKNOWN = (
    f"{name}@example.com" for name in ("known123", "disabled", "unproved", "pending1", "unknown1")
)
# How often this browser asked; and the length, which the masks change.
COUNTERS = {"Content-Length", "Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
MASKS = (
    (re.compile(r'name="csrf_token" value="[^"]+"'), "csrf"),
    (re.compile(r"session=[^;]+"), "session"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "request id"),
    (re.compile(r"\d{1,2} \w+ \d{4}, \d\d:\d\d UTC"), "moment"),
    (re.compile(r"[\w.]+@example\.com"), "address"),
)


@pytest.fixture(autouse=True)
def people_of_every_kind(app: Flask) -> None:
    """One person each who is known, disabled, never confirmed, and only signed up."""

    def make(session, email, confirmed, active):  # type: ignore[no-untyped-def]
        user = people.create_user(
            session, email=email, password_hash=password_hash, confirmed_at=app_clock.now() if confirmed else None
        )
        session.get_one(User, user.id).active = active

    with app.app_context():
        password_hash = passwords.hashed(PASSWORD)
        database.write(make, KNOWN, True, True)
        database.write(make, DISABLED, True, False)
        database.write(make, UNVERIFIED, False, True)
    post(app.test_client(), "/register", email=PENDING, password=PASSWORD)


def signing_up(client: FlaskClient, email: str) -> list[str]:
    answers = [post(client, "/register?next=/pricing", email=email, password="a new horse battery")]
    answers += [client.get("/verify"), post(client, "/verify")]
    return [masked(answer) for answer in answers]


def forgetting(client: FlaskClient, email: str) -> list[str]:
    return [masked(post(client, "/password/forgot", email=email)), masked(client.get("/password/forgot/sent"))]


def guessing(client: FlaskClient, email: str) -> list[str]:
    return [masked(post(client, "/login", email=email, password="not the password"))]


def masked(answer) -> str:  # type: ignore[no-untyped-def]
    head = "\n".join(f"{k}: {v}" for k, v in sorted(answer.headers.items()) if k not in COUNTERS)
    text = f"{answer.status}\n{head}\n\n{answer.get_data(as_text=True)}"
    for pattern, word in MASKS:
        text = pattern.sub(word, text)
    return text


@pytest.mark.parametrize("asking", [signing_up, forgetting, guessing])
@pytest.mark.parametrize("email", [KNOWN, DISABLED, UNVERIFIED, PENDING])
def test_the_answers_are_the_same_byte_for_byte(
    app: Flask, asking: Callable[[FlaskClient, str], list[str]], email: str
) -> None:
    assert asking(app.test_client(), email) == asking(app.test_client(), UNKNOWN)


@pytest.mark.parametrize("email", [DISABLED, UNVERIFIED, PENDING])
def test_the_right_password_tells_nothing_where_it_does_not_open(app: Flask, email: str) -> None:
    right = masked(post(app.test_client(), "/login", email=email, password=PASSWORD))
    wrong = masked(post(app.test_client(), "/login", email=UNKNOWN, password=PASSWORD))
    assert right == wrong


@pytest.mark.parametrize("asking", [signing_up, forgetting, guessing])
def test_the_database_does_the_same_work(app: Flask, asking: Callable[[FlaskClient, str], list[str]]) -> None:
    asking(app.test_client(), "warm.up@example.com")
    with statements(app) as for_known:
        asking(app.test_client(), KNOWN)
    with statements(app) as for_unknown:
        asking(app.test_client(), UNKNOWN)
    assert for_known == for_unknown
    assert for_known


def test_a_log_in_hashes_a_password_for_nobody_too(app: Flask) -> None:
    with app.app_context():
        known = passwords.hashed(PASSWORD)
        dummy = passwords._dummy_hash()
    assert known.split("$")[1:4] == dummy.split("$")[1:4] == ["argon2id", "v=19", "m=19456,t=2,p=1"]
    with app.app_context():
        assert not passwords.matches("nobody's password", None)


def test_the_form_itself_says_the_same_about_a_bad_password(app: Flask) -> None:
    known = masked(post(app.test_client(), "/register", email=KNOWN, password="short"))
    assert known == masked(post(app.test_client(), "/register", email=UNKNOWN, password="short"))


def test_the_cookie_of_a_sign_up_is_as_long_for_everybody(app: Flask) -> None:
    def keys(email: str) -> dict[str, int]:
        client = app.test_client()
        csrf_token(client)
        post(client, "/register", email=email, password=PASSWORD)
        with client.session_transaction() as cookie:
            return {key: len(str(value)) for key, value in cookie.items()}

    assert keys(KNOWN) == keys(UNKNOWN)


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """Collect the SQL that is sent to the database, without its values."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_rest):  # type: ignore[no-untyped-def]
        sent.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
