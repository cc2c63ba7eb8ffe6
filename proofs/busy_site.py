"""What the proofs under load are made of: a site under gunicorn that many knock at, and people who are signed in."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flask_migrate
from flask import Flask
from sqlalchemy.orm import Session

import clock
import database
from accounts import people, sessions
from app import create_app
from config import Config
from extensions import db
from ledger import granting
from proofs.shop import quiet
from proofs.throwaway import WEBHOOK_SECRET, make_database

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
ANSWER_SECONDS = 120


@dataclass(frozen=True)
class BusySite:
    """The app under gunicorn on a port, and what it wrote; the app's context of this process is pushed."""

    app: Flask
    port: int
    pid: int
    log: Path

    def trouble(self) -> list[str]:
        """Return the lines of its log that tell of a database that was too busy, or of a failure."""
        lines = self.log.read_text().splitlines()
        return [line[:500] for line in lines if "database is locked" in line or "Traceback" in line]


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in: what their browser sends."""

    account_id: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and how long it took; status 0 when there was none."""

    status: int
    seconds: float


@contextmanager
def open_site(engine: str, *, threads: int = 8) -> Iterator[BusySite]:
    """Serve the app on a database of its own, on the real disk, with one worker as gunicorn.conf.py has it."""
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        place = make_database(engine, Path(folder))
        try:
            with _served(place.url, Path(folder), threads) as site:
                yield site
        finally:
            place.drop()


@contextmanager
def _served(url: str, folder: Path, threads: int) -> Iterator[BusySite]:
    port = _free_port()
    settings = {
        "ENV": "proof",
        "APP_BASE_URL": f"http://127.0.0.1:{port}",
        "TRUSTED_HOSTS": "127.0.0.1",
        "SECRET_KEY": "proof " * 8,
        "SECURITY_PASSWORD_SALT": "proof " * 8,
        "STRIPE_SECRET_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": "http://127.0.0.1:1",
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "DATABASE_URL": url,
    }
    app, log = create_app(Config.from_env(settings)), folder / "web.log"
    with app.app_context(), quiet(), log.open("wb") as output:
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py"],
            cwd=ROOT,
            env={**os.environ, **settings, "WEB_BIND": f"127.0.0.1:{port}", "WEB_THREADS": str(threads)},
            stdout=output,
            stderr=output,
        )
        try:
            _await(port, process, log)
            yield BusySite(app, port, process.pid, log)
        finally:
            process.terminate()
            process.wait(30)
            db.session.remove()
            db.engine.dispose()


def sign_in(site: BusySite, name: str, *, credits: int) -> Visitor:
    """Make a person with credits whose browser is signed in."""
    account_id, token = database.write(_make_person, name, credits)
    browser, base_url = site.app.test_client(), site.app.config["TOLLGATE"].app_base_url
    with site.app.app_context():  # one of its own: what a request keeps there is not for the next person
        with browser.session_transaction(base_url=base_url) as session:
            session["_user_id"], session["_fresh"] = token, True
        page = browser.get("/pricing", base_url=base_url).get_data(as_text=True)
    cookie, form_token = (
        browser.get_cookie("session", domain="127.0.0.1"),
        re.search(r'csrf_token" value="([^"]+)"', page),
    )
    if cookie is None or form_token is None:
        raise LookupError("the page of a person who is signed in has no cookie or no form")
    return Visitor(account_id, {"Cookie": f"session={cookie.value}", "X-CSRFToken": form_token[1]})


def _make_person(session: Session, name: str, credits: int) -> tuple[int, str]:
    user = people.create_user(session, email=f"{name}@example.com", password_hash=None, confirmed_at=clock.now())
    account_id = people.personal_account(session, user.id).id
    granting.grant(session, account_id, credits, kind="purchase", source=f"charge:{name}", note="Bought credits")
    return account_id, sessions.start(session, user.id, is_remembered=True)


def at_once(count: int, send: Callable[[int], Answer]) -> list[Answer]:
    """Send so many requests in the same moment."""
    together = threading.Barrier(count)

    def one(number: int) -> Answer:
        together.wait(60)
        return send(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def send(site: BusySite, method: str, path: str, *, headers: dict[str, str], body: bytes = b"") -> Answer:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=ANSWER_SECONDS)
    try:
        return send_on(connection, method, path, headers=headers, body=body)
    finally:
        connection.close()


def send_on(
    connection: http.client.HTTPConnection, method: str, path: str, *, headers: dict[str, str], body: bytes = b""
) -> Answer:
    """Send one request on a connection that is kept."""
    started = time.perf_counter()
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return Answer(0, time.perf_counter() - started)
    return Answer(response.status, time.perf_counter() - started)


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Return the time in milliseconds within which this share of the answers came."""
    ordered = sorted(answer.seconds for answer in answers)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise TimeoutError(f"gunicorn does not answer:\n{log.read_text()[-2000:]}")
