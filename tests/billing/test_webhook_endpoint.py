"""The webhook's door: nothing unverified is stored, nothing verified is lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

import group_commit
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


PAYMENT = {"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1"}
TOP_UP = {**PAYMENT, "metadata": {"top_up": "7"}}
NAMED: dict[str, tuple[str, dict[str, object], tuple[str, str] | None]] = {
    "a payment": ("payment_intent.succeeded", PAYMENT, ("charge", "ch_1")),
    "a payment with notes": ("payment_intent.succeeded", {**PAYMENT, "metadata": {"x": "y"}}, ("charge", "ch_1")),
    "its charge in full": (
        "payment_intent.succeeded",
        {**PAYMENT, "latest_charge": {"id": "ch_1"}},
        ("charge", "ch_1"),
    ),
    "a top-up": ("payment_intent.succeeded", TOP_UP, ("payment_intent", "pi_1")),
    "a refused top-up": ("payment_intent.payment_failed", TOP_UP, ("payment_intent", "pi_1")),
    "a card refused at a checkout": ("payment_intent.payment_failed", PAYMENT, None),
    "a refund": ("refund.created", {"id": "re_1", "object": "refund", "charge": "ch_1"}, ("charge", "ch_1")),
    "a dispute": ("charge.dispute.created", {"id": "dp_1", "charge": {"id": "ch_1"}}, ("charge", "ch_1")),
    "a refunded charge": ("charge.refunded", {"id": "ch_1", "object": "charge"}, ("charge", "ch_1")),
    "a saved card": ("payment_method.attached", {"id": "pm_1", "customer": "cus_1"}, ("customer", "cus_1")),
    "its owner in full": ("payment_method.attached", {"customer": {"id": "cus_1"}}, ("customer", "cus_1")),
    "a card of nobody": ("payment_method.detached", {"id": "pm_1", "customer": None}, None),
    "a planned change": ("subscription_schedule.updated", {"subscription": "sub_1"}, ("subscription", "sub_1")),
    "of a plan in full": (
        "subscription_schedule.updated",
        {"subscription": {"id": "sub_1"}},
        ("subscription", "sub_1"),
    ),
    "a change given up": (
        "subscription_schedule.released",
        {"subscription": None, "released_subscription": "sub_1"},
        ("subscription", "sub_1"),
    ),
    "what a customer may use": (
        "entitlements.active_entitlement_summary.updated",
        {"customer": "cus_1"},
        ("entitlements", "cus_1"),
    ),
    "a report of fraud": ("radar.early_fraud_warning.created", {"id": "issfr_1"}, ("fraud_warning", "issfr_1")),
}


@pytest.mark.parametrize("name", NAMED)
def test_each_event_names_the_object_to_ask_for(app: Flask, client: FlaskClient, name: str) -> None:
    kind, thing, named = NAMED[name]
    assert send(client, json.dumps(event(type=kind, data={"object": thing})).encode()) == 200
    assert stored(app) == 1
    assert tasks(app) == ([(*named, 1)] if named else [])


@pytest.mark.parametrize("former", [{"customer": "cus_1"}, {}, None])
def test_a_removed_card_names_the_customer_that_it_had(
    app: Flask, client: FlaskClient, former: dict[str, str] | None
) -> None:
    told = {"object": {"id": "pm_1", "customer": None}, "previous_attributes": former}
    assert send(client, json.dumps(event(type="payment_method.detached", data=told)).encode()) == 200
    assert tasks(app) == ([("customer", "cus_1", 1)] if former else [])


@pytest.mark.parametrize("metadata", [7, "top_up", ["top_up"], None])
def test_a_payment_with_odd_metadata_is_stored_all_the_same(app: Flask, client: FlaskClient, metadata: object) -> None:
    paid = {"id": "pi_1", "object": "payment_intent", "metadata": metadata, "latest_charge": "ch_1"}
    body = json.dumps(event(type="payment_intent.succeeded", data={"object": paid})).encode()
    assert send(client, body) == 200
    assert tasks(app) == [("charge", "ch_1", 1)]


class Malformed:
    """What gunicorn gives for chunks that it cannot make sense of: an error of its own at the first look."""

    def read(self, _size: int = -1) -> bytes:
        raise RuntimeError("Invalid chunk size: b'zz'")


def test_chunks_that_make_no_sense_are_the_senders_mistake(app: Flask, client: FlaskClient) -> None:
    in_chunks = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": Malformed(),
        "wsgi.input_terminated": True,
    }
    assert client.post(URL, environ_overrides=in_chunks).status_code == 400
    assert stored(app) == 0


def test_an_event_in_an_older_api_version_is_only_a_hint(app: Flask, client: FlaskClient) -> None:
    assert send(client, json.dumps(event(api_version="2019-05-16")).encode()) == 200
    assert tasks(app) == [("invoice", "in_1", 1)]


def test_while_the_database_is_away_stripe_is_asked_to_come_again(client: FlaskClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def away(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", {}, Exception("the server is gone"))

    monkeypatch.setattr(group_commit, "store", away)
    assert send(client, BODY) == 503


REFUSING_COMMITS = {
    # A foreign key that is checked at the commit, and broken by every event.
    "sqlite": (
        "CREATE TABLE orphans (id INTEGER REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER orphan AFTER INSERT ON stripe_events BEGIN INSERT INTO orphans VALUES (-1); END",
    ),
    "postgresql": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '58030'; END $$",
        "CREATE CONSTRAINT TRIGGER orphan AFTER INSERT ON stripe_events "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
}
ALLOWING_COMMITS = {
    "sqlite": ("DROP TRIGGER orphan", "DROP TABLE orphans"),
    "postgresql": ("DROP TRIGGER orphan ON stripe_events", "DROP FUNCTION refuse"),
}


def run_all(app: Flask, statements: dict[str, tuple[str, ...]]) -> None:
    with app.app_context(), db.engine.begin() as connection:
        for statement in statements[connection.dialect.name]:
            connection.exec_driver_sql(statement)


def test_an_answer_of_200_is_never_sent_before_the_commit(app: Flask, client: FlaskClient) -> None:
    run_all(app, REFUSING_COMMITS)
    try:
        assert send(client, BODY) == 503
        assert stored(app) == 0
    finally:
        run_all(app, ALLOWING_COMMITS)
    assert send(client, BODY) == 200


def test_the_body_is_kept_as_it_came(app: Flask, client: FlaskClient) -> None:
    body = json.dumps(event(words="Grüße"), indent=2, ensure_ascii=False).encode()
    assert send(client, body) == 200
    with app.app_context():
        assert db.session.get_one(StripeEvent, "evt_1").payload == body.decode()


def test_a_burst_is_stored_completely_and_its_repetitions_are_counted(app: Flask) -> None:
    bodies = [json.dumps(event(id=f"evt_{number % 30}")).encode() for number in range(90)]

    def deliver(body: bytes) -> int:
        return send(app.test_client(), body)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deliver, bodies)) == {200}
    assert stored(app) == 30
    assert tasks(app) == [("invoice", "in_1", 30)]
    with app.app_context():
        assert db.session.scalar(select(func.sum(StripeEvent.deliveries))) == 90
