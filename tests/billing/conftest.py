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
from tests import worlds
from tests.conftest import WEBHOOK_SECRET
from tests.worlds import Clock, Stripe


@pytest.fixture
def shop(app: Flask, sandbox: Sandbox, clock: Clock) -> Iterator[Stripe]:
    """An app that sells the preset `projects`."""
    yield from selling("projects", app, sandbox, clock, is_strict=True)


def selling(preset: str, app: Flask, sandbox: Sandbox, clock: Clock, *, is_strict: bool = False) -> Iterator[Stripe]:
    """Yield the local Stripe of an app that sells a preset."""
    config = dataclasses.replace(app.config["TOLLGATE"], catalog=preset)
    seller = create_app(config, stripe_http_client=sandbox.http_client())
    seller.testing = True
    worlds.empty(sandbox)
    sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
    # Here everybody pays with the same card; that it has one trial is held by test_trials.py.
    sold = seller.extensions["catalog"]
    policies = dataclasses.replace(sold.policies, trials_per_card="one" if is_strict else "any")
    seller.extensions["catalog"] = dataclasses.replace(sold, policies=policies)
    with seller.app_context():
        stripe_catalog.push()
    stripe = Stripe(seller, sandbox)
    stripe.discard_deliveries()
    clock.sandbox = sandbox
    yield stripe
    assert stripe.unexpected_violations() == []
    with seller.app_context():
        db.engine.dispose()
