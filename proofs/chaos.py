"""R1: web and worker are killed with -9, again and again, while a shop does business; nothing is lost or invented.

    python -m proofs.chaos --deliveries 5000 --kills 100 --database sqlite

Real processes: gunicorn, `flask worker`, and the local Stripe, whose state goes on changing (people buy, refund,
dispute, change plans, cancel) while its events are delivered fully shuffled, nearly a third of them twice, some as two
Event objects. Oracle: at rest, balances, grants, claw-backs, subscriptions and payments must be what Stripe's objects
alone say (proofs/stripe_oracle.py), the ledger's invariants hold, and `flask doctor` finds nothing. Passes with 0
differences after at least the deliveries and kills asked for.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import flask_migrate
import stripe
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import database
import development
from app import create_app
from billing import stripe_catalog, sync_queue
from config import Config
from extensions import db
from proofs import stripe_oracle
from proofs.customers import Crowd, Declined
from proofs.postman import Postman
from proofs.shop import quiet
from proofs.throwaway import ENGINES, WEBHOOK_SECRET, available, make_database
from stripe_sandbox.remote import Remote

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 30.0
REST_SECONDS = 180.0
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
    over = threading.Event()
    business = threading.Thread(target=_do_business, args=(app, crowd, over), daemon=True)
    killer = threading.Thread(target=_go_killing, args=(site, chance, over, deliveries, kills, postman), daemon=True)
    business.start()
    killer.start()
    trouble: list[str] = []
    try:
        with ThreadPoolExecutor(POSTMEN) as pool:
            give_up_at = time.monotonic() + 60 + deliveries * 0.5 + kills * 5
            while not (postman.delivered >= deliveries and site.kills >= kills):
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


def _do_business(app: object, crowd: Crowd, over: threading.Event) -> None:
    with app.app_context():  # type: ignore[attr-defined]
        while not over.is_set():
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
            elif database.write(sync_queue.waiting) == 0:
                break
            if time.monotonic() > give_up_at:
                return  # the oracle will say what was never finished
            remote.call("advance", seconds=5)
            time.sleep(0.3)


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


def run(quick: bool, engines: Sequence[str] = ENGINES) -> list[dict[str, object]]:
    """Run the proof on every database that answers here."""
    rows: list[dict[str, object]] = []
    for engine in filter(available, engines):
        started = time.monotonic()
        result = prove(
            engine, deliveries=300 if quick else 5_000, kills=10 if quick else 100, people=20 if quick else 200, seed=1
        )
        rows.append(
            {
                "name": f"kill -9 of web and worker, {engine}",
                "wrong": len(result.problems),
                "tried": result.deliveries,
                "seed": 1,
                "seconds": time.monotonic() - started,
                "note": _note(result) + "".join(f"; {problem}" for problem in result.problems[:3]),
            }
        )
    return rows


def _note(result: Result) -> str:
    return (
        f"deliveries of {result.events} events ({result.unanswered} more unanswered), {result.kills} kills, "
        f"{result.doings} doings, {result.compared} facts compared"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the proof from the command line; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--database", choices=ENGINES, default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    result = prove(
        chosen.database, deliveries=chosen.deliveries, kills=chosen.kills, people=chosen.people, seed=chosen.seed
    )
    sys.stdout.write(
        f"Chaos on {chosen.database}: {len(result.problems)} of {result.compared} wrong, {result.deliveries} "
        f"{_note(result)}, seed {chosen.seed}, {time.monotonic() - started:.0f} s\n"
        + "".join(f"  {each}\n" for each in result.problems)
    )
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
