"""Two tabs choose different plans while Stripe is being asked: one of them may be paid, never both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

import database
from billing import checkout, errors, gateway
from stripe_sandbox.testing import HTTPClient, Sandbox
from tests.persons import Person, sign_up
from tests.worlds import Stripe

BASE_URL = "http://127.0.0.1:5000"


class Meanwhile(HTTPClient):
    """Hands requests to the sandbox, and lets something happen while the first Checkout session is being made."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.happens: Callable[[], None] | None = None

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        answer = super().request(method, url, *args, **kwargs)
        if method == "post" and url.endswith("/checkout/sessions") and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return answer


@pytest.fixture
def line(app: Flask, stripe: Stripe) -> Iterator[Meanwhile]:
    """The app's line to Stripe."""
    usual = app.extensions["stripe"]
    line = Meanwhile(stripe.sandbox)
    app.extensions["stripe"] = gateway._client(app.config["TOLLGATE"], line, retries=0)
    yield line
    app.extensions["stripe"] = usual


def open_sessions(stripe: Stripe) -> list[str]:
    return [str(s.url) for s in stripe.api.v1.checkout.sessions.list({"limit": 100}).data if s.status == "open"]


def start(ann: Person, price_key: str) -> str:
    with ann.app.app_context():
        return checkout.start(ann.account_id, price_key, base_url=BASE_URL)


def test_a_tab_that_was_overtaken_is_asked_to_try_again(app: Flask, stripe: Stripe, line: Meanwhile) -> None:
    ann, second = sign_up(app), []
    line.happens = lambda: second.append(start(ann, "pro_monthly"))
    with pytest.raises(errors.CheckoutBusy):
        start(ann, "basic_monthly")
    assert open_sessions(stripe) == second


def test_a_session_that_opened_a_moment_ago_is_closed_and_not_forgotten(
    app: Flask, stripe: Stripe, line: Meanwhile
) -> None:
    ann, seen = sign_up(app), []

    def second_tab_looks() -> None:
        with app.app_context():
            seen.extend(database.write(checkout._blockers, ann.account_id, "pro_monthly"))

    line.happens = second_tab_looks
    first = start(ann, "basic_monthly")
    assert open_sessions(stripe) == [first]
    assert [intent.stripe_session_id for intent in seen] == [None]
    with app.app_context():
        checkout._expire(seen[0])
    assert open_sessions(stripe) == []
    assert start(ann, "pro_monthly") in open_sessions(stripe)
