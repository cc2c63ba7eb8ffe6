"""What tests drive: Stripe's side of the world, and time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Flask

import clock as app_clock
from billing import sync
from extensions import db
from stripe_sandbox.testing import HTTPClient, Sandbox

WEBHOOK_PATH = "/webhooks/stripe"


def watched(client: HTTPClient) -> HTTPClient:
    """Return Stripe's HTTP client, made to fail whenever it is used inside a transaction."""
    ask = client.request

    def request(*args: Any, **options: Any) -> Any:
        is_open = db.session.registry.has() and db.session().in_transaction()
        assert not is_open, "a transaction is open while Stripe is asked: fetch first, then read or write"
        return ask(*args, **options)

    client.request = request  # type: ignore[method-assign]
    return client


class Clock:
    """Time for the app, and for the local Stripe when the test uses it."""

    def __init__(self) -> None:
        self.sandbox: Sandbox | None = None

    def advance(self, **parts: float) -> None:
        """Move both forward by `days=`, `hours=`, `minutes=`; what falls due at Stripe happens on the way."""
        step = timedelta(**parts)
        app_clock.travel(step)
        if self.sandbox is not None:
            self.sandbox.advance(step.total_seconds())


def empty(sandbox: Sandbox) -> None:
    """Let a local Stripe forget everything and have the app's time."""
    sandbox.reset()
    sandbox.clock.move_to(app_clock.now().timestamp())


class Stripe:
    """The local Stripe as a test sees it: people pay on its pages, and its webhooks reach the app signed."""

    def __init__(self, app: Flask, sandbox: Sandbox) -> None:
        self.app, self.sandbox = app, sandbox
        self.api = sandbox.client()
        self.statuses: list[int] = []
        self._expected: list[str] = []

    def pay(self, url: str, card: str = "4242424242424242", **fields: str) -> str:
        """Pay on the hosted Checkout page as a person does; return where it sends the browser."""
        return self.sandbox.pay(url, card, **fields)

    def deliver(self, *, order: str = "as_is", times: int = 1, seed: int = 0) -> list[int]:
        """Deliver every webhook that is due to the app's endpoint; return the answers."""
        before = len(self.statuses)
        while self.sandbox.deliver(self._post, order=order, times=times, seed=seed):
            pass
        return self.statuses[before:]

    def settle(self, *, order: str = "as_is", times: int = 2, seed: int = 0) -> None:
        """Deliver everything - twice, unless told otherwise - and let the worker bring the app in line."""
        assert set(self.deliver(order=order, times=times, seed=seed)) <= {200}
        with self.app.app_context():
            while sync.run_due():
                pass

    def discard_deliveries(self) -> None:
        """Let what is under way arrive nowhere, as if the endpoint had been unreachable for good."""
        while self.sandbox.deliver(lambda *_: 200):
            pass

    def inside(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something in the app's context."""
        with self.app.app_context():
            return work(*args, **kwargs)

    def sandbox_object(self, kind: str) -> dict[str, Any]:
        """Return the newest object of a kind, as the local Stripe holds it."""
        with self.sandbox.world() as world:
            return dict(next(world.select(kind)))

    def expect_violation(self, words: str) -> None:
        """Say that this test sends Stripe something that it refuses, on purpose."""
        self._expected.append(words)

    def unexpected_violations(self) -> list[str]:
        """Return every departure from Stripe's contract that the test did not announce."""
        return [v for v in self.sandbox.violations if not any(words in v for words in self._expected)]

    def _post(self, _url: str, headers: dict[str, str], body: bytes) -> int:
        answer = self.app.test_client().post(WEBHOOK_PATH, data=body, headers=headers)
        self.statuses.append(answer.status_code)
        return answer.status_code
