"""A cookie is believed when we signed it and it is young enough, however often it was believed before."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask

from accounts.sessions import REMEMBERED_LIFETIME
from web import cookies

SAID = {"_user_id": "a secret", "_fresh": True}


@pytest.fixture(autouse=True)
def nothing_is_known(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "session_interface", cookies.CookieSessions())


def signed(app: Flask, said: dict[str, Any]) -> str:
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    return str(serializer.dumps(said))


def heard(app: Flask, cookie: str) -> dict[str, Any]:
    with app.test_request_context("/", headers={"Cookie": f"session={cookie}"}):
        return dict(flask.session)


def known(app: Flask) -> int:
    return len(app.session_interface._read)  # type: ignore[attr-defined]


def test_what_we_signed_is_heard_again_and_again(app: Flask) -> None:
    cookie = signed(app, SAID)
    assert [heard(app, cookie) for _ in range(3)] == [SAID] * 3
    assert known(app) == 1


def test_what_somebody_altered_is_not_heard_and_not_known(app: Flask) -> None:
    cookie = signed(app, SAID)
    payload, at, signature = cookie.split(".")
    for altered in (
        f"{payload}x.{at}.{signature}",
        f"{payload}.{at}x.{signature}",
        f"{payload}.{at}.{signature}x",
        ".",
    ):
        assert heard(app, altered) == {}
    assert heard(app, cookie) == SAID
    assert heard(app, f"{payload}.{at}.{signature[::-1]}") == {}
    assert known(app) == 1


def test_a_key_that_is_taken_away_signs_nobody_in_any_more(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = signed(app, SAID)
    assert heard(app, cookie) == SAID
    monkeypatch.setitem(app.config, "SECRET_KEY_FALLBACKS", [app.secret_key])
    monkeypatch.setitem(app.config, "SECRET_KEY", "the next secret of the suite, long enough")
    assert heard(app, cookie) == SAID
    monkeypatch.setitem(app.config, "SECRET_KEY_FALLBACKS", [])
    assert heard(app, cookie) == {}


@pytest.mark.parametrize("is_known", [True, False])
def test_one_that_is_too_old_is_not_heard(app: Flask, monkeypatch: pytest.MonkeyPatch, is_known: bool) -> None:
    cookie, now = signed(app, SAID), time.time()
    if is_known:
        assert heard(app, cookie) == SAID

    def later(by: timedelta) -> dict[str, Any]:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: now + by.total_seconds())
            return heard(app, cookie)

    assert later(REMEMBERED_LIFETIME - timedelta(seconds=2)) == SAID
    assert later(REMEMBERED_LIFETIME + timedelta(seconds=2)) == {}
    assert later(-timedelta(minutes=1)) == {}, "it was not signed in the future"


def test_what_one_request_changes_is_not_in_the_cookie_of_the_next(app: Flask) -> None:
    cookie = signed(app, {**SAID, "_flashes": [("message", "a")]})
    for _ in range(2):
        with app.test_request_context("/", headers={"Cookie": f"session={cookie}"}):
            flask.session["more"] = 1
            flask.flash("b")
            assert len(flask.session["_flashes"]) == 2
    assert heard(app, signed(app, SAID)) == SAID


def test_only_so_many_are_known(app: Flask) -> None:
    app.session_interface._read.room = 3  # type: ignore[attr-defined]
    for number in range(5):
        assert heard(app, signed(app, {"n": number})) == {"n": number}
    assert known(app) == 3
