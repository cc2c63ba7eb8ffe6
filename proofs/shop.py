"""The whole shop in one process, with time standing still until it is moved: app, local Stripe, crowd and postman."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import stripe
import structlog
from sqlalchemy.orm import Session

import clock
import database
from billing import inbox, pacing, stripe_catalog, sync_queue
from extensions import db, limiter
from proofs import stripe_oracle
from proofs.customers import Crowd, Declined
from proofs.errands import SlowLine
from proofs.postman import Postman
from proofs.throwaway import WEBHOOK_SECRET, Laboratory, laboratory
from stripe_sandbox.testing import CheckoutRefused, Sandbox

ENDPOINT = "/webhooks/stripe"
START = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()


@dataclass
class Shop:
    """An app that sells, its people, and how its webhooks travel; `client` is Stripe as the world outside sees it."""

    place: Laboratory
    sandbox: Sandbox
    line: SlowLine
    client: stripe.StripeClient
    crowd: Crowd
    postman: Postman

    def advance(self, seconds: float) -> None:
        """Move time forward, for the app and for Stripe."""
        self.sandbox.advance(seconds)

    def is_at_rest(self) -> bool:
        """Tell whether no object is known to be out of line with Stripe."""
        return database.write(sync_queue.waiting) == 0

    def judge(self, *, only: Collection[int] | None = None) -> stripe_oracle.Verdict:
        """Compare everything with Stripe, or some accounts by their ids."""
        with Session(db.engine) as session:
            return stripe_oracle.judge(session, self.client, only=only)

    def reopen(self, seed: int) -> None:
        """Begin again with empty books and another seed."""
        self.place.empty()
        self.sandbox.reset()
        self.sandbox.clock.freeze(START)
        limiter.reset()
        self.place.app.extensions["stripe.prices"].clear()
        self.place.app.extensions.pop("stripe.meters", None)
        self.set_pace(0)
        chance = random.Random(seed)  # noqa: S311 - a history, not a secret
        random.seed(seed)  # the queue's jitter
        self.sandbox.faults.chance = random.Random(seed)  # noqa: S311
        self.line.chance, self.line.slow_percent = chance, 0
        stripe_catalog.push()
        self.crowd = Crowd(self.client, self._pay, chance)
        self.postman = Postman(self.client, self._post, WEBHOOK_SECRET, chance, types=frozenset(inbox.HANDLED))
        self.postman.collect()
        self.postman.bag.clear()

    def set_pace(self, per_second: int) -> None:
        """Let the app send so many requests a second to each endpoint of Stripe, in the time of this shop."""
        pace = pacing.Pace(per_second, now=self.sandbox.clock.now, sleep=self.advance)
        self.place.app.extensions["stripe.pace"] = pace

    def _pay(self, url: str, card: str) -> None:
        try:
            self.sandbox.pay(url, card)
        except CheckoutRefused as refusal:
            raise Declined from refusal

    def _post(self, headers: dict[str, str], body: bytes) -> int | None:
        browser = self.place.app.test_client()
        base_url = self.place.app.config["TOLLGATE"].app_base_url
        return browser.post(ENDPOINT, data=body, headers=headers, base_url=base_url).status_code


@contextmanager
def open_shop(
    engine: str,
    seed: int = 1,
    *,
    settings: Mapping[str, str] | None = None,
    between: Callable[[SlowLine], stripe.HTTPClient] = lambda line: line,
) -> Iterator[Shop]:
    """Make a shop on a throw-away database; the app's context is pushed.

    `settings` are added to the app's, and `between` may put something between the app and its line to Stripe.
    """
    sandbox = Sandbox(strict=False)
    line = SlowLine(sandbox.http_client())
    with laboratory(engine, settings, stripe_http_client=between(line)) as place, quiet(), _one_time(sandbox):
        client = sandbox.client()
        nobody = Crowd(client, lambda *_: None, random.Random(seed))  # noqa: S311
        shop = Shop(place, sandbox, line, client, nobody, Postman(client, lambda *_: None, "", nobody.chance))
        shop.reopen(seed)
        yield shop


@contextmanager
def _one_time(sandbox: Sandbox) -> Iterator[None]:
    """Let the app live in the sandbox's time."""
    # Not `clock.now` itself: the columns of tables keep hold of that for their defaults.
    original, clock.time = clock.time, SimpleNamespace(time=sandbox.clock.now)  # type: ignore[assignment]
    try:
        yield
    finally:
        clock.time = original


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log of what is broken on purpose out of the table."""
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**configured)
