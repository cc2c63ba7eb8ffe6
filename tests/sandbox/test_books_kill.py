"""A server that is killed in the middle of renewals carries on where it was: nobody pays twice, or not at all."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import stripe

from stripe_sandbox import remote
from stripe_sandbox.clock import Clock
from stripe_sandbox.testing import Sandbox
from tests.sandbox import books
from tests.sandbox.test_server import Server

SUBSCRIBERS = 40
DAY = 86400


@pytest.fixture
def server(tmp_path: Path):
    stripe.enable_telemetry = False
    running = Server(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def subscribe_everybody(server: Server) -> list[str]:
    client = server.client().v1
    product = client.products.create({"name": "Basic"}).id
    monthly = {"product": product, "currency": "usd", "unit_amount": 1500, "recurring": {"interval": "month"}}
    price = client.prices.create(monthly).id

    def one(number: int) -> str:
        card = "pm_card_visa" if number % 4 else "pm_card_chargeCustomerFail"
        customer = client.customers.create({"name": str(number)}).id
        good = client.payment_methods.attach("pm_card_visa", {"customer": customer}).id
        made = client.subscriptions.create(
            {"customer": customer, "items": [{"price": price}], "default_payment_method": good}
        )
        later = client.payment_methods.attach(card, {"customer": customer}).id
        return str(client.subscriptions.update(made.id, {"default_payment_method": later}).id)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(one, range(SUBSCRIBERS)))


def test_renewals_that_a_kill_interrupts_are_finished_once(server: Server):
    acknowledged = subscribe_everybody(server)
    target = time.time() + 50 * DAY  # One renewal, and for a failing card its four attempts.
    interrupted = 0
    for wait in (0.1, 0.2, 0.3, 0.4):
        moving = threading.Thread(target=advance_to, args=(server, target), daemon=True)
        moving.start()
        moving.join(wait)
        interrupted += moving.is_alive()
        server.stop(signal.SIGKILL)
        moving.join(10)
        server.start()
    assert interrupted, "every advance was over before the kill: kill sooner"
    advance_to(server, target)
    server.stop()

    sandbox = Sandbox(str(server.folder / "s.sqlite3"), clock=Clock())
    try:
        books.check(sandbox)
        with sandbox.world() as world:
            assert {one["id"] for one in world.select("subscription")} == set(acknowledged)
            for number, subscription_id in enumerate(acknowledged):
                fails = number % 4 == 0
                subscription = world.get("subscription", subscription_id)
                invoices = list(world.select("invoice", {"subscription": subscription_id}, ascending=True))
                assert [one["billing_reason"] for one in invoices] == ["subscription_create", "subscription_cycle"]
                assert [one["status"] for one in invoices] == ["paid", "open" if fails else "paid"]
                assert [one["attempt_count"] for one in invoices] == [1, 4 if fails else 1]
                assert subscription["status"] == ("canceled" if fails else "active")
            paid = SUBSCRIBERS + SUBSCRIBERS * 3 // 4
            assert sum(1 for _ in world.select("event", {"type": "invoice.paid"})) == paid
    finally:
        sandbox.close()


def advance_to(server: Server, target: float) -> None:
    """Advance the server's clock to a time, from wherever it stands; a dying server is no error."""
    steering = remote.Remote(server.url)
    with suppress(remote.Unreachable, http.client.HTTPException, OSError, ValueError):
        now = steering.call("advance", seconds=0)["now"]
        steering.call("advance", seconds=max(target - now, 0))
