"""Each request has a name that its page, its problem and its log line share; no log line holds a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from config import Config
from extensions import db
from web import logging as web_logging

SECRETS = [
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "sk_test_sandbox",
    "rk_live_51H8abcdefghij",
    "whsec_of_the_test_suite",
    "hunter2-and-more",
]


Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def as_in_production() -> Iterator[None]:
    """Log as a process without a terminal does."""
    web_logging.set_up(level="DEBUG", is_terminal=False)
    yield
    web_logging.set_up(level="INFO", is_terminal=False)


def logged(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_a_request_has_one_name_in_its_answer_and_its_log_line(client: FlaskClient, capsys: Capture) -> None:
    answer = client.get("/terms")
    line = next(entry for entry in logged(capsys.readouterr().err) if entry["event"] == "request")
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/terms", 200)


def test_two_requests_have_two_names(client: FlaskClient) -> None:
    assert client.get("/terms").headers["X-Request-Id"] != client.get("/terms").headers["X-Request-Id"]


def test_a_request_that_is_refused_early_has_its_own_name(client: FlaskClient, capsys: Capture) -> None:
    client.get("/terms")
    refused = client.post("/theme")
    last = [entry for entry in logged(capsys.readouterr().err) if entry["event"] == "request"][-1]
    assert (last["status"], last["request_id"]) == (400, refused.headers["X-Request-Id"])


def test_a_stranger_cannot_choose_the_name(client: FlaskClient) -> None:
    answer = client.get("/terms", headers={"X-Request-Id": "chosen-by-a-stranger"})
    assert answer.headers["X-Request-Id"] != "chosen-by-a-stranger"


def test_a_proxy_of_ours_may_choose_the_name_but_not_any_text(app: Flask) -> None:
    config: Config = app.config["TOLLGATE"]
    behind_proxy = create_app(replace(config, trusted_proxy_count=1))
    client = behind_proxy.test_client()
    assert (
        client.get("/terms", headers={"X-Request-Id": "from-the-proxy-1"}).headers["X-Request-Id"] == "from-the-proxy-1"
    )
    for bad in ("x", "a" * 65, "two words", "<script>alert(1)</script>"):
        assert client.get("/terms", headers={"X-Request-Id": bad}).headers["X-Request-Id"] != bad
    with behind_proxy.app_context():
        db.engine.dispose()


def test_a_token_in_a_path_or_query_is_not_logged(client: FlaskClient, capsys: Capture) -> None:
    client.get("/password/reset/this-is-the-token?token=and-this-too")
    written = capsys.readouterr().err
    assert "this-is-the-token" not in written
    assert "and-this-too" not in written
    assert "/password/reset/<token>" in written


def test_secrets_are_redacted_wherever_they_stand(capsys: Capture) -> None:
    log = structlog.stdlib.get_logger("a")
    log.info("calling with " + SECRETS[0], nested={"deep": [SECRETS[1], {"api_key": SECRETS[4]}]})
    log.info("form", password=SECRETS[4], authorization=f"Bearer {SECRETS[4]}", link=f"/x?token={SECRETS[4]}&y=1")
    logging.getLogger("a.library").warning("refused %s with %s", SECRETS[2], SECRETS[3])
    try:
        raise ValueError(f"bad password={SECRETS[4]}")
    except ValueError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert len(logged(written)) == 4
    for secret in SECRETS:
        assert secret not in written
    assert "y=1" in written
    assert "ValueError" in written


def test_the_address_of_a_database_is_logged_without_its_password(capsys: Capture) -> None:
    structlog.stdlib.get_logger("a").info("connecting", url="postgresql://tollgate:hunter2@db/tollgate")
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert "@db/tollgate" in written
