"""Fifty people at the door at once: everybody gets in, and nobody reads "database is locked"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import func, select

import clock as app_clock
import database
from accounts import passwords, people
from accounts.models import Account, Signup, User, UserSession
from extensions import db, limiter
from mail.models import Email
from tests.auth import mailbox
from tests.auth.test_sessions import PASSWORD
from tests.persons import csrf_token

CROWD = 50


@pytest.fixture(autouse=True)
def no_limits() -> Iterator[None]:
    """They all come from one address here, which in life they do not."""
    limiter.enabled = False
    yield
    limiter.enabled = True


def all_at_once(app: Flask, visit: Callable[[Flask, int], int]) -> list[int]:
    gate = threading.Barrier(CROWD)
    statuses: list[int] = []

    def run(number: int) -> None:
        gate.wait()
        statuses.append(visit(app, number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def register(app: Flask, number: int) -> int:
    client = app.test_client()
    fields = {"csrf_token": csrf_token(client), "email": f"person{number}@example.com", "password": PASSWORD}
    return client.post("/register", data=fields).status_code


def log_in(app: Flask, number: int) -> int:
    client = app.test_client()
    fields = {"csrf_token": csrf_token(client), "email": f"person{number}@example.com", "password": PASSWORD}
    return client.post("/login", data=fields).status_code


def count(app: Flask, model: type) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_fifty_people_sign_up_and_confirm_at_once(app: Flask) -> None:
    assert all_at_once(app, register) == [303] * CROWD
    assert (count(app, Signup), count(app, Email)) == (CROWD, CROWD)

    links = [mailbox.text(letter).split("http://127.0.0.1:5000")[1].split()[0] for letter in mailbox.letters(app)]

    def confirm(app: Flask, number: int) -> int:
        client = app.test_client()
        fields = {"csrf_token": csrf_token(client), "password": PASSWORD}
        return client.post(links[number], data=fields).status_code

    assert all_at_once(app, confirm) == [303] * CROWD
    assert (count(app, User), count(app, Account), count(app, UserSession)) == (CROWD, CROWD, CROWD)


def test_fifty_people_log_in_at_once(app: Flask) -> None:
    def make(session, password_hash: str) -> None:  # type: ignore[no-untyped-def]
        for number in range(CROWD):
            email = f"person{number}@example.com"
            people.create_user(session, email=email, password_hash=password_hash, confirmed_at=app_clock.now())

    with app.app_context():
        database.write(make, passwords.hashed(PASSWORD))
    assert all_at_once(app, log_in) == [303] * CROWD
    assert count(app, UserSession) == CROWD


def test_fifty_sign_ups_of_one_address_make_one_person(app: Flask) -> None:
    def register_ann(app: Flask, _number: int) -> int:
        return register(app, 1)

    assert all_at_once(app, register_ann) == [303] * CROWD
    assert count(app, User) == 0
    assert count(app, Email) <= 6 + CROWD, "and not more mails than people asked for"
