"""R1: web and worker are killed with -9, again and again, while a shop does business; nothing is lost or invented.

    python -m proofs.chaos --deliveries 5000 --kills 100 --database sqlite

Real processes: gunicorn, `flask worker`, and the local Stripe, whose state goes on changing (people buy, refund,
dispute, change plans, cancel) while its events are delivered fully shuffled, nearly a third of them twice, some as two
Event objects. In the middle a month passes, and every subscription renews. Oracle: at rest, balances, grants,
claw-backs, subscriptions and payments must be what Stripe's objects alone say (proofs/stripe_oracle.py), the ledger's
invariants hold, and `flask doctor` finds nothing. Passes with 0 differences after at least the deliveries and kills
asked for.
"""

from __future__ import annotations

import http.client
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import flask_migrate
import stripe
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import clock
import database
import development
from app import create_app
from billing import periods, pulse, stripe_catalog, sync_queue
from config import Config
from extensions import db
from mail import outbox
from proofs import stripe_oracle
from proofs.customers import Crowd, Declined
from proofs.postman import Postman
from proofs.registry import Outcome, main, proof
from proofs.shop import quiet
from proofs.throwaway import WEBHOOK_SECRET, make_database
from stripe_sandbox.remote import Remote

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 30.0
REST_SECONDS = 180.0
AWAKE = timedelta(seconds=60)
POSTMEN = 4
KILLABLE = ("web", "worker")


@dataclass(frozen=True)
class Result:
    """What was tried, and what went wrong with it."""

    deliveries: int
    unanswered: int
    kills: int
    compared: int
    events: int
    doings: int
    problems: list[str]


@dataclass
class Site:
    """The processes of a running Tollgate, by name, and how to start them."""

    settings: dict[str, str]
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: int = 0

    @property
    def environment(self) -> dict[str, str]:
        web = self.settings["APP_BASE_URL"].removeprefix("http://")
        return {**os.environ, **self.settings, "WEB_BIND": web, "WEB_THREADS": "8", "PYTHONUNBUFFERED": "1"}

    def start(self, name: str) -> None:
        """Start one process as the leader of a group, so that its children die with it."""
        command = development.processes(self.settings, str(self.folder))[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                shlex.split(command),
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a process and its children with -9, whatever they are doing, and start it again."""
        self._end(name, signal.SIGKILL)
        self.kills += 1
        self.start(name)

    def stop(self) -> None:
        """End everything."""
        for name in list(self.running):
            self._end(name, signal.SIGKILL)

    def _end(self, name: str, how: signal.Signals) -> None:
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait()

    def log_tail(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))


def prove(engine: str, *, deliveries: int, kills: int, people: int, seed: int) -> Result:
    """Do business until so many deliveries were answered and so many kills happened; then compare."""
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        place = make_database(engine, Path(folder))
        try:
            with _site(place.url, Path(folder)) as site, quiet():
                return _prove(site, deliveries=deliveries, kills=kills, people=people, seed=seed)
        finally:
            place.drop()


def _prove(site: Site, *, deliveries: int, kills: int, people: int, seed: int) -> Result:
    chance = random.Random(seed)  # noqa: S311 - when to kill, not a secret
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": site.settings["STRIPE_API_BASE"]})
    post = _Post(site.settings["APP_BASE_URL"])
    postman = Postman(client, post, WEBHOOK_SECRET, random.Random(seed))  # noqa: S311
    postman.collect()  # what the catalogue made
    postman.bag.clear()
    crowd = Crowd(client, _pay, random.Random(seed))  # noqa: S311
    crowd.join(people)
    app = _current_app()
    over, calm = threading.Event(), threading.Event()
    business = threading.Thread(target=_do_business, args=(app, crowd, over, calm), daemon=True)
    killer = threading.Thread(target=_go_killing, args=(site, chance, over, deliveries, kills, postman), daemon=True)
    business.start()
    killer.start()
    trouble: list[str] = []
    try:
        with ThreadPoolExecutor(POSTMEN) as pool:
            give_up_at = time.monotonic() + 60 + deliveries * 0.5 + kills * 5
            is_next_month = False
            while not (postman.delivered >= deliveries and site.kills >= kills):
                if not is_next_month and postman.delivered >= deliveries / 2:
                    is_next_month = True
                    calm.set()
                    _bring_to_rest(site, postman, pool)  # what is heard of a month late gets no receipt any more
                    _pass_a_month(site)
                    calm.clear()
                _deliver(postman, pool)
                if time.monotonic() > give_up_at:
                    trouble.append("the deliveries took too long:\n" + site.log_tail())
                    break
            over.set()
            business.join(30)
            killer.join(30)
            _bring_to_rest(site, postman, pool)
    finally:
        over.set()
    with Session(db.engine) as session:
        verdict = stripe_oracle.judge(session, client)
    trouble += verdict.problems + _ask_doctor(site)
    did = sum(crowd.did.values())
    return Result(postman.delivered, postman.refused, site.kills, verdict.compared, postman.events, did, trouble)


def _do_business(app: object, crowd: Crowd, over: threading.Event, calm: threading.Event) -> None:
    with app.app_context():  # type: ignore[attr-defined]
        while not over.is_set():
            if calm.is_set():
                over.wait(0.1)
                continue
            try:
                crowd.act()
            except (stripe.StripeError, SQLAlchemyError, OSError):
                continue
            finally:
                db.session.remove()


def _go_killing(
    site: Site, chance: random.Random, over: threading.Event, deliveries: int, kills: int, postman: Postman
) -> None:
    """Kill one or the other about as often as the deliveries go on; a process gets some time to do anything at all."""
    while not over.is_set() and site.kills < kills:
        due = (site.kills + 1) / (kills + 1) * deliveries
        if postman.delivered < due and not over.wait(0.05):
            continue
        site.kill(chance.choice(KILLABLE))
        over.wait(1.0 + 2.0 * chance.random())


def _deliver(postman: Postman, pool: ThreadPoolExecutor) -> None:
    postman.collect()
    # Keep a good part back, so that what is delivered has been overtaken by what happened after it.
    some = max(POSTMEN, len(postman.bag) // 4)
    bodies = [postman.take() for _ in range(min(some, len(postman.bag)))]
    answers = list(pool.map(postman.deliver, bodies))
    if not any(answers):
        time.sleep(0.1)  # nobody is there just now


def _pass_a_month(site: Site) -> None:
    """Let every subscription renew; what it left over can still be spent, so that no refund finds it expired."""
    renewed_at = periods.add_months(clock.now(), 1) + timedelta(hours=12)
    Remote(site.settings["STRIPE_API_BASE"]).call("advance", seconds=(renewed_at - clock.now()).total_seconds())


def _bring_to_rest(site: Site, postman: Postman, pool: ThreadPoolExecutor) -> None:
    """Deliver the rest and let the worker finish; leases of the dead run out faster, for time is moved on."""
    remote = Remote(site.settings["STRIPE_API_BASE"])
    give_up_at = time.monotonic() + REST_SECONDS
    for _ in range(2):
        remote.call("advance", seconds=3700)
        while True:
            postman.collect()
            if postman.bag:
                list(pool.map(postman.deliver, [postman.take() for _ in range(len(postman.bag))]))
            elif database.write(_is_at_rest):
                break
            if time.monotonic() > give_up_at:
                return  # the oracle will say what was never finished
            remote.call("advance", seconds=5)
            time.sleep(0.3)


def _is_at_rest(session: Session) -> bool:
    """Tell whether the worker has done all there is to do since time was moved last, its mails included."""
    sign, due_since = pulse.age(session, pulse.WORKER), outbox.oldest_pending_at(session)
    is_awake = sign is not None and sign < AWAKE
    return sync_queue.waiting(session) == 0 and is_awake and (due_since is None or due_since > clock.now())


def _ask_doctor(site: Site) -> list[str]:
    asked = subprocess.run(
        [sys.executable, "-m", "flask", "doctor"],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return [] if asked.returncode == 0 else [f"flask doctor: {asked.stdout[-1500:]}{asked.stderr[-500:]}"]


class _Post:
    """Posts to the real endpoint; None when nobody answers."""

    def __init__(self, url: str) -> None:
        self._where = urllib.parse.urlsplit(url)

    def __call__(self, headers: dict[str, str], body: bytes) -> int | None:
        connection = http.client.HTTPConnection(self._where.hostname or "", self._where.port, timeout=20)
        try:
            connection.request("POST", "/webhooks/stripe", body=body, headers=headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Leave the app's page alone: it may be dead just now."""


def _pay(url: str, card: str) -> None:
    """Pay on the local Stripe's page, as a person does."""
    form = {
        "card_number": card,
        "card_expiry": "12 / 34",
        "card_cvc": "123",
        "billing_name": "Jenny Rosen",
        "email": "jenny@example.com",
        "action": "pay",
    }
    request = urllib.request.Request(url, data=urllib.parse.urlencode(form).encode())  # noqa: S310 - our own sandbox
    try:
        urllib.request.build_opener(_StayHere).open(request, timeout=20).close()
    except urllib.error.HTTPError as answer:
        with answer:
            if answer.code != 303:
                raise Declined(url) from answer
        return
    raise Declined(url)


@contextmanager
def _site(database_url: str, folder: Path) -> Iterator[Site]:
    """Start everything on free ports; the app's context of this process is pushed, on the same database and Stripe."""
    web, sandbox = _free_ports(2)
    settings = {
        "ENV": "proof",
        "APP_BASE_URL": f"http://127.0.0.1:{web}",
        "SECRET_KEY": "proof " * 8,
        "SECURITY_PASSWORD_SALT": "proof " * 8,
        "STRIPE_SECRET_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": f"http://127.0.0.1:{sandbox}",
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "DATABASE_URL": database_url,
        "CLOCK_FILE": f"{folder}/clock-offset",
        "MAIL_URL": "",
    }
    site = Site(settings, folder)
    app = create_app(Config.from_env(settings))
    try:
        with app.app_context():
            flask_migrate.upgrade(directory=str(ROOT / "migrations"))
            site.start("stripe")
            _await(sandbox, site)
            stripe_catalog.push()
            # Stripe keeps its endpoint, for the doctor, and the postman of this proof does its deliveries.
            fault = {"mode": "drop", "share": 100}
            Remote(settings["STRIPE_API_BASE"]).call("faults", deliveries=[fault])
            site.start("web")
            site.start("worker")
            _await(web, site)
            yield site
            db.session.remove()
            db.engine.dispose()
    finally:
        site.stop()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _await(port: int, site: Site) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing came up on port {port}:\n{site.log_tail()}")


def _current_app() -> object:
    from flask import current_app

    return current_app._get_current_object()


@proof(
    "R1",
    "facts wrong after kill -9 of web and worker",
    passes="0 wrong, and `flask doctor` finds nothing",
    quick={"deliveries": 60, "kills": 3, "people": 5},
    whole={"deliveries": 5_000, "kills": 100, "people": 200},
    is_long=True,
)
def measure(engine: str, *, seed: int, deliveries: int, kills: int, people: int) -> Outcome:
    """Do business under kill -9."""
    result = prove(engine, deliveries=deliveries, kills=kills, people=people, seed=seed)
    note = (
        f"facts, {result.deliveries} deliveries of {result.events} events ({result.unanswered} more unanswered), "
        f"{result.kills} kills, {result.doings} doings"
    )
    return Outcome(result.compared, result.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
