"""Webhooks a second: ours against a bare Flask view that verifies the same signature and inserts one row."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import stripe

from bench import load, servers


def run(*, quick: bool) -> list[dict[str, Any]]:
    """Measure each database that is there; both sides run under the same gunicorn in the same run."""
    with servers.databases() as databases:
        return [_measure(name, url, quick=quick) for name, url in databases.items()]


def _measure(name: str, url: str, *, quick: bool) -> dict[str, Any]:
    servers.migrated_app(url)
    environment = servers.settings(url)
    seconds, rounds = (1.0, 4) if quick else (1.5, 16)
    with (
        servers.gunicorn("app:create_app()", environment) as our_server,
        servers.gunicorn("bench.bare:ingest()", environment) as bare_server,
    ):
        ours, bare = load.interleaved(
            rounds,
            lambda: load.measure(our_server, events(), seconds=seconds),
            lambda: load.measure(bare_server, events(), seconds=seconds),
        )
    note = "signed, stored, marked dirty, committed; bare: verify and insert one row"
    return load.row(f"webhook ingest, {name}", ours, bare, unit="events/s", note=note)


def events() -> Iterator[bytes]:
    """Yield signed deliveries, each of an event and an object of its own."""
    batch = servers.key()
    number = 0
    while True:
        number += 1
        yield _delivery(f"{batch}{number}")


def _delivery(name: str) -> bytes:
    event = {
        "id": f"evt_{name}",
        "object": "event",
        "type": "invoice.paid",
        "api_version": stripe.api_version,
        "livemode": False,
        "created": int(time.time()),
        "data": {"object": {"id": f"in_{name}", "object": "invoice", "lines": {"data": [LINE] * 4}}},
    }
    body = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, servers.WEBHOOK_SECRET)
    headers = {"Stripe-Signature": signature, "Content-Type": "application/json; charset=utf-8"}
    return load.request("POST", "/webhooks/stripe", body.encode(), headers)


# Makes the payload about as large as Stripe's own for an invoice, 3 to 4 kB.
LINE = {"id": "il_" + "0" * 24, "object": "line_item", "description": "x" * 600, "amount": 3000, "currency": "usd"}
