"""Trouble on purpose: slow, failing or unreachable API, and webhooks that are lost, doubled, delayed or reordered."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

API_MODES = {
    "slow": "answers after some seconds",
    "429": "is refused: too many requests",
    "500": "fails before it does anything",
    "500_after": "fails after it was done: the work stays, and a retry under its key fails the same way",
    "unreachable": "is lost before it arrives",
    "unreachable_after": "is done, and its answer is lost",
}
DELIVERY_MODES = {
    "drop": "are lost and never retried",
    "duplicate": "are sent twice",
    "delay": "are sent some seconds late",
    "reorder": "are sent at any time within some seconds, so that they overtake one another",
}
DELIVERY_SECONDS = 10.0


@dataclass
class ApiFault:
    """What happens to API requests: a mode of `API_MODES`.

    `share` is how many requests of a hundred are hit, `remaining` how many more (None: no end), `path` what an address
    must start with.
    """

    mode: str
    share: int = 100
    remaining: int | None = None
    seconds: float = 0.0
    path: str = ""


@dataclass
class DeliveryFault:
    """What happens to webhooks: a mode of `DELIVERY_MODES`, for all events or those of some `types`."""

    mode: str
    share: int = 100
    remaining: int | None = None
    seconds: float = DELIVERY_SECONDS
    types: list[str] = field(default_factory=list)


class Faults:
    """The faults that are switched on, and the limit on requests per second (0: none); tests may seed `chance`."""

    def __init__(self) -> None:
        self.api: list[ApiFault] = []
        self.deliveries: list[DeliveryFault] = []
        self.requests_per_second = 0
        self.chance = random.Random()  # noqa: S311 - trouble, not secrets
        self._recent: deque[float] = deque()

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Set all faults from what `saved` returned; None switches everything off."""
        saved = saved or {}
        self.api = [ApiFault(**fault) for fault in saved.get("api", [])]
        self.deliveries = [DeliveryFault(**fault) for fault in saved.get("deliveries", [])]
        self.requests_per_second = int(saved.get("requests_per_second", 0))
        self._recent.clear()

    def saved(self) -> dict[str, Any]:
        """Return all faults as plain values."""
        return {
            "api": [asdict(fault) for fault in self.api],
            "deliveries": [asdict(fault) for fault in self.deliveries],
            "requests_per_second": self.requests_per_second,
        }

    def hits_request(self, path: str) -> ApiFault | None:
        """Return the fault that hits a request now, if one does."""
        return next((fault for fault in self.api if path.startswith(fault.path) and self._strikes(fault)), None)

    def hits_delivery(self, event_type: str) -> DeliveryFault | None:
        """Return the fault that hits a delivery now, if one does."""
        fitting = (fault for fault in self.deliveries if not fault.types or event_type in fault.types)
        return next((fault for fault in fitting if self._strikes(fault)), None)

    def _strikes(self, fault: ApiFault | DeliveryFault) -> bool:
        if fault.remaining == 0 or self.chance.random() * 100 >= fault.share:
            return False
        if fault.remaining is not None:
            fault.remaining -= 1
        return True

    def is_over_limit(self) -> bool:
        """Count a request, and tell whether it is one too many for this second."""
        if not self.requests_per_second:
            return False
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= self.requests_per_second:
            return True
        self._recent.append(now)
        return False
