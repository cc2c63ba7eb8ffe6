"""Three questions about health: does the process serve, can it reach its database, does the work behind it go on?"""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

import database
from billing import pulse, sync_queue
from jobs import worker
from tests.worlds import Clock


def wait_for_the_worker(app: Flask) -> None:
    with app.app_context():
        database.write(sync_queue.mark_dirty, "charge", "ch_1")


def test_an_object_that_waits_takes_nobody_out_of_service(app: Flask, client: FlaskClient, clock: Clock) -> None:
    wait_for_the_worker(app)
    clock.advance(seconds=300)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["oldest_sync_seconds"] >= 300


def test_the_alarm_rings_when_an_object_waits_longer_than_a_minute(
    app: Flask, client: FlaskClient, clock: Clock
) -> None:
    wait_for_the_worker(app)
    with app.app_context():
        database.write(pulse.note, pulse.WORKER)
    clock.advance(seconds=30)
    assert client.get("/healthz/worker").status_code == 200
    clock.advance(seconds=31)
    with app.app_context():
        database.write(pulse.note, pulse.WORKER)
    answer = client.get("/healthz/worker")
    assert (answer.status_code, answer.get_json()["wrong"]) == (503, ["objects wait"])


def test_the_alarm_rings_when_no_worker_gives_a_sign_although_nothing_waits(
    app: Flask, client: FlaskClient, clock: Clock
) -> None:
    assert client.get("/healthz/worker").status_code == 503
    with app.app_context():
        next(chore for chore in worker.chores() if chore.name == "pulse").run()
    assert client.get("/healthz/worker").status_code == 200
    clock.advance(seconds=46)
    answer = client.get("/healthz/worker")
    assert (answer.status_code, answer.get_json()["wrong"]) == (503, ["no worker runs"])


@pytest.mark.parametrize("path", ["/readyz", "/healthz/worker"])
def test_without_its_database_the_process_is_not_ready(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr(sync_queue, "oldest_wait", away)
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()["database"]) == (503, "unreachable")
    assert client.get("/healthz").status_code == 200
