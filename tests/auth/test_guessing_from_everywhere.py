"""Many networks guess one person's password: they wait longer and longer, and that person gets in all the same."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

import clock as app_clock
import database
from accounts import login_tries, passwords, people
from accounts.login_tries import FREE, LONGEST_WAIT, LoginTries
from extensions import db
from jobs import worker
from tests.auth import mailbox
from tests.auth.test_sessions import PASSWORD
from tests.persons import csrf_token, post
from tests.worlds import Clock

pytestmark = pytest.mark.usefixtures("still_time")

ANN, UNKNOWN = "ann@example.com", "nobody@example.com"
NEW = "another horse battery"
GUESS = "a guess"


@pytest.fixture(autouse=True)
def ann(app: Flask) -> None:
    """A confirmed person with a password."""
    with app.app_context():
        password_hash = passwords.hashed(PASSWORD)
        database.write(people.create_user, email=ANN, password_hash=password_hash, confirmed_at=app_clock.now())


def try_from(app: Flask, place: int, email: str = ANN, password: str = GUESS) -> TestResponse:
    """Try to log in from a network of its own, in a browser that nobody knows."""
    return log_in(app.test_client(), email, password, place)


def log_in(browser: FlaskClient, email: str, password: str, place: int = 0) -> TestResponse:
    fields = {"csrf_token": csrf_token(browser), "email": email, "password": password}
    address = {"REMOTE_ADDR": f"2001:db8:{place:x}::1"}
    return browser.post("/login", data=fields, environ_overrides=address, headers={"Sec-Fetch-Site": "same-origin"})


def guess(app: Flask, times: int, email: str = ANN) -> list[int]:
    return [try_from(app, place, email).status_code for place in range(times)]


def wait_of(app: Flask) -> int:
    """Return for how many seconds the only person who was guessed has to wait."""
    with app.app_context():
        left = db.session.scalars(select(LoginTries)).one().opens_at - app_clock.now()
        return round(left.total_seconds())


def waits(app: Flask, clock: Clock, times: int) -> list[int]:
    """Return for how many seconds each guess of a patient stranger has to wait."""
    found = []
    for place in range(times):
        assert try_from(app, place).status_code == 429
        found.append(wait_of(app))
        clock.advance(seconds=found[-1])
        assert try_from(app, place).status_code == 401
    return found


def test_guesses_from_everywhere_wait_longer_and_longer_up_to_a_quarter_of_an_hour(app: Flask, clock: Clock) -> None:
    assert guess(app, FREE + 2) == [401] * FREE + [429] * 2
    assert waits(app, clock, 7) == [30, 60, 120, 240, 480, 900, 900]
    assert login_tries.wait_after(10**6) == LONGEST_WAIT


def test_waiting_tells_nothing_of_who_has_an_account(app: Flask, clock: Clock) -> None:
    guess(app, FREE), guess(app, FREE, UNKNOWN)
    pages = []
    for email in (ANN, UNKNOWN):
        answer = try_from(app, 99, email)
        pages.append((answer.status_code, answer.headers["Retry-After"], "Wait a minute" in answer.text))
    assert pages[0] == pages[1]
    assert pages[0][2]
    clock.advance(seconds=30)
    assert [try_from(app, 99, email).status_code for email in (ANN, UNKNOWN)] == [401, 401]


def test_the_right_password_has_to_wait_too_and_then_everything_is_forgotten(app: Flask, clock: Clock) -> None:
    guess(app, FREE)
    assert try_from(app, 99, password=PASSWORD).status_code == 429, "or it would tell the guesser"
    clock.advance(seconds=30)
    assert try_from(app, 99, "ANN@example.com ", PASSWORD).status_code == 303
    assert guess(app, FREE + 1) == [401] * FREE + [429]


def test_asking_again_while_waiting_makes_no_wait_longer(app: Flask, clock: Clock) -> None:
    guess(app, FREE)
    assert set(guess(app, 20)) == {429}
    clock.advance(seconds=30)
    assert try_from(app, 99, password=PASSWORD).status_code == 303


def test_a_browser_that_its_owner_has_used_before_does_not_wait_for_strangers(app: Flask) -> None:
    own = app.test_client()
    assert log_in(own, ANN, PASSWORD).status_code == 303
    post(own, "/logout")
    guess(app, FREE + 1)
    assert log_in(own, ANN, PASSWORD).status_code == 303
    post(own, "/logout")
    assert try_from(app, 99).status_code == 429, "which is no way around for the strangers"
    # A thief of the cookie guesses under a count of its own, which forging or logging in elsewhere does not reset.
    assert [log_in(own, ANN, "a guess", place).status_code for place in range(FREE + 1)] == [401] * FREE + [429]
    assert log_in(own, UNKNOWN, "a guess").status_code == 401, "it is known as one person's only"
    own.set_cookie("known", "made up")
    assert log_in(own, ANN, PASSWORD).status_code == 429


def test_a_new_password_by_mail_lets_its_owner_in_while_strangers_go_on(app: Flask, client: FlaskClient) -> None:
    guess(app, FREE)
    assert log_in(client, ANN, PASSWORD, 99).status_code == 429
    post(client, "/password/forgot", email=ANN)
    assert post(client, mailbox.link(app, "/password/reset/"), password=NEW).status_code == 303
    assert guess(app, FREE + 1) == [401] * FREE + [429]
    assert log_in(client, ANN, NEW, 99).status_code == 303


def test_of_many_guesses_in_one_moment_only_the_free_ones_are_looked_at(app: Flask) -> None:
    browsers = [app.test_client() for _ in range(FREE + 6)]
    tokens = [csrf_token(browser) for browser in browsers]
    gate, statuses = threading.Barrier(len(browsers)), []

    def come(place: int) -> None:
        fields = {"csrf_token": tokens[place], "email": ANN, "password": "a guess"}
        gate.wait()
        address = {"REMOTE_ADDR": f"2001:db8:{place:x}::1"}
        statuses.append(browsers[place].post("/login", data=fields, environ_overrides=address).status_code)

    threads = [threading.Thread(target=come, args=(place,)) for place in range(len(browsers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * FREE + [429] * 6


def test_after_a_day_without_a_guess_the_count_begins_anew_and_its_row_goes(app: Flask, clock: Clock) -> None:
    guess(app, FREE + 1)
    clock.advance(days=1)
    assert guess(app, FREE + 1) == [401] * FREE + [429]
    clock.advance(days=1, seconds=1)
    with app.app_context():
        next(chore for chore in worker.chores() if chore.name == "log-in tries").run()
        assert db.session.scalar(select(func.count()).select_from(LoginTries)) == 0


def test_no_address_is_kept_of_whom_somebody_guessed(app: Flask) -> None:
    guess(app, 1, "somebody.else@example.com")
    with app.app_context():
        [row] = db.session.scalars(select(LoginTries))
        assert len(row.subject) == 64
        assert "somebody" not in row.subject


def test_the_page_says_how_long_to_wait_and_the_way_around(app: Flask, clock: Clock) -> None:
    guess(app, FREE + 1)
    for wait in waits(app, clock, 4):
        assert wait
    clock.advance(seconds=1)
    answer = try_from(app, 99)
    assert "Wait 8 minutes, then try again; or set a new password by mail" in answer.text
    assert int(answer.headers["Retry-After"]) >= 470
    clock.advance(seconds=478)
    assert "Wait a minute, then" in try_from(app, 99).text
    clock.advance(seconds=1)
    assert try_from(app, 99).status_code == 401
