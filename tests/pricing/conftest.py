"""Selling another preset for the length of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from billing import catalog, stripe_catalog
from billing.catalog import Catalog

SellPreset = Callable[[str], Catalog]


@pytest.fixture
def sell_preset(app: Flask) -> Iterator[SellPreset]:
    """Sell a preset; with `push`, at the local Stripe too, which the test asks for by the fixture `stripe`."""
    before = app.extensions["catalog"]

    def sell(name: str, *, push: bool = False) -> Catalog:
        app.extensions["catalog"] = catalog.load(name)
        if push:
            with app.app_context():
                stripe_catalog.push()
        return catalog.load(name)

    yield sell
    app.extensions["catalog"] = before
