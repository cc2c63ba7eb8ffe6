"""Many requests at once on the real app under gunicorn: what the balance covers succeeds, and nothing breaks."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from urllib.parse import urlencode

import pytest
from flask import Flask, json

import clock
from checker.models import Report
from config import Config
from extensions import db
from ledger import invariants
from tests.conftest import SETTINGS
from tests.persons import Person, csrf_token, sign_up
from tests.reports.buying import ONE_PAGE, ask_price, give_credits, hidden_fields

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 400
CREDITS = 100
THREADS = 16
START_SECONDS = 30
REQUEST_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running gunicorn, and where it writes what went wrong."""

    port: int
    errors: Path

    def post(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, str, str]:
        """Return status, Location and body of one POST on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("POST", path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Location", ""), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def server(app: Flask, tmp_path: Path) -> Iterator[Server]:
    """The app under gunicorn, on the database of the test and at its time; it ends with the test."""
    config: Config = app.config["TOLLGATE"]
    settings = tmp_path / "nothing_set.py"
    settings.touch()
    offset = tmp_path / "clock"
    offset.write_text(f"{clock.now().timestamp() - time.time():.3f}")
    # Room for every request to wait in the queue: the kernel resets connections that find it full.
    with socket.create_server(("127.0.0.1", 0), backlog=2 * REQUESTS) as listener:
        # gunicorn takes the open socket over, so nobody else can take its port in between.
        listener.set_inheritable(True)
        port, errors = listener.getsockname()[1], tmp_path / "gunicorn.log"
        command = [sys.executable, "-m", "gunicorn", "--config", str(settings), "--bind", f"fd://{listener.fileno()}"]
        command += ["--workers", "1", "--worker-class", "gthread", "--threads", str(THREADS), "--graceful-timeout", "2"]
        environment = {**os.environ, **SETTINGS, "DATABASE_URL": config.database_url, "LOG_LEVEL": "WARNING"}
        environment["CLOCK_FILE"] = str(offset)
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [*command, "--backlog", str(2 * REQUESTS), "--no-control-socket", "app:create_app()"],
                cwd=ROOT,
                env=environment,
                pass_fds=[listener.fileno()],
                stderr=log,
                stdout=log,
            )
    try:
        yield _wait_for(process, Server(port, errors))
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _wait_for(process: subprocess.Popen[bytes], server: Server) -> Server:
    # The socket listens already: the first request waits in its queue until the app is up.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    except OSError:
        pytest.fail(f"gunicorn does not answer (exit {process.poll()}):\n{server.errors.read_text()}")
    finally:
        connection.close()
    return server


def at_once(count: int, send: Callable[[int], tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Send this many requests in the same moment."""
    together = Barrier(count)

    def one(number: int) -> tuple[int, str, str]:
        together.wait(timeout=30)
        return send(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def cookie_of(person: Person) -> str:
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    return f"session={cookie.value}"


def test_400_requests_at_once_for_100_credits_are_100_reports(app: Flask, server: Server) -> None:
    ann = sign_up(app)
    give_credits(app, ann, CREDITS)
    token = csrf_token(ann.client)
    headers = {"Cookie": cookie_of(ann), "X-CSRFToken": token, "Content-Type": "application/json"}
    body = json.dumps({"text": ONE_PAGE})

    answers = at_once(
        REQUESTS, lambda n: server.post("/api/v1/cv", body, {**headers, "Idempotency-Key": f"request-{n}"})
    )

    statuses = Counter(status for status, _, _ in answers)
    assert statuses == {201: CREDITS, 402: REQUESTS - CREDITS}, server.errors.read_text()[-2000:]
    assert "database is locked" not in server.errors.read_text()
    assert len({location for status, location, _ in answers if status == 201}) == CREDITS
    with app.app_context():
        assert db.session.query(Report).filter_by(account_id=ann.account_id).count() == CREDITS
        assert invariants.violations(db.session()) == []
    assert ann.balance() == 0


def test_a_form_sent_40_times_at_once_is_charged_once(app: Flask, server: Server) -> None:
    ann = sign_up(app)
    give_credits(app, ann, 10)
    fields = {**hidden_fields(ask_price(ann, ONE_PAGE)), "text": ONE_PAGE}
    headers = {"Cookie": cookie_of(ann), "Content-Type": "application/x-www-form-urlencoded"}

    answers = at_once(40, lambda _: server.post("/cv", urlencode(fields), headers))

    assert {status for status, _, _ in answers} == {303}, server.errors.read_text()[-2000:]
    assert len({location for _, location, _ in answers}) == 1
    assert ann.balance() == 9


def test_a_form_sent_40_times_at_once_with_the_last_credit_leads_everybody_to_the_report(
    app: Flask, server: Server
) -> None:
    ann = sign_up(app)
    while ann.balance() > 1:
        fields = {**hidden_fields(ask_price(ann, ONE_PAGE)), "text": ONE_PAGE}
        assert ann.client.post("/cv", data=fields).status_code == 303
    fields = {**hidden_fields(ask_price(ann, ONE_PAGE)), "text": ONE_PAGE}
    headers = {"Cookie": cookie_of(ann), "Content-Type": "application/x-www-form-urlencoded"}

    answers = at_once(40, lambda _: server.post("/cv", urlencode(fields), headers))

    assert {status for status, _, _ in answers} == {303}, server.errors.read_text()[-2000:]
    assert ann.balance() == 0
