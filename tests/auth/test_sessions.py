"""A session is a row: whoever holds a copy of the cookie holds nothing once the row has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import clock as app_clock
import database
from accounts import passwords, people, sessions
from accounts.models import User, UserSession
from extensions import db
from tests.auth import mailbox
from tests.persons import csrf_token, post
from tests.worlds import Clock

PASSWORD = "correct horse battery"
INSIDE = "/password/change"


@pytest.fixture
def ann(app: Flask) -> str:
    """A confirmed person's address."""
    with app.app_context():
        password_hash = passwords.hashed(PASSWORD)
        database.write(
            people.create_user, email="ann@example.com", password_hash=password_hash, confirmed_at=app_clock.now()
        )
    return "ann@example.com"


@pytest.fixture
def signed_in(client: FlaskClient, ann: str) -> FlaskClient:
    """A browser in which Ann is logged in."""
    log_in(client, ann)
    return client


def log_in(client: FlaskClient, email: str, *, remember: bool = False) -> None:
    answer = post(client, "/login", email=email, password=PASSWORD, **({"remember": "y"} if remember else {}))
    assert answer.status_code == 303, answer.get_data(as_text=True)


def copy_of(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return another browser with the same cookie."""
    cookie = client.get_cookie("session")
    assert cookie is not None
    thief = app.test_client()
    thief.set_cookie("session", cookie.value)
    return thief


def is_inside(client: FlaskClient) -> bool:
    return client.get(INSIDE).status_code == 200


def rows(app: Flask) -> list[UserSession]:
    with app.app_context():
        return list(db.session.scalars(select(UserSession).order_by(UserSession.id)))


def by_logging_out(app: Flask, client: FlaskClient) -> None:
    assert post(client, "/logout").status_code == 303


def by_changing_the_password(app: Flask, client: FlaskClient) -> None:
    assert post(client, INSIDE, current=PASSWORD, password="another horse battery").status_code == 303


def by_resetting_the_password(app: Flask, client: FlaskClient) -> None:
    post(client, "/password/forgot", email="ann@example.com")
    link = mailbox.link(app, "/password/reset/")
    assert post(app.test_client(), link, password="another horse battery").status_code == 303


def by_revoking_it(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        database.write(sessions.revoke, rows(app)[-1].id)


def by_disabling_the_person(app: Flask, client: FlaskClient) -> None:
    def disable(session):  # type: ignore[no-untyped-def]
        session.scalar(select(User)).active = False

    with app.app_context():
        database.write(disable)


@pytest.mark.parametrize(
    "end",
    [by_logging_out, by_changing_the_password, by_resetting_the_password, by_revoking_it, by_disabling_the_person],
)
def test_a_copied_cookie_is_worthless_after_the_session_ended(
    app: Flask, signed_in: FlaskClient, end: Callable[[Flask, FlaskClient], None]
) -> None:
    thief = copy_of(app, signed_in)
    assert is_inside(thief), "until then the copy works, as every cookie's copy does"
    end(app, signed_in)
    assert not is_inside(thief)


def test_changing_the_password_keeps_this_browser_in_and_throws_the_others_out(
    app: Flask, signed_in: FlaskClient, ann: str
) -> None:
    other = app.test_client()
    log_in(other, ann)
    by_changing_the_password(app, signed_in)
    assert is_inside(signed_in)
    assert not is_inside(other)


def test_a_remembered_browser_stays_remembered_after_a_new_password(app: Flask, client: FlaskClient, ann: str) -> None:
    log_in(client, ann, remember=True)
    by_changing_the_password(app, client)
    assert [row.is_remembered for row in rows(app)] == [True, True]


def test_logging_in_makes_a_new_session_and_drops_what_was_planted(app: Flask, client: FlaskClient, ann: str) -> None:
    with client.session_transaction() as planted:
        planted["planted"] = "by somebody else"
        planted["_user_id"] = "a session id that somebody else knows"
        before = dict(planted)
    log_in(client, ann)
    with client.session_transaction() as now:
        assert "planted" not in now
        assert now["_user_id"] != before["_user_id"]
    log_in_again = app.test_client()
    log_in(log_in_again, ann)
    assert len({row.token_hash for row in rows(app)}) == 2


def test_the_csrf_token_of_before_the_log_in_is_worthless_after_it(client: FlaskClient, ann: str) -> None:
    old = csrf_token(client)
    log_in(client, ann)
    assert client.post("/logout", data={"csrf_token": old}).status_code == 400
    assert is_inside(client)


def test_the_database_does_not_hold_what_the_cookie_holds(app: Flask, signed_in: FlaskClient) -> None:
    with signed_in.session_transaction() as cookie:
        token = cookie["_user_id"]
    [row] = rows(app)
    assert token not in {str(value) for value in vars(row).values()}
    assert row.token_hash == sessions.hash_of(token)


def test_twelve_idle_hours_end_a_session(signed_in: FlaskClient, clock: Clock) -> None:
    clock.advance(hours=11)
    assert is_inside(signed_in), "being here postpones the end"
    clock.advance(hours=11)
    assert is_inside(signed_in)
    clock.advance(hours=13)
    assert not is_inside(signed_in)


def test_two_weeks_end_a_session_however_busy_it_is(signed_in: FlaskClient, clock: Clock) -> None:
    for _ in range(2 * 13):
        clock.advance(hours=11.5)
        assert is_inside(signed_in)
    clock.advance(hours=11.5 * 4)
    assert not is_inside(signed_in)


def test_remember_me_lasts_30_days(app: Flask, client: FlaskClient, ann: str, clock: Clock) -> None:
    log_in(client, ann, remember=True)
    with client.session_transaction() as cookie:
        assert cookie.permanent
    clock.advance(days=13)
    assert is_inside(client)
    clock.advance(days=13)
    assert is_inside(client)
    clock.advance(days=5)
    assert not is_inside(client)


def test_without_remember_me_the_cookie_ends_with_the_browser(client: FlaskClient, ann: str) -> None:
    log_in(client, ann)
    cookie = client.get_cookie("session")
    assert cookie is not None
    assert cookie.expires is None


def test_no_second_cookie_signs_anybody_in(client: FlaskClient, ann: str) -> None:
    answer = post(client, "/login", email=ann, password=PASSWORD, remember="y")
    cookies = answer.headers.getlist("Set-Cookie")
    assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["known", "session"]
    for cookie in cookies:
        for attribute in ("HttpOnly", "SameSite=Lax", "Path=/"):
            assert attribute in cookie
        assert "Domain" not in cookie
    assert is_inside(client)
    client.delete_cookie("session")
    assert not is_inside(client), "the other one only says whose browser it is"


def test_being_here_is_noted_at_most_every_ten_minutes(app: Flask, signed_in: FlaskClient, clock: Clock) -> None:
    [before] = rows(app)
    clock.advance(minutes=9)
    is_inside(signed_in)
    assert rows(app)[0].last_seen_at == before.last_seen_at
    clock.advance(minutes=2)
    is_inside(signed_in)
    assert rows(app)[0].last_seen_at > before.last_seen_at


def test_nobody_is_logged_out_by_a_link(signed_in: FlaskClient) -> None:
    assert signed_in.get("/logout").status_code == 405
    assert is_inside(signed_in)


def test_logging_out_forgets_the_browser(app: Flask, signed_in: FlaskClient) -> None:
    answer = post(signed_in, "/logout")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert not is_inside(signed_in)
    assert rows(app)[0].revoked_at is not None
    assert post(signed_in, "/logout").status_code == 303, "logging out twice is no error"


def test_an_address_with_a_session_id_logs_nobody_in(app: Flask, signed_in: FlaskClient) -> None:
    with signed_in.session_transaction() as cookie:
        token = cookie["_user_id"]
    stranger = app.test_client()
    for name in ("session", "session_id", "_user_id", "auth_token", "token", "remember_token"):
        assert stranger.get(f"{INSIDE}?{name}={token}").status_code == 303
    with app.app_context():
        user = db.session.scalar(select(User))
        assert user is not None
        auth_token = str(user.get_auth_token())
    assert stranger.get(f"{INSIDE}?auth_token={auth_token}").status_code == 303
    assert stranger.get(INSIDE, headers={"Authentication-Token": auth_token}).status_code == 303


def test_sessions_can_be_listed_and_say_little_about_the_place(app: Flask, client: FlaskClient, ann: str) -> None:
    client.post(
        "/login",
        data={"csrf_token": csrf_token(client), "email": ann, "password": PASSWORD},
        headers={"User-Agent": "A browser"},
        environ_base={"REMOTE_ADDR": "203.0.113.77"},
    )
    with app.app_context():
        user = people.find_user(db.session(), ann)
        assert user is not None
        [row] = sessions.live(db.session(), user.id)
        assert (row.address, row.user_agent) == ("203.0.113.0/24", "A browser")


def test_ended_sessions_are_swept_after_a_month(app: Flask, signed_in: FlaskClient, clock: Clock) -> None:
    clock.advance(days=43)
    with app.app_context():
        database.write(sessions.sweep)
    assert len(rows(app)) == 1
    clock.advance(days=2)
    with app.app_context():
        database.write(sessions.sweep)
    assert rows(app) == []
