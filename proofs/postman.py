"""Carries Stripe's events to the app as badly as a network can: twice, shuffled, under another id - but at last.

It reads the events from Stripe's own list and signs them like Stripe, so that whole processes and in-process apps are
fed the same way; an event that was not answered with 200 is delivered again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import stripe

from stripe_sandbox import deliveries

DUPLICATED_PERCENT = 30
TWIN_PERCENT = 3

Post = Callable[[dict[str, str], bytes], int | None]


@dataclass
class Postman:
    """The bag of events under way; `post(headers, body)` returns the app's status, or None when nobody answered."""

    client: stripe.StripeClient
    post: Post
    secret: str
    chance: random.Random
    bag: list[bytes] = field(default_factory=list)
    delivered: int = 0
    refused: int = 0
    events: int = 0
    twins: int = 0
    # Which types the endpoint has subscribed to; all when empty.
    types: frozenset[str] = frozenset()
    _last: str | None = None

    def collect(self) -> int:
        """Put the events that are new at Stripe into the bag - nearly a third of them twice; return how many."""
        new = []
        params: dict[str, Any] = {"limit": 100}
        if self._last:
            params["ending_before"] = self._last
        while True:
            # The raw answer: to make the SDK's objects of every event would cost more than all the rest.
            page = json.loads(self.client.raw_request("get", "/v1/events", **params).body)["data"]
            if not page:
                break
            new += page if self._last is None else page[::-1]
            if self._last is None:
                params["starting_after"] = page[-1]["id"]
            else:
                params["ending_before"] = page[0]["id"]
        if new:
            self._last = new[0]["id"] if self._last is None else new[-1]["id"]
        self.events += len(new)
        for event in new:
            if self.types and event["type"] not in self.types:
                continue
            self.bag += [json.dumps(event).encode()] * (2 if self.chance.random() * 100 < DUPLICATED_PERCENT else 1)
            if self.chance.random() * 100 < TWIN_PERCENT:
                # Stripe may make two Event objects for one change: https://docs.stripe.com/webhooks#handle-duplicate-events
                self.twins += 1
                self.bag.append(json.dumps({**event, "id": f"{event['id']}twin"}).encode())
        return len(new)

    def take(self) -> bytes:
        """Take any of the deliveries out of the bag."""
        where = self.chance.randrange(len(self.bag))
        self.bag[where], self.bag[-1] = self.bag[-1], self.bag[where]
        return self.bag.pop()

    def deliver(self, body: bytes) -> bool:
        """Deliver once; what is not answered with 200 goes back into the bag."""
        headers = {"Content-Type": "application/json", "Stripe-Signature": deliveries.sign(body, [self.secret])}
        if self.post(headers, body) == 200:
            self.delivered += 1
            return True
        self.refused += 1
        self.bag.append(body)
        return False

    def deliver_some(self, at_most: int) -> None:
        """Deliver any so many."""
        for _ in range(min(at_most, len(self.bag))):
            self.deliver(self.take())
