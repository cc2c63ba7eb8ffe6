"""Webhook deliveries: signed as Stripe signs, retried with back-off until the endpoint says 2xx."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from stripe_sandbox import ids
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.faults import DeliveryFault
    from stripe_sandbox.sandbox import Sandbox
    from stripe_sandbox.world import World

log = logging.getLogger("stripe_sandbox")
Document = dict[str, Any]
Post = Callable[[str, dict[str, str], bytes], int]

# Seconds between attempts. Stripe backs off for up to three days; the first steps here are short, because on a laptop
# the endpoint that failed is being edited and will be back in a moment.
BACK_OFF = (1, 5, 20, 60, 300, 1800, 7200, 18000, 43200, 86400, 86400)
TIMEOUT_SECONDS = 20


def queue(world: World, event: Document, endpoint: Document, fault: DeliveryFault | None = None) -> None:
    """Queue the delivery of an event to an endpoint, due at once unless a fault strikes it."""
    at = world.sandbox.clock.now()
    mode = fault.mode if fault else None
    state, due_at, copies = "pending", at, 1
    if mode == "drop":
        state = "dropped"
    elif mode == "duplicate":
        copies = 2
    elif fault is not None:
        due_at += fault.seconds * (world.sandbox.faults.chance.random() if mode == "reorder" else 1)
    for _ in range(copies):
        world.store.execute(
            "INSERT INTO deliveries (id, event_id, endpoint_id, state, attempts, next_at, created) "
            "VALUES (?, ?, ?, ?, 0, ?, ?)",
            ids.new("delivery"),
            event["id"],
            endpoint["id"],
            state,
            due_at if state == "pending" else None,
            at,
        )


def resend(world: World, delivery_id: str) -> None:
    """Have a delivery sent again at once, whatever came of it before."""
    world.store.execute(
        "UPDATE deliveries SET state = 'pending', next_at = ? WHERE id = ?", world.sandbox.clock.now(), delivery_id
    )


def due(sandbox: Sandbox) -> list[Any]:
    """Return the deliveries whose time has come, oldest first."""
    return sandbox.store.rows(
        "SELECT * FROM deliveries WHERE state = 'pending' AND next_at <= ? ORDER BY next_at, seq", sandbox.clock.now()
    )


def attempt(sandbox: Sandbox, delivery_id: str, post: Post) -> int | None:
    """Send one delivery now and record what came of it; returns the status, or None when nothing answered."""
    with sandbox.world() as world:
        prepared = _prepare(world, delivery_id)
    if prepared is None:
        return None
    url, headers, body = prepared
    started = time.monotonic()
    status, error, response = None, None, None
    try:
        answer = post(url, headers, body)
        status, response = answer if isinstance(answer, tuple) else (answer, None)
    except OSError as problem:
        error = f"{type(problem).__name__}: {problem}"
    except http.client.HTTPException as problem:
        error = f"{type(problem).__name__}: {problem}"
    with sandbox.world() as world:
        world.store.execute(
            "INSERT INTO attempts (delivery_id, at, status, seconds, headers, body, response, error) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            delivery_id,
            sandbox.clock.now(),
            status,
            time.monotonic() - started,
            json.dumps(headers),
            body.decode(),
            response,
            error,
        )
        _settle(world, delivery_id, delivered=status is not None and 200 <= status < 300)
    return status


def _prepare(world: World, delivery_id: str) -> tuple[str, dict[str, str], bytes] | None:
    row = world.store.row("SELECT * FROM deliveries WHERE id = ?", delivery_id)
    event = None if row is None else world.find("event", row["event_id"])
    endpoint = None if row is None else world.find("webhook_endpoint", row["endpoint_id"])
    if event is None or endpoint is None or endpoint["status"] != "enabled":
        # The endpoint was deleted or disabled meanwhile: nobody is waiting for this any more.
        world.store.execute("UPDATE deliveries SET state = 'abandoned', next_at = NULL WHERE id = ?", delivery_id)
        return None
    shown = rendering.public(event)
    shown["pending_webhooks"] = pending_count(world, event["id"])
    body = json.dumps(shown).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Accept": "*/*; q=0.5, application/xml",
        "Cache-Control": "no-cache",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": sign(body, [kept["secret"] for kept in valid_secrets(world, endpoint)]),
    }
    return endpoint["url"], headers, body


def _settle(world: World, delivery_id: str, *, delivered: bool) -> None:
    row = world.store.row("SELECT attempts FROM deliveries WHERE id = ?", delivery_id)
    made = (row["attempts"] if row else 0) + 1
    if delivered:
        state, next_at = "delivered", None
    elif made > len(BACK_OFF):
        state, next_at = "failed", None
    else:
        state, next_at = "pending", world.sandbox.clock.now() + BACK_OFF[made - 1]
    world.store.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, next_at = ? WHERE id = ?", state, made, next_at, delivery_id
    )


def pending_count(world: World, event_id: str) -> int:
    row = world.store.row(
        "SELECT count(*) AS n FROM deliveries WHERE event_id = ? AND state NOT IN ('delivered', 'abandoned')", event_id
    )
    return int(row["n"]) if row else 0


def valid_secrets(world: World, endpoint: Document) -> list[dict[str, Any]]:
    """Return an endpoint's secrets that still sign: two of them while a rolled one has not expired."""
    now = world.sandbox.clock.now()
    return [kept for kept in endpoint["_secrets"] if kept["expires_at"] is None or kept["expires_at"] > now]


def sign(body: bytes, secrets: list[str], timestamp: int | None = None) -> str:
    """Return a `Stripe-Signature` header with one v1 signature per secret.

    The timestamp is wall time, not the sandbox's: the receiver compares it with its own clock.
    """
    timestamp = int(time.time()) if timestamp is None else timestamp
    signed = f"{timestamp}.".encode() + body
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={mark}" for mark in marks)])


def post_over_http(url: str, headers: dict[str, str], body: bytes) -> Any:
    """Post to a real endpoint; returns the status and the start of the answer. Redirects are failures."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        path = parts.path or "/"
        connection.request("POST", path + (f"?{parts.query}" if parts.query else ""), body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(20000).decode("utf-8", "replace")[:2000]
    finally:
        connection.close()


class Courier(threading.Thread):
    """The server's background thread: runs what falls due by the clock, and sends what is due to be sent."""

    def __init__(self, sandbox: Sandbox, *, workers: int = 4) -> None:
        super().__init__(name="stripe-sandbox-courier", daemon=True)
        self.sandbox = sandbox
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="stripe-sandbox-delivery")
        self._underway: set[str] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.sandbox.wake.wait(timeout=0.5)
            self.sandbox.wake.clear()
            try:
                self.sandbox.run_due()
            except Exception:
                log.exception("what was due first has failed; it will be tried again in a minute")
                self.sandbox.postpone_first(60)
            for row in due(self.sandbox):
                self._start(row["id"])

    def _start(self, delivery_id: str) -> None:
        with self._lock:
            if delivery_id in self._underway or self._stopping.is_set():
                return
            self._underway.add(delivery_id)
        self._pool.submit(self._deliver, delivery_id)

    def _deliver(self, delivery_id: str) -> None:
        try:
            attempt(self.sandbox, delivery_id, post_over_http)
        finally:
            with self._lock:
                self._underway.discard(delivery_id)

    def stop(self) -> None:
        self._stopping.set()
        self.sandbox.wake.set()
        if self.is_alive():
            self.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)
