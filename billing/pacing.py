"""Keep within Stripe's limits: so many requests a second to each endpoint, and none while Stripe asks us to slow down.

Stripe allows 25 requests a second to one endpoint (https://docs.stripe.com/rate-limits). Each process counts its own:
with several, STRIPE_REQUESTS_PER_SECOND is each one's share. Nothing here knows of Stripe's SDK.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from billing import errors

T = TypeVar("T")

SECOND = 1.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
MOST_TRIES = 10
# Ids have digits or capitals, the names of collections and actions have neither.
ID = re.compile(r".*[0-9A-Z]")


def endpoint_of(method: str, url: str) -> str:
    """Return what Stripe counts together: the method and the path without ids."""
    words = urlsplit(url).path.split("/")[2:]
    return f"{method.upper()} /{'/'.join(word for word in words if not ID.match(word))}"


@dataclass
class _Line:
    """One endpoint: when it was asked of late, and how it bears up."""

    recent: deque[float] = field(default_factory=deque)
    paused_until: float = 0.0
    refusals: int = 0


class Pace:
    """When the next request to an endpoint may leave; threads share it. `per_second` 0 lets every request pass."""

    def __init__(
        self,
        per_second: int,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_second = per_second
        self._now, self._sleep = now, sleep
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()

    def take_turn(self, endpoint: str, *, patience: float) -> float:
        """Wait until a request may leave, but no longer than `patience` seconds.

        Return 0 when it may leave now, and it is counted; else the seconds still to wait, and it must not leave.
        """
        give_up_at = self._now() + patience
        while wait := self._reserve(endpoint):
            if self._now() + wait > give_up_at:
                return wait
            self._sleep(wait)
        return 0.0

    def patiently(self, work: Callable[[], T]) -> T:
        """Do what nobody waits for, and is safe to repeat; while Stripe is to be left alone, wait and do it again.

        Raises StripeBusy when that was of no use for long.
        """
        for _ in range(MOST_TRIES - 1):
            try:
                return work()
            except errors.StripeBusy as busy:
                self._sleep(busy.retry_after or FIRST_PAUSE)
        return work()

    def slow_down(self, endpoint: str, seconds: float | None = None) -> float:
        """Let no request leave for the seconds that Stripe names, or ever longer with each refusal; return them."""
        with self._lock:
            line = self._lines.setdefault(endpoint, _Line())
            line.refusals += 1
            grown = min(FIRST_PAUSE * 2 ** (line.refusals - 1), LONGEST_PAUSE)
            grown *= 1 - 0.2 * random.random()  # noqa: S311 - so that processes do not come back together
            pause = grown if seconds is None else min(seconds, LONGEST_PAUSE)
            line.paused_until = max(line.paused_until, self._now() + pause)
            return pause

    def went_through(self, endpoint: str) -> None:
        """Forget the refusals of an endpoint that answers again."""
        with self._lock:
            self._lines.setdefault(endpoint, _Line()).refusals = 0

    def _reserve(self, endpoint: str) -> float:
        """Count a request and return 0, or return the seconds until there is room for one."""
        with self._lock:
            line, now = self._lines.setdefault(endpoint, _Line()), self._now()
            if now < line.paused_until:
                return line.paused_until - now
            if not self.per_second:
                return 0.0
            while line.recent and line.recent[0] <= now - SECOND:
                line.recent.popleft()
            if len(line.recent) >= self.per_second:
                return line.recent[0] + SECOND - now
            line.recent.append(now)
            return 0.0
