"""The webhook's door: nothing unverified is stored, nothing verified is lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

import database
from billing.models import StripeEvent, SyncTask
from extensions import db
from tests.conftest import WEBHOOK_SECRET

URL = "/webhooks/stripe"


def event(**changes: object) -> dict[str, object]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": "invoice.paid",
        "api_version": "2026-10-28.endive",
        "livemode": False,
        "created": int(time.time()),
        "data": {"object": {"id": "in_1", "object": "invoice"}},
        **changes,
    }


def signed(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None) -> str:
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def send(client: FlaskClient, body: bytes, signature: str | None = None) -> int:
    headers = {"Stripe-Signature": signed(body) if signature is None else signature}
    return client.post(URL, data=body, headers=headers).status_code


def stored(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(StripeEvent)) or 0


def tasks(app: Flask) -> list[tuple[str, str, int]]:
    with app.app_context():
        return [(t.kind, t.object_id, t.dirty) for t in db.session.scalars(select(SyncTask))]


def test_a_signed_event_is_stored_and_its_object_marked(app: Flask, client: FlaskClient) -> None:
    assert send(client, json.dumps(event()).encode()) == 200
    assert stored(app) == 1
    assert tasks(app) == [("invoice", "in_1", 1)]


def test_a_redelivered_event_is_stored_once(app: Flask, client: FlaskClient) -> None:
    body = json.dumps(event()).encode()
    assert [send(client, body) for _ in range(5)] == [200] * 5
    assert tasks(app) == [("invoice", "in_1", 1)]
    with app.app_context():
        assert db.session.get_one(StripeEvent, "evt_1").deliveries == 5


def test_twin_events_of_one_object_cost_one_task(app: Flask, client: FlaskClient) -> None:
    for number in (1, 2):
        assert send(client, json.dumps(event(id=f"evt_{number}")).encode()) == 200
    assert tasks(app) == [("invoice", "in_1", 2)]


BODY = json.dumps(event()).encode()
MALFORMED = {
    "no signature": (BODY, ""),
    "a signature with a non-ASCII letter": (BODY, signed(BODY) + ",v1=é"),
    "a signature of another secret": (BODY, signed(BODY, "whsec_of_somebody_else")),
    "a signature of another body": (BODY, signed(b"{}")),
    "a signature that is too old": (BODY, signed(BODY, at=int(time.time()) - 301)),
    "a signature without a time": (BODY, "v1=00"),
    "a time that is no number": (BODY, "t=now,v1=00"),
    "only an outdated scheme": (BODY, signed(BODY).replace("v1=", "v0=")),
    "a header of 2 kB": (BODY, signed(BODY) + "," + "x" * 2048),
    "an empty body": (b"", signed(b"")),
    "no JSON": (b"hello", signed(b"hello")),
    "bytes that are no UTF-8": (b"\xff\xfe", signed(b"\xff\xfe")),
    "null": (b"null", signed(b"null")),
    "a list": (b"[]", signed(b"[]")),
    "deep nesting": (b"[" * 100_000, signed(b"[" * 100_000)),
    "an object that is no event": (b'{"id":"x"}', signed(b'{"id":"x"}')),
    "a thin event": (body := b'{"id":"evt_1","object":"v2.core.event","type":"x"}', signed(body)),
    "an event without an object": (body := json.dumps(event(data={})).encode(), signed(body)),
    "an event whose time is text": (body := json.dumps(event(created="now")).encode(), signed(body)),
    "an id that no object has": (body := json.dumps(event(id="../../customers")).encode(), signed(body)),
    "an empty id": (body := json.dumps(event(id="")).encode(), signed(body)),
    "half a character in the id": (body := json.dumps(event(id="evt_\ud800")).encode(), signed(body)),
    "a time that no calendar has": (body := json.dumps(event(created=10**30)).encode(), signed(body)),
    "a time before time": (body := json.dumps(event(created=-(10**12))).encode(), signed(body)),
    "a version that is no text": (body := json.dumps(event(api_version={})).encode(), signed(body)),
    "a type that is no type": (body := json.dumps(event(type="x" * 300)).encode(), signed(body)),
    "a body of 300 kB": (body := json.dumps(event(pad="x" * 300_000)).encode(), signed(body)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_get_400_or_413_and_store_nothing(app: Flask, client: FlaskClient, name: str) -> None:
    body, signature = MALFORMED[name]
    assert send(client, body, signature) == (413 if len(body) > 256 * 1024 else 400)
    assert stored(app) == 0
    assert tasks(app) == []


def test_a_get_finds_nothing_to_do(client: FlaskClient) -> None:
    assert client.get(URL).status_code == 405


def test_each_of_two_secrets_opens_while_one_is_rolled(app: Flask, client: FlaskClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import dataclasses

    both = dataclasses.replace(app.config["TOLLGATE"], stripe_webhook_secrets=("whsec_new_secret_0000", WEBHOOK_SECRET))
    monkeypatch.setitem(app.config, "TOLLGATE", both)
    for number, secret in enumerate(both.stripe_webhook_secrets):
        body = json.dumps(event(id=f"evt_{number}")).encode()
        assert send(client, body, signed(body, secret)) == 200


def test_without_a_secret_the_door_is_closed(app: Flask, client: FlaskClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import dataclasses

    none = dataclasses.replace(app.config["TOLLGATE"], stripe_webhook_secrets=())
    monkeypatch.setitem(app.config, "TOLLGATE", none)
    assert send(client, BODY, signed(BODY, "")) == 400
    assert stored(app) == 0


@pytest.mark.parametrize(
    "change",
    [{"type": "customer.source.expiring"}, {"livemode": True}, {"account": "acct_of_somebody_else"}],
    ids=["of no interest", "of the other mode", "of a connected account"],
)
def test_an_event_that_is_not_for_us_is_kept_without_effect(
    app: Flask, client: FlaskClient, change: dict[str, object]
) -> None:
    assert send(client, json.dumps(event(**change)).encode()) == 200
    assert stored(app) == 1
    assert tasks(app) == []


@pytest.mark.parametrize("object_id", [7, {"a": 1}, [], "../../customers?limit=100", "", float("nan")])
def test_an_event_about_something_without_a_proper_id_asks_stripe_nothing(
    app: Flask, client: FlaskClient, object_id: object
) -> None:
    assert send(client, json.dumps(event(data={"object": {"id": object_id, "object": "invoice"}})).encode()) == 200
    assert stored(app) == 1
    assert tasks(app) == []


def test_an_event_in_an_older_api_version_is_only_a_hint(app: Flask, client: FlaskClient) -> None:
    assert send(client, json.dumps(event(api_version="2019-05-16")).encode()) == 200
    assert tasks(app) == [("invoice", "in_1", 1)]


def test_while_the_database_is_away_stripe_is_asked_to_come_again(client: FlaskClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def away(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", {}, Exception("the server is gone"))

    monkeypatch.setattr(database, "write", away)
    assert send(client, BODY) == 503


def test_an_answer_of_200_is_never_sent_before_the_commit(app: Flask, client: FlaskClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from sqlalchemy.orm import Session

    def refuse(_self: Session, *_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patched:
        patched.setattr("sqlalchemy.engine.base.Connection._commit_impl", refuse)
        assert send(client, BODY) == 503
    assert stored(app) == 0
    assert send(client, BODY) == 200
