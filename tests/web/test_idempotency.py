"""The nonce of a form and the key of a program: one effect per sending, and clear words when it is missing."""

from __future__ import annotations

import pytest
from flask import Flask
from werkzeug.exceptions import BadRequest

from accounts.models import User
from extensions import db
from tests.persons import Person, sign_up
from tests.worlds import Clock
from web import idempotency


def mint(person: Person) -> str:
    """Return the nonce of a form that the person has opened."""
    page = person.client.get("/cv").get_data(as_text=True)
    return page.split('name="_idem" value="')[1].split('"')[0]


def key_of(person: Person, **sent: object) -> str:
    """Return the key that a request of the person has."""
    with person.app.test_request_context("/cv", method="POST", **sent):  # type: ignore[arg-type]
        from flask import g

        g._login_user = db.session.get(User, person.user_id)
        return idempotency.key()


def test_the_same_form_has_the_same_key_and_another_form_another(app: Flask) -> None:
    ann = sign_up(app)
    first, second = mint(ann), mint(ann)
    assert key_of(ann, data={"_idem": first}) == key_of(ann, data={"_idem": first})
    assert key_of(ann, data={"_idem": first}) != key_of(ann, data={"_idem": second})


@pytest.mark.parametrize("given", ["", "made-up", "W1siYSIsImIiXV0.aaaaaa.bbbb", "\u00e9", "a" * 5000])
def test_a_missing_or_forged_nonce_is_refused_in_words(app: Flask, given: str) -> None:
    with pytest.raises(BadRequest, match="Open"):
        key_of(sign_up(app), data={"_idem": given})


def test_a_nonce_of_another_account_is_refused(app: Flask) -> None:
    ann, bob = sign_up(app, "ann@example.com"), sign_up(app, "bob@example.com")
    with pytest.raises(BadRequest, match="another account"):
        key_of(bob, data={"_idem": mint(ann)})


def test_a_nonce_runs_out_after_two_days_of_the_apps_clock(app: Flask, clock: Clock) -> None:
    ann = sign_up(app)
    nonce = mint(ann)
    clock.advance(days=1, hours=23)
    assert key_of(ann, data={"_idem": nonce})
    clock.advance(hours=2)
    with pytest.raises(BadRequest, match="more than two days old"):
        key_of(ann, data={"_idem": nonce})


def test_a_nonce_signed_for_something_else_is_refused(app: Flask) -> None:
    from itsdangerous import URLSafeTimedSerializer

    ann = sign_up(app)
    foreign = URLSafeTimedSerializer(app.config["TOLLGATE"].secret_key, salt="another-salt").dumps(["a", "b"])
    with pytest.raises(BadRequest, match="not one of ours"):
        key_of(ann, data={"_idem": foreign})


@pytest.mark.parametrize("given", [None, "short", "with a space", "x" * 129, "sn\u00f6wman-key"])
def test_a_program_is_told_how_to_make_a_key(app: Flask, given: str | None) -> None:
    headers = {"Accept": "application/json"} | ({"Idempotency-Key": given} if given else {})
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        key_of(sign_up(app), headers=headers)


def test_a_programs_key_and_a_forms_nonce_never_meet(app: Flask) -> None:
    ann = sign_up(app)
    by_form = key_of(ann, data={"_idem": mint(ann)})
    by_program = key_of(ann, headers={"Accept": "application/json", "Idempotency-Key": by_form.split(":")[-1]})
    assert by_form != by_program
