"""Trouble on purpose: slow, failing or unreachable API, and webhooks that are lost, doubled, delayed or reordered."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ApiFault:
    """What happens to API requests: `mode` is "slow", "429", "500", "500_after" or "unreachable".

    "500" fails before the request does anything, "500_after" when it has been done and recorded, "unreachable" drops
    the connection without an answer. `share` is how many requests of a hundred are hit; `remaining` how many more
    (None: no end).
    """

    mode: str
    share: int = 100
    remaining: int | None = None
    seconds: float = 0.0
    path: str = ""


@dataclass
class DeliveryFault:
    """What happens to webhooks: `mode` is "drop", "duplicate", "delay" or "reorder", for all events or some `types`."""

    mode: str
    share: int = 100
    remaining: int | None = None
    seconds: float = 0.0
    types: list[str] = field(default_factory=list)


class Faults:
    """The faults that are switched on, and the limit on requests per second (0: none)."""

    def __init__(self) -> None:
        self.api: list[ApiFault] = []
        self.deliveries: list[DeliveryFault] = []
        self.requests_per_second = 0

    def restore(self, saved: dict[str, Any] | None) -> None:
        saved = saved or {}
        self.api = [ApiFault(**fault) for fault in saved.get("api", [])]
        self.deliveries = [DeliveryFault(**fault) for fault in saved.get("deliveries", [])]
        self.requests_per_second = int(saved.get("requests_per_second", 0))

    def saved(self) -> dict[str, Any]:
        return {
            "api": [asdict(fault) for fault in self.api],
            "deliveries": [asdict(fault) for fault in self.deliveries],
            "requests_per_second": self.requests_per_second,
        }
