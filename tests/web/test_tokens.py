"""A signed link says one thing, for one purpose, for a limited time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from tests.worlds import Clock
from web import tokens
from web.tokens import TokenInvalid

HOUR = timedelta(hours=1)


def test_a_token_says_what_was_signed(context: Flask) -> None:
    assert tokens.read("reset", tokens.sign("reset", "abc"), within=HOUR) == "abc"


def test_a_token_is_good_for_its_purpose_only(context: Flask) -> None:
    with pytest.raises(TokenInvalid):
        tokens.read("reset", tokens.sign("sign-up", "abc"), within=HOUR)


def test_a_token_ages_by_the_clock_of_the_app(context: Flask, clock: Clock) -> None:
    token = tokens.sign("reset", "abc")
    clock.advance(minutes=59)
    assert tokens.read("reset", token, within=HOUR) == "abc"
    clock.advance(minutes=2)
    with pytest.raises(TokenInvalid):
        tokens.read("reset", token, within=HOUR)


def test_a_changed_token_is_refused_wherever_it_is_changed(context: Flask) -> None:
    token = tokens.sign("reset", "abc")
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        if place == len(token) - 1:
            continue  # the last letter of base64 carries bits that mean nothing
        with pytest.raises(TokenInvalid):
            tokens.read("reset", changed, within=HOUR)


def test_links_of_before_a_new_secret_key_still_work(context: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.sign("reset", "abc")
    old = context.config["SECRET_KEY"]
    monkeypatch.setitem(context.config, "SECRET_KEY", "a new secret key, as long as it has to be")
    with pytest.raises(TokenInvalid):
        tokens.read("reset", token, within=HOUR)
    monkeypatch.setitem(context.config, "SECRET_KEY_FALLBACKS", [old])
    assert tokens.read("reset", token, within=HOUR) == "abc"
