"""R3, convergence of many: thousands of subscriptions change while webhooks overtake one another and answers grow old.

    python -m proofs.many_subscriptions --subscriptions 2000 --database sqlite

Each subscription changes two to five times within a quarter of an hour. Each event arrives after about two seconds,
three of ten twice, in any order. Four workers bring the objects in line; a call to Stripe takes a tenth of a second,
two of a hundred take one to twenty seconds longer, and its answer is of any moment in between. No more than twenty
calls leave in a second. Time is simulated: one thread runs at a time, and a seed tells the same story again.

Stripe is one real subscription of the local Stripe, copied as often as needed, whose `cancel_at` moves with every
change. Oracle: at rest each row here has the last one, and each change was seen here - itself or a later one - so and
so long after it happened. Passes with 0 stale rows and 99 of 100 changes within a minute.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import stripe
from sqlalchemy import select, update
from sqlalchemy.orm import Session

import clock
import database
from accounts.models import Account
from billing import inbox, pacing, sync, sync_queue
from billing.models import Subscription
from extensions import db
from proofs import errands
from proofs.errands import Errand
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop

WORKERS = 4
PER_SECOND = 20
BAR_SECONDS = 60.0
SECONDS_PER_SUBSCRIPTION = 0.45
CALL_SECONDS = 0.1
SLOW_PERCENT = 2
DELIVERY_SECONDS = 2.0
TWICE_PERCENT = 30
IDLE_SECONDS = 0.25
FIRST_END = 2_000_000_000
EXPANDED = "latest_invoice", "default_payment_method", "schedule", "customer.invoice_settings.default_payment_method"


@dataclass
class Simulation:
    """What happens when: the next thing is done at its time, and workers wait in that time, too."""

    now: float
    queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Have something done at a time."""
        heapq.heappush(self.queue, (seconds, next(self._numbers), do))

    def sleep(self, seconds: float) -> None:
        """Called by a worker: let so much time pass."""
        errand: Errand = errands._here.errand
        self.at(self.now + seconds, errand.proceed)
        errand.wait_here()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Do what is due, in its order, until all is over."""
        while self.queue and not is_over():
            self.now, _, do = heapq.heappop(self.queue)
            do()


class ManySubscriptions(stripe.HTTPClient):
    """Stripe, as far as a worker asks for subscriptions; everything else is handed to the local Stripe."""

    name = "many_subscriptions"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self.inner = inner
        self.simulation: Simulation | None = None
        self.chance = random.Random(0)  # noqa: S311 - delays, not secrets
        self.template = ""
        self.versions: dict[str, int] = {}
        self.fetched: tuple[str, int] = ("", 0)
        self.calls = self.slow = 0

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: Any = None) -> Any:
        stripe_id = url.partition("/v1/subscriptions/")[2].partition("?")[0]
        if stripe_id not in self.versions or self.simulation is None:
            return self.inner.request(method, url, headers, post_data, _usage=_usage)
        self.calls += 1
        is_slow = self.chance.random() * 100 < SLOW_PERCENT
        self.slow += is_slow
        seconds = CALL_SECONDS + (self.chance.uniform(1, 20) if is_slow else 0)
        before = seconds * self.chance.random()
        self.simulation.sleep(before)
        version = self.versions[stripe_id]
        body = self.template.replace("SUBSCRIPTION", stripe_id).replace('"END"', str(FIRST_END + version))
        body = body.replace("CUSTOMER", customer_of(stripe_id))
        self.simulation.sleep(seconds - before)
        errands._here.fetched = (stripe_id, version)
        return body, 200, {"Request-Id": "req_1"}

    def close(self) -> None:
        self.inner.close()  # type: ignore[no-untyped-call]


@dataclass
class Story:
    """The changes, and how long each took to be seen here."""

    shop: Shop
    them: ManySubscriptions
    simulation: Simulation
    chance: random.Random
    lags: list[float] = field(default_factory=list)
    deliveries: int = 0
    to_come: int = 0
    unseen: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    _events: Any = field(default_factory=itertools.count)

    def change(self, stripe_id: str) -> None:
        """Let a subscription change, and its event set out."""
        self.them.versions[stripe_id] += 1
        self.unseen.setdefault(stripe_id, []).append((self.them.versions[stripe_id], self.simulation.now))
        event = {
            "id": f"evt_{next(self._events)}",
            "object": "event",
            "type": "customer.subscription.updated",
            "api_version": stripe.api_version,
            "created": int(self.simulation.now),
            "livemode": False,
            "data": {"object": {"id": stripe_id, "object": "subscription"}},
        }
        self.to_come -= 1
        for _ in range(2 if self.chance.random() * 100 < TWICE_PERCENT else 1):
            self.to_come += 1
            delay = self.chance.expovariate(1 / DELIVERY_SECONDS)
            self.simulation.at(self.simulation.now + delay, lambda: self.deliver(event))

    def deliver(self, event: dict[str, Any]) -> None:
        """Let one delivery arrive."""
        self.to_come -= 1
        self.deliveries += 1
        database.write(inbox.receive, event, source="webhook", livemode=False)

    def work(self) -> None:
        """Be a worker until nothing is left to come."""
        while not self.is_over():
            errands._here.fetched = ("", 0)
            if not sync.run_due():
                self.simulation.sleep(IDLE_SECONDS)
                continue
            stripe_id, version = errands._here.fetched
            seen = [at for known, at in self.unseen.get(stripe_id, []) if known <= version]
            self.lags += [self.simulation.now - at for at in seen]
            self.unseen[stripe_id] = [each for each in self.unseen.get(stripe_id, []) if each[0] > version]

    def is_over(self) -> bool:
        return self.to_come == 0 and database.write(sync_queue.waiting) == 0


def customer_of(stripe_id: str) -> str:
    """Return the customer of one of the copies."""
    return stripe_id.replace("sub_", "cus_")


@proof(
    "R3",
    "stale or late among many subscriptions",
    passes="0 stale at rest, 99 % of changes seen within 60 s",
    quick={"subscriptions": 30},
    whole={"subscriptions": {"sqlite": 2_000, "postgresql": 400}},
    is_long=True,
)
def measure(engine: str, *, seed: int, subscriptions: int) -> Outcome:
    """Let so many subscriptions change, and compare at rest."""
    kept: list[ManySubscriptions] = []

    def between(line: Any) -> stripe.HTTPClient:
        kept.append(ManySubscriptions(line))
        return kept[0]

    with open_shop(engine, seed, between=between) as shop:
        story = _prepared(shop, kept[0], subscriptions, seed)
        original, clock.now = clock.now, lambda: datetime.fromtimestamp(story.simulation.now, UTC)
        try:
            workers = [Errand(shop.place.app, story.work) for _ in range(WORKERS)]
            for worker in workers:
                story.simulation.at(story.simulation.now, worker.proceed)
            story.simulation.run(lambda: all(worker.is_done for worker in workers))
        finally:
            clock.now = original
            for worker in workers:
                worker.kill()
        problems = [f"a worker broke off: {worker.error}" for worker in workers if worker.error]
        return _judged(story, subscriptions, problems)


def _prepared(shop: Shop, them: ManySubscriptions, count: int, seed: int) -> Story:
    """Make the copies, their owners, and the hours of their changes."""
    shop.crowd.join(count)
    shop.crowd.subscribe(shop.crowd.accounts[0])
    (real,) = shop.client.v1.subscriptions.list({"limit": 1}).data
    raw = shop.client.raw_request("get", f"/v1/subscriptions/{real.id}", expand=list(EXPANDED)).body
    whole = json.loads(raw)
    text = json.dumps({**whole, "cancel_at": "END"})
    them.template = text.replace(real.id, "SUBSCRIPTION").replace(whole["customer"]["id"], "CUSTOMER")
    ids = [f"sub_many{number:06}" for number in range(count)]
    database.write(_own, dict(zip(shop.crowd.accounts, ids, strict=True)))
    simulation = Simulation(shop.sandbox.clock.now())
    chance = random.Random(seed)  # noqa: S311 - a history, not a secret
    story = Story(shop, them, simulation, chance)
    them.simulation, them.chance = simulation, random.Random(seed)  # noqa: S311
    pace = pacing.Pace(PER_SECOND, now=lambda: simulation.now, sleep=simulation.sleep)
    shop.place.app.extensions["stripe.pace"] = pace
    horizon = max(60.0, count * SECONDS_PER_SUBSCRIPTION)
    for stripe_id in ids:
        them.versions[stripe_id] = 0
        for _ in range(chance.randint(2, 5)):
            story.to_come += 1
            simulation.at(
                simulation.now + chance.uniform(0, horizon), lambda stripe_id=stripe_id: story.change(stripe_id)
            )  # type: ignore[misc]
    return story


def _own(session: Session, ids: dict[int, str]) -> None:
    for account_id, stripe_id in ids.items():
        owner = update(Account).where(Account.id == account_id)
        session.execute(owner.values(stripe_customer_id=customer_of(stripe_id)))


def _judged(story: Story, count: int, problems: list[str]) -> Outcome:
    with Session(db.engine) as session:
        ends = dict(session.execute(select(Subscription.stripe_id, Subscription.cancels_at)).all())
    for stripe_id, version in story.them.versions.items():
        found = ends.get(stripe_id)
        if found is None or int(found.timestamp()) != FIRST_END + version:
            problems.append(f"{stripe_id} is stale: {found} instead of change {version}")
    if any(story.unseen.values()):
        problems.append(f"{sum(map(len, story.unseen.values()))} changes were never seen")
    lags = sorted(story.lags)
    p99 = lags[int(len(lags) * 0.99)] if lags else 0.0
    if p99 > BAR_SECONDS:
        problems.append(f"one change of a hundred was seen only after {p99:.0f} s")
    note = (
        f"subscriptions, {len(lags):,} changes, {story.deliveries:,} deliveries, {story.them.calls:,} calls, "
        f"{story.them.slow} of them slow; seen after {lags[len(lags) // 2]:.1f} s in the middle, p99 {p99:.1f} s, at "
        f"most {lags[-1]:.0f} s"
    )
    return Outcome(count, problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
