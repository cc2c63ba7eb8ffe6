"""R17: web threads and two workers write into one SQLite file at once; nobody is told that it is locked.

    python -m proofs.contention --seconds 60

Gunicorn with 8 threads, two processes of `flask worker` and the local Stripe. Four clients spend, four deliver
webhooks about objects that exist at Stripe, so that the workers fetch and write too, and two read pages. Oracle: every
request is answered with 200 or 201, and no log of the app's processes says "database is locked". Passes with 0 of
these; the note says how long writes took (the bar is 500 ms for p99 on a machine that does nothing else).
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import stripe
from flask import current_app

from billing import inbox
from proofs import busy_site, chaos
from proofs.busy_site import Answer, BusySite, Visitor
from proofs.customers import Crowd
from proofs.ingest_burst import PATH
from proofs.postman import Postman
from proofs.registry import Outcome, main, proof
from proofs.shop import quiet
from proofs.spend_race import BODY
from proofs.throwaway import WEBHOOK_SECRET, make_database

PEOPLE = 20
SPENDERS = 4
# For each of them, because the API lets one person do so much in a minute.
BUYERS = 30
POSTMEN = 4
READERS = 2


@dataclass
class Tally:
    """What was answered, by what was asked."""

    writes: list[Answer] = field(default_factory=list)
    reads: list[Answer] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Say what should not have been answered."""
        bad = Counter(a.status for a in [*self.writes, *self.reads] if a.status not in {200, 201})
        return [f"{count} requests were answered with {status or 'nothing'}" for status, count in bad.items()]


@proof(
    "R17",
    "writes that found the file locked",
    passes='0 "database is locked", 0 requests that failed; the times are reported',
    quick={"seconds": 5},
    whole={"seconds": 60},
    engines=("sqlite",),
    alone=True,
)
def measure(engine: str, *, seed: int, seconds: int) -> Outcome:
    """Let everybody write for a while."""
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        place = make_database(engine, Path(folder))
        with chaos._site(place.url, Path(folder)) as site, quiet(), _second_worker(site):
            tally = _keep_busy(_as_busy(site), site, seconds, seed)
            problems = tally.problems() + _locked(site.folder)
    middle, late = (busy_site.percentile(tally.writes, share) for share in (0.5, 0.99))
    note = f"writes in {seconds} s beside {len(tally.reads)} pages, median {middle:,.0f} ms, p99 {late:,.0f} ms"
    return Outcome(len(tally.writes), problems, note)


@contextmanager
def _second_worker(site: chaos.Site) -> Iterator[None]:
    site.running["first worker"] = site.running.pop("worker")
    site.start("worker")
    yield


def _as_busy(site: chaos.Site) -> BusySite:
    port = int(site.settings["APP_BASE_URL"].rpartition(":")[2])
    return BusySite(current_app._get_current_object(), port, site.running["web"].pid, site.folder / "web.log")  # type: ignore[attr-defined]


def _keep_busy(busy: BusySite, site: chaos.Site, seconds: int, seed: int) -> Tally:
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": site.settings["STRIPE_API_BASE"]})
    chance = random.Random(seed)  # noqa: S311 - who buys what
    crowd = Crowd(client, chaos._pay, chance)
    crowd.join(PEOPLE)
    for _ in range(PEOPLE * 2):
        crowd.act()
    postman = Postman(client, lambda *_: None, WEBHOOK_SECRET, chance, types=frozenset(inbox.HANDLED))
    postman.collect()
    visitors = [busy_site.sign_in(busy, f"busy{number}", credits=1_000_000) for number in range(SPENDERS * BUYERS)]
    tally, over = Tally(), threading.Event()
    numbers = itertools.count(1)
    work: list[tuple[Callable[[http.client.HTTPConnection], Answer], list[Answer]]] = [
        *((_spending(visitors[first::SPENDERS], numbers), tally.writes) for first in range(SPENDERS)),
        *((_delivering(list(postman.bag), numbers, chance), tally.writes) for _ in range(POSTMEN)),
        *((_reading(visitor), tally.reads) for visitor in visitors[:READERS]),
    ]

    def go_on(send: Callable[[http.client.HTTPConnection], Answer], answers: list[Answer]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", busy.port, timeout=busy_site.ANSWER_SECONDS)
        while not over.is_set():
            answers.append(send(connection))
        connection.close()

    with ThreadPoolExecutor(len(work)) as pool:
        running = [pool.submit(go_on, *each) for each in work]
        over.wait(seconds)
        over.set()
        for each in running:
            each.result(busy_site.ANSWER_SECONDS)
    return tally


def _spending(visitors: list[Visitor], numbers: Iterator[int]) -> Callable[[http.client.HTTPConnection], Answer]:
    in_turn = itertools.cycle(visitors)

    def spend(connection: http.client.HTTPConnection) -> Answer:
        headers = {
            **next(in_turn).headers,
            "Content-Type": "application/json",
            "Idempotency-Key": f"busy-spend-{next(numbers)}",
        }
        return busy_site.send_on(connection, "POST", "/api/v1/cv", headers=headers, body=BODY)

    return spend


def _delivering(
    bodies: list[bytes], numbers: Iterator[int], chance: random.Random
) -> Callable[[http.client.HTTPConnection], Answer]:
    def deliver(connection: http.client.HTTPConnection) -> Answer:
        # Another event about the same object, so that the workers have something to fetch.
        event = {**json.loads(chance.choice(bodies)), "id": f"evt_busy{next(numbers)}", "created": int(time.time())}
        body = json.dumps(event)
        signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET)
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        return busy_site.send_on(connection, "POST", PATH, headers=headers, body=body.encode())

    return deliver


def _reading(visitor: Visitor) -> Callable[[http.client.HTTPConnection], Answer]:
    return lambda connection: busy_site.send_on(connection, "GET", "/dashboard", headers=visitor.headers)


def _locked(folder: Path) -> list[str]:
    return [
        f"{path.name}: {line[:400]}"
        for path in sorted(folder.glob("*.log"))
        for line in path.read_text().splitlines()
        if "database is locked" in line and path.stem != "stripe"
    ]


if __name__ == "__main__":
    sys.exit(main(measure))
