"""A developer without a mail server reads the mail in the browser; nobody else ever can."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from config import Config
from tests.auth import mailbox
from tests.conftest import SETTINGS
from tests.persons import post

PUBLIC = {
    "APP_BASE_URL": "https://app.example.com",
    "TRUSTED_HOSTS": "app.example.com",
    "STRIPE_API_BASE": "",
    "MAIL_URL": "smtps://user:password@mail.example.com:465",
    "SUPPORT_EMAIL": "support@app.example.com",
}


def register(client: FlaskClient, email: str = "ann@example.com") -> None:
    assert post(client, "/register", email=email, password="correct horse battery").status_code == 303


def test_an_empty_mailbox_says_what_to_do(client: FlaskClient) -> None:
    page = client.get("/dev/mail")
    assert page.status_code == 200
    assert "No mail yet" in page.get_data(as_text=True)


def test_a_kept_mail_is_listed_and_its_link_works(app: Flask, client: FlaskClient) -> None:
    register(client)
    listed = client.get("/dev/mail").get_data(as_text=True)
    assert "Confirm your address for Tollgate" in listed
    [uuid] = set(re.findall(r"/dev/mail/([0-9a-f]{32})", listed))
    shown = client.get(f"/dev/mail/{uuid}").get_data(as_text=True)
    link = re.search(r'href="http://127\.0\.0\.1:5000(/verify/[^"]+)"', shown)
    assert link
    assert post(client, link.group(1)).status_code == 303


def test_the_mail_as_a_page_has_no_powers(client: FlaskClient) -> None:
    register(client)
    [uuid] = set(re.findall(r"/dev/mail/([0-9a-f]{32})", client.get("/dev/mail").get_data(as_text=True)))
    frame = client.get(f"/dev/mail/{uuid}/html")
    policy = frame.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-top-navigation-by-user-activation" in policy
    assert "script-src" not in policy
    assert frame.get_data(as_text=True).count("<h1") == 1
    outer = client.get(f"/dev/mail/{uuid}")
    assert "frame-src 'self'" in outer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in outer.headers["Content-Security-Policy"]


def test_a_mail_that_would_not_be_sent_says_so(client: FlaskClient) -> None:
    post(client, "/password/forgot", email="nobody@example.com")
    page = client.get("/dev/mail").get_data(as_text=True)
    assert "Not sent: reset" in page


def test_an_unknown_mail_is_not_found(client: FlaskClient) -> None:
    assert client.get("/dev/mail/00000000000000000000000000000000").status_code == 404
    assert client.get("/dev/mail/00000000000000000000000000000000/html").status_code == 404


@pytest.mark.parametrize("changes", [PUBLIC, {"MAIL_URL": "smtp://127.0.0.1:25"}])
def test_kept_mail_is_nowhere_to_be_read_on_a_public_site_or_with_a_server(
    changes: dict[str, str], tmp_path: Path
) -> None:
    app = create_app(Config.from_env({**SETTINGS, "DATABASE_URL": f"sqlite:///{tmp_path}/t.db", **changes}))
    base = app.config["TOLLGATE"].app_base_url
    for path in ("/dev/mail", "/dev/mail/x", "/dev/mail/x/html"):
        assert app.test_client().get(path, base_url=base).status_code == 404


def test_every_mail_reads_well_without_pictures_and_has_one_button(app: Flask, client: FlaskClient) -> None:
    register(client)
    post(client, mailbox.link(app, "/verify/"))
    post(client, "/password/forgot", email="ann@example.com")
    register(app.test_client(), "ann@example.com")
    before = mailbox.letters(app)  # the link is used up in a moment, and then its mail is not needed any more
    post(app.test_client(), mailbox.link(app, "/password/reset/"), password="another horse battery")
    letters = mailbox.letters(app) + before
    assert len({letter["Subject"] for letter in letters}) == 4
    for letter in letters:
        html_part, words = letter.get_body(("html",)), mailbox.text(letter)
        assert html_part is not None
        html = html_part.get_content()
        assert html.count('class="button"') == 1
        assert "<img" not in html
        assert "max-width:600px" in html
        assert "prefers-color-scheme: dark" in html
        for text in (html, words):
            assert "You get this mail because" in text
            assert "{{" not in text
            assert "http://127.0.0.1:5000" in text
        assert not re.search(r"<\w+", words)
