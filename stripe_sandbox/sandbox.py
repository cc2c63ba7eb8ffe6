"""The running sandbox: its store, clock, contract and deliveries, and the two ways in which its world changes.

A transaction is opened for an API request, a page or a due task; `advance` moves time and runs what falls due, in
order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stripe_sandbox import contract as contracts
from stripe_sandbox import deliveries, events, ids
from stripe_sandbox.clock import Clock
from stripe_sandbox.engine import tasks
from stripe_sandbox.faults import API_MODES, DELIVERY_MODES, DELIVERY_SECONDS, ApiFault, DeliveryFault, Faults
from stripe_sandbox.store import Document, Store
from stripe_sandbox.world import World


class Sandbox:
    """One local Stripe account with everything in it.

    `base_url` is where its pages are reached. With `strict`, every response and event is checked against the contract
    too, and departures are added to `violations`; refused requests always are.
    """

    def __init__(
        self,
        database: str = ":memory:",
        *,
        base_url: str = "http://127.0.0.1:12111",
        clock: Clock | None = None,
        strict: bool = False,
    ) -> None:
        self.store = Store(database)
        self.contract = contracts.load()
        self.clock = clock or Clock()
        self.base_url = base_url.rstrip("/")
        self.strict = strict
        self.faults = Faults()
        self.violations: list[str] = []
        self.keys_in_use: set[str] = set()
        self.keys_lock = threading.Lock()
        self.wake = threading.Event()
        self._time_lock = threading.RLock()
        self._webhooks: list[tuple[str, str]] = []
        self.clock.set_offset(float(self.store.setting("clock_offset", self.clock.offset)))
        self.faults.restore(self.store.setting("faults"))

    # Transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def world(self, *, now: float | None = None, request: dict[str, Any] | None = None) -> Iterator[World]:
        """Open a transaction on the sandbox's state; committed when the block ends, undone when it raises."""
        with self.store.transaction():
            yield World(self, now=self.clock.now() if now is None else now, request=request)
        self.wake.set()

    def record_event(self, world: World, type: str, snapshot: Document, previous: Document | None) -> Document:  # noqa: A002
        """Store an event and queue a delivery to each endpoint that wants it."""
        event = events.make(world, type, snapshot, previous)
        wanting = [endpoint for endpoint in world.select("webhook_endpoint") if events.wants(endpoint, type)]
        event["pending_webhooks"] = len(wanting)
        world.add(event)
        for endpoint in reversed(wanting):
            deliveries.queue(world, event, endpoint, self.faults.hits_delivery(type))
        if self.strict:
            self.note_violations(f"event {type}", self.contract.check_object(event))
            self.note_violations(f"event {type} object", self.contract.check_object(snapshot))
        return event

    def note_violations(self, where: str, problems: list[str]) -> None:
        self.violations.extend(f"{where}: {problem}" for problem in problems)

    # Time ---------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move time forward and run everything that falls due on the way, each thing at its own time."""
        self.advance_to(self.clock.now() + seconds)

    def advance_to(self, at: float) -> None:
        with self._time_lock:
            while (due := tasks.next_due(self.store, at)) is not None:
                if due["due_at"] > self.clock.now():
                    self.clock.move_to(due["due_at"])
                self._run(due)
            if at > self.clock.now():
                self.clock.move_to(at)
            self.store.set_setting("clock_offset", self.clock.offset)
        self.wake.set()

    def run_due(self) -> int:
        """Run what has fallen due by the clock as it stands; returns how many things that were."""
        count = 0
        with self._time_lock:
            while (due := tasks.next_due(self.store, self.clock.now())) is not None:
                self._run(due)
                count += 1
        return count

    def postpone_first(self, seconds: float) -> None:
        """Put off what is due first: it failed, and the rest must not wait for it."""
        due = tasks.next_due(self.store, self.clock.now())
        if due is not None:
            self.store.execute("UPDATE tasks SET due_at = ? WHERE seq = ?", self.clock.now() + seconds, due["seq"])

    def _run(self, due: Any) -> None:
        """Do what is due as of its own time, even when the process slept through it."""
        with self.world(now=due["due_at"]) as world:
            self.store.set_setting("clock_offset", self.clock.offset)
            tasks.run(world, due)

    # Webhook endpoints of the command line ------------------------------------------------------------------------

    def ensure_webhook(self, url: str, secret: str) -> None:
        """See to it that an endpoint with a URL and a given secret exists and hears of everything."""
        self._webhooks = [(known, kept) for known, kept in self._webhooks if known != url] + [(url, secret)]
        from stripe_sandbox.routes import webhook_endpoints

        with self.world() as world:
            for endpoint in world.select("webhook_endpoint"):
                if endpoint["url"] == url:
                    endpoint["_secrets"] = [{"secret": secret, "expires_at": None}]
                    world.save(endpoint)
                    return
            webhook_endpoints.make(world, {"url": url, "enabled_events": ["*"]}, secret=secret)

    def reset(self) -> None:
        """Forget everything but the endpoints that the command line asked for."""
        self.store.clear()
        self._start_from_store()
        for url, secret in list(self._webhooks):
            self.ensure_webhook(url, secret)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a world that `store.snapshot()` has returned: its objects, its events, its time and its faults."""
        self.store.restore(snapshot)
        self._start_from_store()

    def _start_from_store(self) -> None:
        self.violations.clear()
        self.keys_in_use.clear()
        self.faults.restore(self.store.setting("faults"))
        self.clock.unfreeze()
        self.clock.set_offset(float(self.store.setting("clock_offset", 0.0)))

    # Faults -------------------------------------------------------------------------------------------------------

    def break_api(
        self, mode: str, *, share: int = 100, times: int | None = None, seconds: float = 0.0, path: str = ""
    ) -> None:
        """Let API requests fail in a mode of `faults.API_MODES`: a share of a hundred of them, or the next `times`."""
        if mode not in API_MODES:
            raise ValueError(f"an API fault is one of {', '.join(API_MODES)}, not {mode!r}")
        self.faults.api.append(ApiFault(mode, share=share, remaining=times, seconds=seconds, path=path))
        self._save_faults()

    def break_deliveries(
        self,
        mode: str,
        *,
        share: int = 100,
        times: int | None = None,
        seconds: float = DELIVERY_SECONDS,
        types: list[str] | None = None,
    ) -> None:
        """Let webhooks fail in a mode of `faults.DELIVERY_MODES`: a share of a hundred of them, or the next `times`."""
        if mode not in DELIVERY_MODES:
            raise ValueError(f"a delivery fault is one of {', '.join(DELIVERY_MODES)}, not {mode!r}")
        self.faults.deliveries.append(DeliveryFault(mode, share, times, seconds, types or []))
        self._save_faults()

    def limit_requests(self, per_second: int) -> None:
        """Answer 429 to more than so many API requests per second; 0 lifts the limit."""
        self.faults.requests_per_second = per_second
        self._save_faults()

    def heal(self) -> None:
        """Switch all faults off."""
        self.faults.restore(None)
        self._save_faults()

    def _save_faults(self) -> None:
        self.store.set_setting("faults", self.faults.saved())

    def new_request_id(self) -> str:
        return ids.new("request")

    def close(self) -> None:
        self.store.close()
