"""R18: thousands of webhooks within a few seconds; each is answered with 200 and stored exactly once.

    python -m proofs.ingest_burst --deliveries 5000 --database sqlite

The deliveries are signed beforehand, a tenth of them are repetitions, and they are due at 1,000 a second over 64
connections; a server that is slower gets them as fast as it answers. Oracle: the tables. Every event is there once,
with as many deliveries as were sent, and its object has one dirty mark. Passes with 0 answers other than 200 and 0
events lost, doubled or unmarked; the note says the rate and the times.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from billing.models import StripeEvent, SyncTask
from extensions import db
from proofs import busy_site
from proofs.busy_site import Answer, BusySite
from proofs.registry import Outcome, main, proof
from proofs.throwaway import WEBHOOK_SECRET

CONNECTIONS = 64
PER_SECOND = 1_000
PATH = "/webhooks/stripe"

Delivery = tuple[str, bytes, dict[str, str]]


@proof(
    "R18",
    "webhooks of a burst refused, lost or doubled",
    passes="every one answered with 200 and stored once; rate and times are reported",
    quick={"deliveries": 1_000},
    whole={"deliveries": 5_000},
    alone=True,
)
def measure(engine: str, *, seed: int, deliveries: int) -> Outcome:
    """Send a burst, and look at the tables."""
    sent = _deliveries(deliveries, random.Random(seed))  # noqa: S311 - which ones are repeated
    with busy_site.open_site(engine) as site:
        _send_all(site, sent[:1])  # the first one makes gunicorn's connections and statements
        started = time.perf_counter()
        answers = _send_all(site, sent[1:])
        seconds = time.perf_counter() - started
        problems = _compare(sent) + site.trouble()
    refused = Counter(answer.status for answer in answers if answer.status != 200)
    problems += [f"{count} answered with {status}" for status, count in refused.items()]
    middle, late = (busy_site.percentile(answers, share) for share in (0.5, 0.99))
    rate = len(answers) / seconds
    return Outcome(len(sent), problems, f"deliveries, {rate:,.0f}/s, median {middle:,.0f} ms, p99 {late:,.0f} ms")


def _deliveries(count: int, chance: random.Random) -> list[Delivery]:
    events = [f"evt_burst{number}" for number in range(count - count // 10)]
    names = events + chance.sample(events, count // 10)
    chance.shuffle(names)
    return [(name, *_signed(name)) for name in names]


def _signed(name: str) -> tuple[bytes, dict[str, str]]:
    at = int(time.time())
    thing = {"id": f"in_{name}", "object": "invoice", "description": "x" * 3_000}
    event = {"id": name, "object": "event", "type": "invoice.paid", "livemode": False, "created": at}
    body = json.dumps({**event, "api_version": "2026-10-28.endive", "data": {"object": thing}}).encode()
    mac = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {"Stripe-Signature": f"t={at},v1={mac}", "Content-Type": "application/json"}


def _send_all(site: BusySite, sent: list[Delivery]) -> list[Answer]:
    started = time.perf_counter()

    def one_connection(first: int) -> list[Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=busy_site.ANSWER_SECONDS)
        answers = []
        for number in range(first, len(sent), CONNECTIONS):
            time.sleep(max(0.0, started + number / PER_SECOND - time.perf_counter()))
            _, body, headers = sent[number]
            answers.append(busy_site.send_on(connection, "POST", PATH, headers=headers, body=body))
        connection.close()
        return answers

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [answer for each in pool.map(one_connection, range(CONNECTIONS)) for answer in each]


def _compare(sent: list[Delivery]) -> list[str]:
    wanted = Counter(name for name, _, _ in sent)
    stored = {
        row.stripe_id: row.deliveries
        for row in db.session.execute(select(StripeEvent.stripe_id, StripeEvent.deliveries))
    }
    marks = {row.object_id: row.dirty for row in db.session.execute(select(SyncTask.object_id, SyncTask.dirty))}
    problems = [
        f"{name}: {stored.get(name, 0)} of {count} deliveries stored"
        for name, count in wanted.items()
        if stored.get(name) != count
    ]
    problems += [f"{name}: {marks.get(f'in_{name}', 0)} dirty marks" for name in wanted if marks.get(f"in_{name}") != 1]
    return problems + [f"{name} was never sent" for name in stored.keys() - wanted.keys()]


if __name__ == "__main__":
    sys.exit(main(measure))
