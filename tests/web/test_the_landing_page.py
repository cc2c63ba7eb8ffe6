"""The landing page stands with any catalogue, and shows nothing that nobody can buy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

import clock
from billing import catalog
from billing.catalog import Catalog
from blueprints import product_picture


@pytest.fixture
def sold(app: Flask) -> Iterator[Catalog]:
    """The app's catalogue, put back afterwards."""
    kept: Catalog = app.extensions["catalog"]
    yield kept
    app.extensions["catalog"] = kept


def test_it_stands_without_the_checker_s_cost(app: Flask, sold: Catalog) -> None:
    app.extensions["catalog"] = replace(sold, costs={})
    assert app.test_client().get("/").status_code == 200


def test_its_example_uses_only_what_is_for_sale() -> None:
    sold = catalog.load("cv")
    on_sale = sold.packs[-1]
    retired = tuple(replace(pack, is_retired=pack is not on_sale) for pack in sold.packs)
    plans = tuple(replace(plan, is_retired=plan.is_recommended, is_recommended=False) for plan in sold.plans)
    picture = product_picture.draw(replace(sold, packs=retired, plans=plans), clock.now(), 1)
    shown = {source.granted for source in picture.sources}
    assert on_sale.credits in shown
    assert shown <= {on_sale.credits, *(plan.credits for plan in plans if not plan.is_retired)}
