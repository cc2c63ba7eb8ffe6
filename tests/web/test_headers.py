"""Every response tells the browser what to refuse: pages, errors, files and redirects alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from config import Config
from tests.conftest import SETTINGS
from tests.mail.test_reading_kept_mail import PUBLIC
from tests.persons import csrf_token, post, sign_up

LONG_AFTER = "Tue, 01 Jan 2036 00:00:00 GMT"
FIXED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}


def every_kind(app: Flask) -> dict[str, TestResponse]:
    client, person = app.test_client(), sign_up(app)
    form = {"csrf_token": csrf_token(client)}
    return {
        "page": client.get("/"),
        "form": client.get("/login"),
        "private page": person.client.get("/password/change"),
        "redirect": client.get("/verify"),
        "login required": client.get("/password/change"),
        "file": client.get("/static/css/tokens.css", buffered=True),
        "file not modified": client.get("/static/logo.svg", headers={"If-Modified-Since": LONG_AFTER}, buffered=True),
        "bad host": client.get("/", headers={"Host": "evil.com"}),
        "no csrf token": client.post("/login"),
        "other site": client.post("/login", data=form, headers={"Sec-Fetch-Site": "cross-site"}),
        "not found": client.get("/no/such/page"),
        "wrong method": client.get("/logout"),
        "gone": client.get("/verify/broken"),
        "too large": client.post("/login", data={"email": "x" * 2_000_000}),
        "wrong login": post(client, "/login", email="ann@example.com", password="not it at all"),
        "too many": [post(client, "/login", email="bob@example.com", password="x") for _ in range(11)][-1],
        "webhook": client.post("/webhooks/stripe", data=b"{}"),
    }


def test_the_responses_are_of_every_kind(app: Flask) -> None:
    statuses = {response.status_code for response in every_kind(app).values()}
    assert statuses >= {200, 303, 304, 400, 401, 403, 404, 405, 410, 413, 429}


def test_every_response_has_every_header(app: Flask) -> None:
    for kind, response in every_kind(app).items():
        for name, value in FIXED.items():
            assert response.headers.get(name) == value, f"{name} of {kind}"
        assert response.headers.get("Referrer-Policy") in {"strict-origin-when-cross-origin", "same-origin"}, kind
        assert "camera=()" in response.headers["Permissions-Policy"], kind
        policy = response.headers["Content-Security-Policy"]
        for directive in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
            assert directive in policy, f"{directive} of {kind}"
        assert "unsafe" not in policy, kind
        assert response.headers.getlist("Content-Security-Policy") == [policy], kind
        assert "Strict-Transport-Security" not in response.headers, "only HTTPS may promise HTTPS"


def test_what_is_personal_is_stored_nowhere(app: Flask) -> None:
    responses = every_kind(app)
    for kind in ("private page", "form", "gone", "wrong login", "redirect"):
        assert responses[kind].headers["Cache-Control"] == "no-store", kind
    assert "Cookie" in responses["page"].headers["Vary"]
    assert "Cookie" not in responses["file"].headers.get("Vary", ""), "files are the same for everybody"
    assert "no-store" not in responses["file"].headers["Cache-Control"]


def test_a_public_page_is_not_stored_either_once_somebody_is_signed_in(app: Flask) -> None:
    person = sign_up(app)
    assert person.client.get("/").headers["Cache-Control"] == "no-store"


def test_forms_may_lead_to_stripe_and_nowhere_else(client: FlaskClient) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    [targets] = [d for d in policy.split("; ") if d.startswith("form-action")]
    stripe = [f"https://{page}.stripe.com" for page in ("checkout", "billing", "invoice")]
    assert targets.split()[1:] == ["'self'", *stripe, "http://127.0.0.1:12111"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_a_form_sent_by_another_site_is_refused_although_its_token_is_right(client: FlaskClient, site: str) -> None:
    data = {"csrf_token": csrf_token(client), "email": "ann@example.com"}
    answer = client.post("/password/forgot", data=data, headers={"Sec-Fetch-Site": site})
    assert answer.status_code == 403
    assert client.post("/password/forgot", data=data, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_stripe_is_not_asked_which_site_it_is(client: FlaskClient) -> None:
    answer = client.post("/webhooks/stripe", data=b"{}", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 400, "refused for its signature, not for its origin"


@pytest.fixture
def public_client(tmp_path: Path) -> FlaskClient:
    """A browser of a site that the world can reach."""
    return create_app(
        Config.from_env({**SETTINGS, **PUBLIC, "DATABASE_URL": f"sqlite:///{tmp_path}/t.db"})
    ).test_client()


def test_a_public_site_is_https_only_and_its_cookie_is_bound_to_the_host(public_client: FlaskClient) -> None:
    answer = public_client.get("/login", base_url="https://app.example.com")
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith("upgrade-insecure-requests")
    assert "127.0.0.1" not in policy
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-session=")
    for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie
