"""The guide for those who build on this: what it shows works as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from billing import inbox, limits, sync
from ledger import holds
from stripe_sandbox.testing import Sandbox
from tests.persons import Person, post, sign_up
from tests.worlds import Stripe
from web import gates, idempotency

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "make-it-yours.md").read_text()


def block(language: str) -> str:
    """Return the guide's one block of code in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)
    return str(found)


@gates.requires()
def open_form() -> str:
    """Stand for the page with the form, which the guide leaves to its reader."""
    return idempotency.new_nonce()


@pytest.fixture
def yours(app: Flask, sandbox: Sandbox, tmp_path: Path) -> Iterator[Flask]:
    """A second app on the same database, changed as the guide says."""
    sold = (ROOT / "catalog.toml").read_text()
    path = tmp_path / "catalog.toml"
    sold = sold.replace("[costs]\n", f"{block('toml')}\n[costs]\nletter = 2\n")
    path.write_text(sold.replace('features = ["history", "priority"]', 'features = ["history", "priority", "letters"]'))
    config = replace(app.config["TOLLGATE"], catalog=str(path))
    other = create_app(config, stripe_http_client=sandbox.http_client())
    other.testing = True
    letters = ModuleType("blueprints.letters")
    exec(compile(block("python"), "docs/make-it-yours.md", "exec"), letters.__dict__)  # noqa: S102 - our own guide
    if letters.bp.name not in other.blueprints:  # whoever follows the guide to the letter has it already
        other.register_blueprint(letters.bp)
    other.add_url_rule("/letters/new", view_func=open_form)
    yield other
    with other.app_context():
        other.extensions["sqlalchemy"].engine.dispose()


def new_nonce(client: FlaskClient) -> str:
    """Return the nonce of a form that the person has opened."""
    return client.get("/letters/new").get_data(as_text=True)


def subscribed(yours: Flask, stripe: Stripe) -> Person:
    ann = sign_up(yours)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    return ann


def test_the_paid_feature_of_the_guide_charges_once(yours: Flask, stripe: Stripe) -> None:
    ann = subscribed(yours, stripe)
    before, nonce = ann.balance(), new_nonce(ann.client)
    for _ in range(2):
        assert post(ann.client, "/letters", _idem=nonce).status_code == 303
    assert ann.balance() == before - 2
    assert post(ann.client, "/letters", _idem=new_nonce(ann.client)).status_code == 303
    assert ann.balance() == before - 4


def test_the_paid_feature_of_the_guide_is_refused_without_its_plan(yours: Flask) -> None:
    bob = sign_up(yours, "bob@example.com")
    before = bob.balance()
    answer = post(bob.client, "/letters", _idem=new_nonce(bob.client))
    assert answer.status_code == 402
    assert "Letters comes with Pro." in answer.get_data(as_text=True)
    assert bob.balance() == before


def test_the_pricing_page_shows_the_feature_of_the_guide(yours: Flask) -> None:
    assert "A cover letter for each advert" in yours.test_client().get("/pricing").get_data(as_text=True)


def test_every_event_that_is_listened_to_has_a_kind_that_says_how_to_follow_it() -> None:
    things = {"id": "x_1", "object": "payment_intent", "latest_charge": "ch_1", "charge": "ch_1", "customer": "cus_1"}
    top_up = {**things, "metadata": {"top_up": "1"}}
    kinds = {about(thing)[0] for about in inbox.HANDLED.values() for thing in (things, top_up)}
    # No event speaks of these two: a sync of something else calls for them.
    assert kinds == set(sync.KINDS) - {"collection", "extra_subscription"}
    assert all(f"`{kind}`" in GUIDE for kind in kinds)


def test_what_the_guide_names_is_there() -> None:
    assert callable(limits.counts)
    assert callable(limits.ensure_room)
    assert callable(holds.reserve)
    assert callable(holds.capture)
    navigation = (ROOT / "web" / "navigation.py").read_text()
    assert '"Check a CV"' in navigation
    assert (ROOT / "blueprints" / "product_picture.py").exists()
    assert "BUYS" in (ROOT / "blueprints" / "dashboard.py").read_text()
    assert "macro brand" in (ROOT / "templates" / "layouts" / "_parts.html").read_text()
    assert re.search(r"^OWNER = ", (ROOT / "billing" / "stripe_params.py").read_text(), flags=re.MULTILINE)
