"""A clean sandbox for each test, with the official SDK's client; no test may leave a contract violation behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A world without anything in it, whose time stands still until the test moves it."""
    shared_sandbox.reset()
    shared_sandbox.clock.freeze()
    yield shared_sandbox
    assert shared_sandbox.violations == []


@pytest.fixture
def client(sandbox: Sandbox) -> stripe.StripeClient:
    return sandbox.client()


@pytest.fixture
def goods(client: stripe.StripeClient) -> shop.Goods:
    """A shop with a pack for $5.00 and a plan for $15.00 a month, and a customer."""
    return shop.open_shop(client)


@pytest.fixture
def refusing(sandbox: Sandbox) -> Iterator[None]:
    """For tests that send what Stripe refuses: the violations they cause on purpose are forgotten."""
    yield
    sandbox.violations.clear()
