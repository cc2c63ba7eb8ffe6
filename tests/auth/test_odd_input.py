"""Whatever is typed or forged, the door answers with a page that says what to do, and never breaks."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.auth import mailbox
from tests.persons import csrf_token, post

ODD = (
    *(
        "",
        " ",
        "\t",
        "\r\n",
        "'\"--;",
        "<script>alert(1)</script>",
        "%s%n",
        "{{ 7*7 }}",
        "../../etc/passwd",
        "\u202e",
        "\ufeff",
    ),
    *(
        "\ufdfa" * 8,
        "\U0001f600" * 8,
        "e\u0301" * 8,
        "a" * 5000,
        "\ud7ff\ue000",
        "ann@example.com\nBcc: all@example.com",
    ),
    *(
        "ann@example.com,bob@example.com",
        '"ann"@example.com',
        "ann@[127.0.0.1]",
        "ann@xn--",
        "ann@\u00df.example",
        "@" * 50,
    ),
)
# As many letters that grow when their case is folded as a host name may hold.
LONGEST = "ann@" + ".".join(["\u00df" * 40] * 3) + ".example"
FORMS = ("/register", "/login", "/password/forgot", "/verify", "/verify/x", "/password/reset/x")


@pytest.mark.parametrize("path", FORMS)
def test_odd_words_in_any_field_break_nothing(app: Flask, path: str) -> None:
    for odd in ODD:
        client = app.test_client()
        fields = {"email": "ann@example.com", "password": "correct horse", "next": "/", "remember": "y"}
        for name in fields:
            answer = post(client, path, **{**fields, name: odd})
            assert answer.status_code < 500, (path, name, odd)
            assert "<script>alert" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", FORMS)
def test_bytes_that_are_no_text_break_nothing(client: FlaskClient, path: str) -> None:
    body = f"csrf_token={csrf_token(client)}&password=%ff%fe%ed%a0%80&email=%ed%a0%80@example.com".encode()
    kind = "application/x-www-form-urlencoded"
    assert client.post(path, data=body, content_type=kind).status_code < 500
    assert client.post(path, data=b"\xff\xfe", content_type="application/json").status_code < 500


def test_the_longest_of_addresses_fits(app: Flask, client: FlaskClient) -> None:
    assert post(client, "/register", email=LONGEST, password="correct horse battery").status_code == 303
    assert post(client, mailbox.link(app, "/verify/")).status_code == 303


@pytest.mark.parametrize("cookie", ["x", "..", "a.b.c", "eyJhIjoxfQ.aaaaaa.bbbb", "\u00e4", "=" * 500])
def test_a_forged_cookie_is_no_cookie(client: FlaskClient, cookie: str) -> None:
    for name in ("session", "remember_token", "__Host-session"):
        client.set_cookie(name, cookie)
    assert client.get("/password/change").status_code == 303
    assert client.get("/login").status_code == 200


@pytest.mark.parametrize("secret", ["", "x", "\u00e4", "a" * 3000])
def test_a_signed_cookie_with_odd_content_signs_nobody_in(client: FlaskClient, secret: str) -> None:
    with client.session_transaction() as cookie:
        cookie["_user_id"] = secret
        cookie["signup"] = secret
    assert client.get("/password/change").status_code == 303
    assert client.get("/verify").status_code == 302
