"""The example of docs/gates.md, run as it is written there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from flask import Flask

from app import create_app
from billing.catalog import Catalog, Feature
from extensions import db
from tests.persons import Person, sign_up
from web import errors

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")


@pytest.fixture
def letters(app: Flask) -> Iterator[Flask]:
    """An app that has the guide's view, and sells its feature with the free plan."""
    example: dict[str, Any] = {"__name__": "letters"}
    exec("\n".join(re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)), example)  # noqa: S102 - it is ours
    made = create_app(app.config["TOLLGATE"])
    made.testing = True
    made.register_blueprint(example["bp"])
    sold: Catalog = made.extensions["catalog"]
    free, *others = sold.plans
    made.extensions["catalog"] = replace(
        sold,
        plans=(replace(free, features=(*free.features, "letters")), *others),
        features=(*sold.features, Feature("letters", "Letters")),
        costs=MappingProxyType({**sold.costs, "letter": 2}),
    )
    yield made
    with made.app_context():
        db.engine.dispose()


def opened_form(person: Person) -> dict[str, str]:
    page = person.client.get("/letters/new").get_data(as_text=True)
    return {**dict(re.findall(r'name="(\w+)" value="([^"]+)"', page)), "name": "Ms Byrne"}


def test_the_example_charges_once_and_only_what_the_balance_covers(letters: Flask) -> None:
    ann = sign_up(letters)
    assert ann.balance() == 3
    fields = opened_form(ann)
    assert [ann.client.post("/letters", data=fields).status_code for _ in range(3)] == [303, 303, 303]
    assert ann.balance() == 1
    assert ann.client.post("/letters", data=opened_form(ann)).status_code == 402
    assert ann.balance() == 1


def test_the_example_needs_its_one_time_number(letters: Flask) -> None:
    ann = sign_up(letters)
    fields = opened_form(ann)
    del fields["_idem"]
    assert ann.client.post("/letters", data=fields).status_code == 400
    assert ann.balance() == 3


def test_without_the_feature_the_example_is_closed(letters: Flask) -> None:
    sold: Catalog = letters.extensions["catalog"]
    free, *others = sold.plans
    letters.extensions["catalog"] = replace(sold, plans=(replace(free, features=()), *others))
    refused = sign_up(letters).client.get("/letters/new", headers={"Accept": "application/json"})
    assert refused.status_code == 402
    assert refused.get_json()["feature"] == "letters"


@pytest.mark.parametrize("word", ["login", "verified", "role", "plan", "feature", "limit", "credits"])
def test_the_guide_names_the_demands_in_their_order(word: str) -> None:
    assert word in GUIDE.partition("always in this order:")[2].partition(".")[0]


def test_the_guides_table_is_what_the_app_answers(context: Flask) -> None:
    kinds = {row.kind: row.status for row in errors.table().values()}
    rows = re.findall(r"\| [\w ]+ \| (\d{3}) \| [^|]+ \| `([\w-]+)`", GUIDE)
    assert len(rows) == 9
    for status, kind in rows:
        assert kinds[kind] == int(status)
