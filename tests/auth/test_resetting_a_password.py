"""A forgotten password: a link by mail, good for half an hour and for one use, whatever the request pretends."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient

import clock as app_clock
import database
from accounts import passwords, people
from accounts.models import User
from extensions import db, limiter
from mail.models import Email
from tests.auth import mailbox
from tests.auth.test_sessions import PASSWORD
from tests.persons import csrf_token, post
from tests.worlds import Clock

NEW = "another horse battery"


@pytest.fixture
def ann(app: Flask) -> str:
    """A confirmed person's address."""
    with app.app_context():
        password_hash = passwords.hashed(PASSWORD)
        database.write(
            people.create_user, email="Ann@example.com", password_hash=password_hash, confirmed_at=app_clock.now()
        )
    return "Ann@example.com"


@pytest.fixture
def link(app: Flask, client: FlaskClient, ann: str) -> str:
    """The path of Ann's reset link."""
    assert post(client, "/password/forgot", email=ann).status_code == 303
    return mailbox.link(app, "/password/reset/")


def can_log_in(app: Flask, email: str, password: str) -> bool:
    return post(app.test_client(), "/login", email=email, password=password).status_code == 303


def test_a_new_password_is_set_by_the_link_and_nobody_is_signed_in_by_it(
    app: Flask, client: FlaskClient, ann: str, link: str
) -> None:
    answer = post(client, link, password=NEW)
    assert (answer.status_code, answer.location) == (303, "/login")
    assert client.get("/password/change").status_code == 303, "not signed in by the link alone"
    assert can_log_in(app, ann, NEW)
    assert not can_log_in(app, ann, PASSWORD)
    assert mailbox.letters(app)[-1]["Subject"] == "Your password for Tollgate was changed"


def test_opening_the_link_uses_nothing_up(client: FlaskClient, link: str) -> None:
    for _ in range(3):
        assert client.get(link).status_code == 200
    assert post(client, link, password=NEW).status_code == 303


def test_the_link_works_once(app: Flask, client: FlaskClient, ann: str, link: str) -> None:
    post(client, link, password=NEW)
    assert client.get(link).status_code == 410
    assert post(client, link, password="a third horse battery").status_code == 410
    assert can_log_in(app, ann, NEW)


def test_any_change_of_the_password_kills_every_link(app: Flask, client: FlaskClient, ann: str, clock: Clock) -> None:
    post(client, "/password/forgot", email=ann)
    first = mailbox.link(app, "/password/reset/")
    clock.advance(minutes=1)
    post(client, "/password/forgot", email=ann)
    second = mailbox.link(app, "/password/reset/")
    assert first != second
    assert post(client, first, password=NEW).status_code == 303
    assert client.get(second).status_code == 410


def test_the_link_runs_out_after_half_an_hour(client: FlaskClient, link: str, clock: Clock) -> None:
    clock.advance(minutes=29)
    assert client.get(link).status_code == 200
    clock.advance(minutes=2)
    assert client.get(link).status_code == 410
    assert post(client, link, password=NEW).status_code == 410


def test_a_weak_new_password_changes_nothing(app: Flask, client: FlaskClient, ann: str, link: str) -> None:
    answer = post(client, link, password="password1")
    assert answer.status_code == 422
    assert can_log_in(app, ann, PASSWORD)
    assert client.get(link).status_code == 200


def test_one_link_used_many_times_at_once_sets_one_password(
    app: Flask, client: FlaskClient, ann: str, link: str
) -> None:
    limiter.enabled = False
    try:
        answers = dict(_all_at_once(app, link, 20))
    finally:
        limiter.enabled = True
    winners = [password for password, status in answers.items() if status == 303]
    assert len(winners) == 1
    assert set(answers.values()) == {303, 410}
    assert can_log_in(app, ann, winners[0])


def test_somebody_else_is_not_told_and_gets_no_mail(app: Flask, client: FlaskClient, ann: str) -> None:
    answer = post(client, "/password/forgot", email="bob@example.com")
    assert answer.location == "/password/forgot/sent"
    assert mailbox.letters(app) == []


def test_mail_goes_to_the_stored_spelling_only(app: Flask, client: FlaskClient, ann: str) -> None:
    post(client, "/password/forgot", email="ANN@EXAMPLE.COM")
    assert [letter["To"] for letter in mailbox.letters(app)] == ["Ann@example.com"]


def test_a_disabled_person_gets_no_link(app: Flask, client: FlaskClient, ann: str) -> None:
    def disable(session):  # type: ignore[no-untyped-def]
        session.get_one(User, 1).active = False

    with app.app_context():
        database.write(disable)
    post(client, "/password/forgot", email=ann)
    assert mailbox.letters(app) == []


def test_whoever_reads_the_mail_has_shown_that_the_address_is_theirs(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        database.write(people.create_user, email="eve@example.com", password_hash=None)
    assert not can_log_in(app, "eve@example.com", PASSWORD)
    post(client, "/password/forgot", email="eve@example.com")
    post(client, mailbox.link(app, "/password/reset/"), password=NEW)
    assert can_log_in(app, "eve@example.com", NEW)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.com"},
        {"X-Forwarded-Host": "evil.com", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "//evil.com"},
        {"Forwarded": "host=evil.com"},
        {"X-Host": "evil.com", "X-Original-URL": "http://evil.com/"},
        {"X-Forwarded-Server": "evil.com", "X-HTTP-Host-Override": "evil.com"},
    ],
)
def test_the_reset_link_is_not_built_from_the_host_header(
    app: Flask, client: FlaskClient, ann: str, headers: dict[str, str]
) -> None:
    token = csrf_token(client)
    client.post("/password/forgot", data={"csrf_token": token, "email": ann}, headers=headers)
    for letter in mailbox.letters(app):
        assert "evil.com" not in letter.as_string()
    assert mailbox.link(app, "/password/reset/")


@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "evil.com:5000", "127.0.0.1@evil.com", "evil.com#127.0.0.1"]
)
def test_a_request_for_another_host_is_refused(app: Flask, client: FlaskClient, ann: str, host: str) -> None:
    token = csrf_token(client)
    answer = client.post("/password/forgot", data={"csrf_token": token, "email": ann}, headers={"Host": host})
    assert answer.status_code == 400
    with app.app_context():
        assert db.session.query(Email).count() == 0


def test_the_page_of_the_link_tells_its_address_to_nobody(client: FlaskClient, link: str) -> None:
    answer = client.get(link)
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


def _all_at_once(app: Flask, link: str, times: int) -> list[tuple[str, int]]:
    gate = threading.Barrier(times)
    answers: list[tuple[str, int]] = []

    def use(number: int) -> None:
        browser = app.test_client()
        token = csrf_token(browser)
        gate.wait()
        password = f"password of browser {number}"
        status = browser.post(link, data={"csrf_token": token, "password": password}).status_code
        answers.append((password, status))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
