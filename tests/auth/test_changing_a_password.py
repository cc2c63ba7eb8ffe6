"""Changing a password while logged in, and keeping its hash up to date."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_security.utils import get_hmac
from sqlalchemy import select

import clock as app_clock
import database
from accounts import passwords, people
from accounts.models import User
from extensions import db
from tests.auth import mailbox
from tests.auth.test_sessions import PASSWORD
from tests.persons import csrf_token, post

PAGE = "/password/change"
NEW = "another horse battery"


@pytest.fixture
def ann(app: Flask, client: FlaskClient) -> FlaskClient:
    """A browser in which Ann is logged in."""
    with app.app_context():
        password_hash = passwords.hashed(PASSWORD)
        database.write(
            people.create_user, email="ann@example.com", password_hash=password_hash, confirmed_at=app_clock.now()
        )
    assert log_in(client, PASSWORD) == 303
    return client


def log_in(client: FlaskClient, password: str) -> int:
    return int(post(client, "/login", email="ann@example.com", password=password).status_code)


def test_the_current_password_is_asked_for(app: Flask, ann: FlaskClient) -> None:
    answer = post(ann, PAGE, current="not the current one", password=NEW)
    assert answer.status_code == 422
    assert "This is not your current password." in answer.get_data(as_text=True)
    assert log_in(app.test_client(), PASSWORD) == 303
    assert mailbox.letters(app) == []


@pytest.mark.parametrize("weak", ["", "short", "password1", "ann@example.com", "x" * 129])
def test_a_weak_new_password_changes_nothing(app: Flask, ann: FlaskClient, weak: str) -> None:
    assert post(ann, PAGE, current=PASSWORD, password=weak).status_code == 422
    assert log_in(app.test_client(), PASSWORD) == 303


def test_the_owner_is_told_by_mail(app: Flask, ann: FlaskClient) -> None:
    assert post(ann, PAGE, current=PASSWORD, password=NEW).status_code == 303
    [letter] = mailbox.letters(app)
    assert letter["Subject"] == "Your password for Tollgate was changed"
    assert "/password/forgot" in mailbox.text(letter)
    assert log_in(app.test_client(), NEW) == 303
    assert log_in(app.test_client(), PASSWORD) == 401


def test_two_changes_at_once_leave_one_password(app: Flask, ann: FlaskClient) -> None:
    other = app.test_client()
    assert log_in(other, PASSWORD) == 303
    tokens = {browser: csrf_token(browser) for browser in (ann, other)}
    gate = threading.Barrier(2)
    answers: dict[str, int] = {}

    def change(browser: FlaskClient, password: str) -> None:
        gate.wait()
        fields = {"csrf_token": tokens[browser], "current": PASSWORD, "password": password}
        answers[password] = browser.post(PAGE, data=fields).status_code

    threads = [
        threading.Thread(target=change, args=pair) for pair in ((ann, "horse number one"), (other, "horse number two"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    works = [password for password in answers if log_in(app.test_client(), password) == 303]
    changed = [password for password, status in answers.items() if status == 303]
    assert len(works) == 1
    assert works[0] in changed


def test_an_old_hash_is_renewed_at_the_next_log_in(app: Flask, ann: FlaskClient) -> None:
    with app.app_context():
        context = app.extensions["security"].pwd_context
        weak = context.handler("argon2").using(memory_cost=1024, time_cost=1)
        old = weak.hash(get_hmac(PASSWORD))
        database.write(people.store_rehash, 1, old)
    assert log_in(app.test_client(), PASSWORD) == 303
    with app.app_context():
        stored = db.session.scalar(select(User.password))
    assert stored != old
    assert stored is not None
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert ann.get(PAGE).status_code == 200, "nobody is logged out by it"
