"""Each kind of error that Stripe can answer with has a behaviour and words of its own."""

from __future__ import annotations

import pytest
from flask import Flask
from structlog.testing import LogCapture

import database
from billing import errors, gateway, poller, pulse, sync, sync_queue
from extensions import db
from stripe_sandbox import api as sandbox_api
from stripe_sandbox.errors import StripeError as SandboxError
from tests.persons import Person, post, sign_up
from tests.worlds import Clock, Stripe

BUTTON = "credits_30"


@pytest.fixture
def ann(app: Flask, stripe: Stripe) -> Person:
    return sign_up(app)


def words_of(person: Person) -> tuple[int, str]:
    answer = post(person.client, f"/pricing/checkout/{BUTTON}")
    assert answer.status_code < 503 or "Retry-After" in answer.headers
    return answer.status_code, answer.get_data(as_text=True)


def refuse_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def authenticate(_: object) -> None:
        raise SandboxError("Invalid API Key provided: sk_test_****.", status=401)

    monkeypatch.setattr(sandbox_api, "authenticate", authenticate)


def test_a_lost_connection_says_look_before_you_try_again(ann: Person, stripe: Stripe) -> None:
    stripe.sandbox.break_api("unreachable")
    status, page = words_of(ann)
    assert status == 503
    assert "does not answer" in page
    assert "nothing is charged twice" in page


def test_an_error_of_stripes_own_says_that_it_has_trouble(ann: Person, stripe: Stripe) -> None:
    stripe.sandbox.break_api("500")
    status, page = words_of(ann)
    assert status == 503
    assert "has trouble" in page


def test_too_many_requests_ask_for_a_few_seconds_and_leave_stripe_alone(
    app: Flask, ann: Person, stripe: Stripe
) -> None:
    stripe.sandbox.break_api("429")
    status, page = words_of(ann)
    assert status == 503
    assert "try again in a few seconds" in page
    stripe.sandbox.heal()
    with app.app_context(), pytest.raises(errors.StripeBusy, match="is not asked for another") as busy:
        gateway.call(lambda c: c.v1.customers.create({"email": "x@example.com"}), quick=True)
    assert 0.5 < busy.value.retry_after <= 1
    with app.app_context():
        assert gateway.call(lambda c: c.v1.accounts.retrieve_current(), quick=True)["object"] == "account"


def test_a_refused_key_is_our_mistake_and_an_alarm(
    app: Flask, ann: Person, stripe: Stripe, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_the_key(monkeypatch)
    status, page = words_of(ann)
    assert status == 503
    assert "our mistake" in page
    assert [e["log_level"] for e in log.entries if e["event"] == "Stripe refuses the key"] == ["critical"]


def test_a_refused_key_turns_the_alarm_on_and_a_good_one_off(
    app: Flask, ann: Person, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.app_context():
        database.write(pulse.note, pulse.WORKER)
    assert app.test_client().get("/healthz/worker").status_code == 200
    with monkeypatch.context() as patch, app.app_context():
        refuse_the_key(patch)
        with pytest.raises(errors.StripeKeyRefused):
            poller.poll()
    answer = app.test_client().get("/healthz/worker")
    assert (answer.status_code, answer.get_json()["wrong"]) == (503, ["Stripe refuses the key"])
    assert app.test_client().get("/readyz").status_code == 200
    with app.app_context():
        poller.poll()
    assert app.test_client().get("/healthz/worker").status_code == 200


def test_a_refused_request_is_logged_with_stripes_number_of_it(
    app: Flask, stripe: Stripe, log: LogCapture, ann: Person
) -> None:
    stripe.expect_violation("No such charge")
    with app.app_context():
        database.write(sync_queue.mark_dirty, "charge", "ch_unknown")
        sync.run_due()
        task = db.session.get_one(sync_queue.SyncTask, ("charge", "ch_unknown"))
        assert task.attempts == 1
        assert "StripeObjectMissing" in (task.last_error or "")
    (entry,) = [e for e in log.entries if e["event"] == "sync refused"]
    assert entry["log_level"] == "error"
    assert entry["request_id"].startswith("req_")
    assert entry["code"] == "resource_missing"


def test_what_is_given_up_is_an_error_with_the_trace_of_its_last_failure(
    context: Flask, clock: Clock, log: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> dict[str, object]:
        raise KeyError("lines")

    monkeypatch.setitem(sync.KINDS, "charge", sync.Kind(fetch, sync.KINDS["charge"].apply))
    database.write(sync_queue.mark_dirty, "charge", "ch_1")
    for _ in range(12):
        sync.drain()
        clock.advance(hours=1)
    assert [(e["event"], e["log_level"]) for e in log.entries] == [
        *[("sync failed", "warning")] * 11,
        ("sync given up", "error"),
    ]
    last = log.entries[-1]
    assert (last["kind"], last["object_id"], last["attempts"]) == ("charge", "ch_1", 12)
    assert isinstance(last["exc_info"], KeyError)
    assert "code" not in last


def test_a_page_that_stripe_refuses_is_logged_with_stripes_number_of_it(
    app: Flask, stripe: Stripe, log: LogCapture, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.StripeRefused("no such price", code="parameter_invalid", request_id="req_77")

    monkeypatch.setattr(gateway, "create_checkout_session", refuse)
    status, page = words_of(ann)
    assert status == 502
    assert "trying again will not help" in page
    (entry,) = [e for e in log.entries if e["event"] == "service failed"]
    assert entry["stripe_request_id"] == "req_77"


def test_a_declined_card_says_what_stripe_says() -> None:
    declined = errors.CardDeclined("x", user_message="Your card has expired.", code="expired_card", request_id="req_1")
    from web.answers import ANSWERS

    assert ANSWERS[errors.CardDeclined].text(declined) == "Your card has expired. Nothing was charged."
    assert ANSWERS[errors.CardDeclined].status == 402
    assert not declined.is_passing


@pytest.mark.parametrize("mode", ["unreachable", "500", "429"])
def test_trouble_counts_nothing_against_an_object(
    app: Flask, ann: Person, stripe: Stripe, clock: Clock, mode: str
) -> None:
    stripe.pay(ann.checkout("credits_12"))
    stripe.deliver()
    stripe.sandbox.break_api(mode)
    with app.app_context():
        for _ in range(3):
            sync.drain()
            clock.advance(minutes=2)
        assert {t.attempts for t in db.session.query(sync_queue.SyncTask)} == {0}
    stripe.sandbox.heal()


def test_the_worker_asks_again_at_once_where_a_page_gives_up(
    app: Flask, ann: Person, stripe: Stripe, log: LogCapture
) -> None:
    stripe.pay(ann.checkout("credits_12"))
    stripe.settle()
    customer_id = stripe.sandbox_object("customer")["id"]
    with app.app_context():
        stripe.sandbox.break_api("500", times=1)
        database.write(sync_queue.mark_dirty, "customer", customer_id)
        assert sync.run_due()
        assert sync_queue.waiting(db.session()) == 0
        assert [e for e in log.entries if e["event"] == "sync failed"] == []
        stripe.sandbox.break_api("500", times=1)
        with pytest.raises(errors.StripeUnavailable):
            sync.run_now("customer", customer_id)


def test_a_lock_on_one_object_does_not_stop_its_endpoint(app: Flask, stripe: Stripe) -> None:
    inner = app.extensions["stripe"]._requestor._client._inner
    original = inner.request

    def locked(*args: object, **options: object) -> tuple[str, int, dict[str, str]]:
        return '{"error": {"code": "lock_timeout", "message": "busy", "type": "invalid_request_error"}}', 429, {}

    inner.request = locked
    try:
        with app.app_context(), pytest.raises(errors.StripeBusy):
            gateway.call(lambda c: c.v1.accounts.retrieve_current())
    finally:
        inner.request = original
    with app.app_context():
        assert gateway.call(lambda c: c.v1.accounts.retrieve_current())["object"] == "account"


def test_stripe_names_the_seconds(app: Flask, stripe: Stripe) -> None:
    inner = app.extensions["stripe"]._requestor._client._inner
    original = inner.request
    inner.request = lambda *_, **__: ('{"error": {"message": "slow down"}}', 429, {"Retry-After": "9"})
    try:
        with app.app_context(), pytest.raises(errors.StripeBusy) as busy:
            gateway.call(lambda c: c.v1.accounts.retrieve_current())
    finally:
        inner.request = original
    assert busy.value.retry_after == 9
    with app.app_context(), pytest.raises(errors.StripeBusy, match=r"GET /account is not asked for another [89]"):
        gateway.call(lambda c: c.v1.accounts.retrieve_current())
