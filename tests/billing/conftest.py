"""What the stories of billing share: an app that sells a preset with trials, years and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from flask import Flask

from app import create_app
from billing import stripe_catalog
from extensions import db
from stripe_sandbox.testing import Sandbox
from tests.conftest import WEBHOOK_SECRET
from tests.worlds import Clock, Stripe


@pytest.fixture
def shop(app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    """An app that sells the preset `projects`."""
    yield from selling("projects", app, sandbox, clock)


def selling(preset: str, app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    """Yield the local Stripe of an app that sells a preset."""
    config = dataclasses.replace(app.config["TOLLGATE"], catalog=preset)
    seller = create_app(config, stripe_http_client=sandbox.http_client())
    seller.testing = True
    sandbox.reset()
    sandbox.clock.set_offset(0)
    sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
    with seller.app_context():
        stripe_catalog.push()
    stripe = Stripe(seller, sandbox)
    stripe.discard_deliveries()
    clock.sandbox = sandbox
    yield stripe
    assert stripe.unexpected_violations() == []
    with seller.app_context():
        db.engine.dispose()
