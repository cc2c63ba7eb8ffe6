"""Whoever guesses passwords or fills forms by machine is slowed down; nobody else is locked out."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.persons import csrf_token, post


def test_guessing_one_persons_password_is_slowed_down_and_other_people_are_not(app: Flask, client: FlaskClient) -> None:
    def guess(email: str) -> int:
        return int(post(client, "/login", email=email, password="a guess of mine").status_code)

    assert [guess("ann@example.com") for _ in range(11)] == [401] * 10 + [429]
    assert guess("ANN@example.com ") == 429, "another spelling is the same person"
    assert guess("bob@example.com") == 401


def test_guessing_many_peoples_passwords_is_slowed_down(client: FlaskClient) -> None:
    statuses = [
        post(client, "/login", email=f"person{n}@example.com", password="a guess of mine").status_code
        for n in range(31)
    ]
    assert statuses == [401] * 30 + [429]


@pytest.mark.parametrize("path", ["/register", "/password/forgot"])
def test_forms_that_send_mail_are_slowed_down(client: FlaskClient, path: str) -> None:
    statuses = [
        post(client, path, email=f"person{n}@example.com", password="correct horse").status_code for n in range(11)
    ]
    assert statuses == [303] * 10 + [429]


def test_a_made_up_forwarding_header_does_not_reset_the_count(client: FlaskClient) -> None:
    token = csrf_token(client)
    statuses = [
        client.post(
            "/login",
            data={"csrf_token": token, "email": "ann@example.com", "password": "a guess"},
            headers={"X-Forwarded-For": f"203.0.113.{n}"},
        ).status_code
        for n in range(12)
    ]
    assert statuses[-1] == 429


def test_the_page_that_says_wait_says_for_how_long(client: FlaskClient) -> None:
    for n in range(10):
        post(client, "/password/forgot", email=f"person{n}@example.com")
    answer = post(client, "/password/forgot", email="ann@example.com")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) <= 60


def test_reading_the_pages_is_never_limited(client: FlaskClient) -> None:
    assert {client.get(path).status_code for path in ("/login", "/register") for _ in range(60)} == {200}


def test_every_form_of_the_door_wants_its_csrf_token(app: Flask, client: FlaskClient) -> None:
    fields = {"email": "ann@example.com", "password": "correct horse", "current": "correct horse"}
    for path in (
        "/register",
        "/login",
        "/logout",
        "/verify",
        "/verify/token",
        "/password/forgot",
        "/password/reset/token",
    ):
        assert client.post(path, data=fields).status_code == 400, path
        assert client.post(path, data={**fields, "csrf_token": "made up"}).status_code == 400, path
    foreign = app.test_client()
    assert client.post("/register", data={**fields, "csrf_token": csrf_token(foreign)}).status_code == 400
