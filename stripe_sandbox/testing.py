"""The sandbox in-process: the official SDK without a socket, a clean world in milliseconds, a movable clock.

sandbox = Sandbox()
client = stripe.StripeClient("sk_test_sandbox", http_client=sandbox.http_client())
session = client.v1.checkout.sessions.create({...})
sandbox.pay(session.url)
sandbox.deliver(post)            # post(url, headers, body) -> status
sandbox.advance(days=30)
assert sandbox.violations == []
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any

import stripe
from flask.testing import FlaskClient
from requests.structures import CaseInsensitiveDict

from stripe_sandbox import api, deliveries, sandbox
from stripe_sandbox import app as application

__all__ = ["CheckoutRefused", "HTTPClient", "Sandbox"]

Post = Callable[[str, dict[str, str], bytes], Any]


class CheckoutRefused(Exception):
    """The hosted page did not let the payment through; the message is what it showed."""


class Sandbox(sandbox.Sandbox):
    """A sandbox for tests: in memory unless told otherwise, strict about the contract.

    `clock.freeze()` makes time stand still; `advance(days=3)` moves it and runs what falls due. `violations` lists
    every refused request and every departure of an answer or event from the contract since the last `reset()`.
    """

    def __init__(self, database: str = ":memory:", *, base_url: str = "http://stripe.test", **settings: Any) -> None:
        super().__init__(database, base_url=base_url, **{"strict": True, **settings})
        self.app = application.create_app(self)

    def http_client(self) -> HTTPClient:
        """Return an HTTP client for `stripe.StripeClient(..., http_client=...)`."""
        return HTTPClient(self)

    def client(self, **options: Any) -> stripe.StripeClient:
        """Return the official SDK's client, wired to this sandbox."""
        return stripe.StripeClient("sk_test_sandbox", http_client=self.http_client(), **options)

    def browser(self) -> FlaskClient:
        """Return a test client for the sandbox's pages."""
        return self.app.test_client()

    def add_webhook(self, url: str, secret: str) -> None:
        """Have every event delivered to a URL, signed with a secret; `reset()` keeps it."""
        self.ensure_webhook(url, secret)

    def advance(self, seconds: float = 0, **parts: float) -> None:
        """Move time forward by seconds, or by `days=`, `hours=`, `minutes=`, and run what falls due on the way."""
        super().advance(seconds + timedelta(**parts).total_seconds())

    # Webhooks -----------------------------------------------------------------------------------------------------

    def deliver(
        self, post: Post, *, order: str = "as_is", seed: int = 0, times: int = 1, limit: int | None = None
    ) -> list[tuple[str, int | None]]:
        """Deliver the webhooks that are due; returns `(event id, status)` of each.

        `order` is "as_is", "reversed" or "shuffled" (by `seed`); with `times` each is sent that often in a row.
        `limit` ends after so many deliveries.
        """
        sent: list[tuple[str, int | None]] = []
        rows = deliveries.due(self)
        if order == "reversed":
            rows = rows[::-1]
        elif order == "shuffled":
            random.Random(seed).shuffle(rows)  # noqa: S311 - an order, not a secret
        elif order != "as_is":
            raise ValueError(f"order must be as_is, reversed or shuffled, not {order!r}")
        for row in rows[:limit]:
            for _ in range(times):
                sent.append((row["event_id"], deliveries.attempt(self, row["id"], post)))
        return sent

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Return the events so far, oldest first, of some types or of all."""
        with self.world() as world:
            found = list(world.select("event", {"type": list(types)} if types else None, ascending=True))
            return [world.render(event) for event in found]

    # Pages --------------------------------------------------------------------------------------------------------

    def pay(
        self,
        session: str,
        card: str = "4242424242424242",
        *,
        email: str = "buyer@example.com",
        name: str = "Jenny Rosen",
        expiry: str | None = None,
        cvc: str = "123",
        promotion_code: str | None = None,
        challenge: str = "complete",
        **fields: str,
    ) -> str:
        """Complete a hosted checkout through its page's own form, as a person would; returns where it redirects to.

        `session` is a session's id or URL. A 3-D Secure page is answered with `challenge` ("complete" or "fail").
        Without an `expiry` the card is good for years from now, whatever year it is by then. Raises `CheckoutRefused`
        with the page's words when the card is declined or a field is wrong.
        """
        path = "/checkout/c/pay/" + session.rstrip("/").rsplit("/", 1)[-1]
        browser = self.browser()
        shown = browser.get(path)
        if shown.status_code != 200:
            raise CheckoutRefused(f"the checkout page answered {shown.status_code}")
        good_for_years = f"12 / {datetime.fromtimestamp(self.clock.now(), UTC).year + 8}"
        form = {
            "card_number": card,
            "card_expiry": good_for_years if expiry is None else expiry,
            "card_cvc": cvc,
            "billing_name": name,
            "email": email,
            "action": "pay",
            **fields,
        }
        if promotion_code:
            form["promotion_code"] = promotion_code
        answer = browser.post(path, data=form)
        if answer.status_code == 303 and answer.location.endswith("/challenge"):
            answer = browser.post(answer.location, data={"action": challenge})
        self.run_due()
        if answer.status_code != 303:
            raise CheckoutRefused(_shown_error(answer.get_data(as_text=True)))
        return str(answer.location)


def _shown_error(page: str) -> str:
    """Return what a page says in its alert, or else in its heading."""
    reader = _Reader()
    reader.feed(page)
    return " ".join("".join(reader.alert or reader.heading).split()) or "the page gave no reason"


class _Reader(HTMLParser):
    """Reads the text within the first element of role "alert", and within the first h1."""

    VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr", "path", "use", "circle", "rect", "line"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.alert: list[str] = []
        self.heading: list[str] = []
        self._open: list[str] = []  # For each element we are in: "alert", "heading" or "".

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        is_alert = ("role", "alert") in attributes and not self.alert
        self._open.append("alert" if is_alert else "heading" if tag == "h1" and not self.heading else "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Pass over what closes itself."""

    def handle_endtag(self, tag: str) -> None:
        if self._open and tag not in self.VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if "alert" in self._open:
            self.alert.append(data + " ")
        elif "heading" in self._open:
            self.heading.append(data + " ")


class HTTPClient(stripe.HTTPClient):
    """Hands the SDK's requests to the sandbox's WSGI application in this process."""

    name = "stripe_sandbox"

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._app, self._sandbox = sandbox.app, sandbox
        self._last = threading.local()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, *, _usage: Any = None
    ) -> tuple[str, int, Mapping[str, str]]:
        target = "/" + url.split("://", 1)[-1].partition("/")[2]
        body = post_data.encode() if isinstance(post_data, str) else post_data
        answer = self._app.test_client().open(
            target, method=method.upper(), headers=dict(headers or {}), data=body, base_url=self._sandbox.base_url
        )
        self._sandbox.run_due()  # What a request makes due at once happens at once, as in a running server.
        if answer.status_code == api.UNREACHABLE:
            raise stripe.APIConnectionError("Unexpected error communicating with Stripe.", should_retry=True)  # type: ignore[no-untyped-call]
        self._last.status = answer.status_code
        return answer.get_data(as_text=True), answer.status_code, CaseInsensitiveDict(answer.headers)

    def _sleep_time_seconds(self, num_retries: int) -> float:
        # What answers in this process has nothing to recover from, but another thread may be at the same object.
        is_busy = getattr(self._last, "status", 0) == HTTPStatus.CONFLICT
        return super()._sleep_time_seconds(num_retries) if is_busy else 0.0

    def close(self) -> None:
        """There is no connection to close."""
