"""How long the local Stripe takes over a day on which everybody renews.

`ours` is the time to renew subscriptions in one advance: notice, draft, finalise, charge, with every event stored and
queued for an endpoint. `bare` is the time SQLite takes to insert as many rows of the same size, in as many
transactions; the ratio says what the billing itself costs.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from stripe_sandbox.testing import Sandbox

DAY = 86400


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Renew 1,000 subscriptions (100 when `quick`) in a database file and measure it, in seconds."""
    count = 100 if quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(str(Path(folder) / "sandbox.sqlite"), strict=False)
        sandbox.clock.freeze()
        sandbox.add_webhook("http://127.0.0.1:9/hook", "whsec_bench")
        _subscribe(sandbox, count)
        before = _size(sandbox)
        started = time.perf_counter()
        sandbox.advance(days=32)
        ours = time.perf_counter() - started
        after = _size(sandbox)
        paid = len(sandbox.events("invoice.paid"))
        sandbox.close()
        if paid != 2 * count:
            raise RuntimeError(f"{paid} invoices were paid, not {2 * count}")
        rows, size = after[0] - before[0], after[1] - before[1]
        bare = _bare(Path(folder) / "bare.sqlite", rows, max(size // max(rows, 1), 1), transactions=count * 3)
    return [
        {
            "name": f"sandbox: {count:,} subscriptions renew in one advance",
            "ours": round(ours, 2),
            "bare": round(bare, 2),
            "ratio": round(ours / bare, 1) if bare else None,
            "unit": "s",
            "note": f"{ours / count * 1000:.1f} ms each; bare: {rows:,} rows of the same size in {count * 3:,} commits",
        }
    ]


def _subscribe(sandbox: Sandbox, count: int) -> None:
    client = sandbox.client()
    product = client.v1.products.create({"name": "Basic"}).id
    monthly = {"product": product, "currency": "usd", "unit_amount": 1500, "recurring": {"interval": "month"}}
    price = client.v1.prices.create(monthly).id  # type: ignore[arg-type]
    for number in range(count):
        customer = client.v1.customers.create({"email": f"{number}@example.com"}).id
        card = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
        client.v1.subscriptions.create(
            {"customer": customer, "items": [{"price": price}], "default_payment_method": card}
        )


def _size(sandbox: Sandbox) -> tuple[int, int]:
    row = sandbox.store.row("SELECT count(*) AS n, coalesce(sum(length(body)), 0) AS size FROM objects")
    return (int(row["n"]), int(row["size"])) if row else (0, 0)


def _bare(path: Path, rows: int, size: int, *, transactions: int) -> float:
    """Return the seconds that plain inserts of as much take."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE objects (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, body TEXT)")
    body, each = "x" * size, max(rows // transactions, 1)
    started = time.perf_counter()
    for first in range(0, rows, each):
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO objects (id, body) VALUES (?, ?)", [(str(n), body) for n in range(first, first + each)]
        )
        database.execute("COMMIT")
    seconds = time.perf_counter() - started
    database.close()
    return seconds
