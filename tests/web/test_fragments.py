"""Pieces of pages are kept for everybody, and what belongs to one visitor is never among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, g, render_template_string, template_rendered
from flask.testing import FlaskClient
from jinja2 import meta, nodes
from markupsafe import Markup
from sqlalchemy.orm import Session

import clock
import database
from billing import catalog
from billing.purchase_tables import SavedCard
from ledger import granting, spending
from tests.persons import post, sign_up
from tests.web.test_dashboard import spend, subscribe
from web import fragments

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
NONCE = re.compile(r'name="_idem" value="([^"]+)"')
TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
# What a template can reach besides what it is given; the endpoint, and so its blueprint, is in every key.
BEYOND_THE_KEY = {"request", "session", "g", "config", "current_user"}
IN_THE_KEY = {("request", "endpoint"), ("request", "blueprint")}


def write(app: Flask, work: Callable[..., object], *arguments: object) -> None:
    with app.app_context():
        database.write(work, *arguments)


def save_card(session: Session, account_id: int) -> None:
    facts = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2099}
    session.add(SavedCard(account_id=account_id, stripe_payment_method_id="pm_1", **facts))


def catalog_of(app: Flask) -> catalog.Catalog:
    with app.app_context():
        return catalog.current()


@contextmanager
def rendered(app: Flask) -> Iterator[list[str | None]]:
    """Note the templates that are rendered meanwhile."""
    names: list[str | None] = []

    def note(_app: Flask, template: object, **_: object) -> None:
        names.append(getattr(template, "name", None))

    with template_rendered.connected_to(note, app):
        yield names


def unkeyed(template: nodes.Template) -> list[str]:
    """Return what a template takes from the request, other than through what every key holds."""
    allowed = [
        attribute.node
        for attribute in template.find_all(nodes.Getattr)
        if isinstance(attribute.node, nodes.Name) and (attribute.node.name, attribute.attr) in IN_THE_KEY
    ]
    # The header asks only what fragments.visitor() tells.
    for call in template.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "site_header":
            allowed += call.args
    names = template.find_all(nodes.Name)
    return [name.name for name in names if name.name in BEYOND_THE_KEY and all(name is not one for one in allowed)]


def test_each_visitor_finds_their_own_address_and_token_in_a_kept_page(app: Flask) -> None:
    ann, bob = sign_up(app), sign_up(app, "bob@example.com")
    pages = {person.email: person.client.get("/pricing").get_data(as_text=True) for person in (ann, bob, ann)}
    assert "ann@example.com" in pages["ann@example.com"]
    assert "bob@example.com" not in pages["ann@example.com"]
    assert "ann@example.com" not in pages["bob@example.com"]
    tokens = [set(TOKEN.findall(page)) for page in pages.values()]
    assert all(len(each) == 1 for each in tokens), "one token for all forms of a page"
    assert tokens[0] != tokens[1]


def test_the_token_of_a_kept_page_is_good_for_its_form_and_no_one_elses(app: Flask) -> None:
    visitors, tokens = [app.test_client(), app.test_client()], []
    for visitor in visitors:
        first, token = (TOKEN.findall(visitor.get(path).get_data(as_text=True))[0] for path in ("/", "/pricing"))
        assert first == token, "a session has one token, signed once"
        assert all(visitor.post("/theme", data={"csrf_token": other}).status_code == 400 for other in tokens)
        tokens.append(token)
        answer = visitor.post("/theme", data={"csrf_token": token, "theme": "dark", "next": "/pricing"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/pricing")
        assert 'data-theme="dark"' in visitor.get("/pricing").get_data(as_text=True)
    assert 'data-theme="' not in app.test_client().get("/pricing").get_data(as_text=True)


def test_whoever_signs_in_no_longer_sees_the_page_of_those_who_are_not(app: Flask, client: FlaskClient) -> None:
    assert "Sign up" in client.get("/").get_data(as_text=True)
    person = sign_up(app)
    assert "Log out" in person.client.get("/").get_data(as_text=True)
    post(person.client, "/logout")
    assert "Log out" not in person.client.get("/").get_data(as_text=True)


def test_a_message_is_shown_once_and_to_nobody_else(app: Flask) -> None:
    visitor = app.test_client()
    with visitor.session_transaction() as session:
        session["_flashes"] = [("success", "Only for you")]
    pages = [client.get("/pricing").get_data(as_text=True) for client in (visitor, app.test_client(), visitor)]
    assert ["Only for you" in page for page in pages] == [True, False, False]


def test_what_is_filled_in_is_escaped(client: FlaskClient) -> None:
    page = client.get('/pricing?x="><script>alert(1)</script>').get_data(as_text=True)
    assert "<script>alert" not in page
    assert client.get("/pricing").get_data(as_text=True) != page


def test_a_piece_within_a_piece_is_filled_with_the_whole(app: Flask) -> None:
    made: list[str] = []

    def inner() -> str:
        made.append("inner")
        return Markup("[{}]").format(fragments.slot("address"))

    def outer() -> str:
        return Markup("<{}>").format(fragments.kept(inner, "test", "inner"))

    for path in ("/a", "/b"):
        with app.test_request_context(path):
            assert fragments.kept(outer, "test", "outer") == f"<[{path}]>"
            assert not g.get("makes_fragment")
    assert made == ["inner"]
    app.extensions["fragments"].clear()


def test_what_is_good_for_a_moment_only_is_not_kept(app: Flask) -> None:
    made: list[str] = []

    def inner() -> str:
        made.append("inner")
        return render_template_string("{{ at|ago }}", at=clock.now())

    with app.test_request_context("/"):
        for _ in range(2):
            assert fragments.kept(lambda: fragments.kept(inner, "test", "ago"), "test", "around it") == "just now"
    assert made == ["inner", "inner"]


def test_each_form_of_a_kept_page_has_a_number_of_its_own(app: Flask) -> None:
    person = sign_up(app)
    with app.app_context():
        database.write(save_card, person.account_id)
    numbers = [NONCE.findall(person.client.get("/billing").text) for _ in range(2)]
    assert len(numbers[0]) == len(numbers[1]) == len(catalog_of(app).packs_for_sale)
    assert len({number for page in numbers for number in page}) == len(numbers[0]) * 2


@pytest.mark.parametrize("path", ["/", "/pricing", "/dashboard", "/billing"])
def test_a_page_is_rendered_once_as_long_as_nothing_in_it_changes(app: Flask, path: str) -> None:
    person = sign_up(app)
    person.client.get(path)
    with rendered(app) as templates:
        assert person.client.get(path).status_code == 200
    assert templates == []


def test_whatever_changes_is_on_the_next_page(app: Flask) -> None:
    person = sign_up(app)
    changes: list[Callable[[], object]] = [
        lambda: write(app, spend, person.account_id, 1),
        lambda: write(app, lambda session: granting.grant(session, person.account_id, 5, kind="promo", source="p:1")),
        lambda: clock.travel(timedelta(minutes=2)),
        lambda: clock.travel(timedelta(hours=11)),
        lambda: clock.travel(timedelta(hours=11)),
        lambda: write(app, subscribe, person.account_id),
        lambda: person.client.set_cookie("theme", "dark"),
    ]
    pages = [person.client.get("/dashboard").text]
    for change in changes:
        change()
        pages.append(person.client.get("/dashboard").text)
        assert person.client.get("/dashboard").text == pages[-1]
    assert len(set(pages)) == len(pages)


def test_the_page_of_one_person_never_reaches_another(app: Flask) -> None:
    ann, bob = sign_up(app), sign_up(app, "bob@example.com")
    write(app, lambda session: spending.spend(session, ann.account_id, 1, idempotency_key="1", reason="Secret of Ann"))
    for path in ("/dashboard", "/billing", "/pricing"):
        for person, other in ((ann, bob), (bob, ann), (ann, bob)):
            page = person.client.get(path).text
            assert person.email in page
            assert other.email not in page
            assert ("Secret of Ann" in page) == (path == "/dashboard" and person is ann)


def test_templates_of_kept_pages_ask_the_request_for_nothing_but_its_endpoint(app: Flask) -> None:
    kept = ["pages/index.html", "pricing/index.html", "dashboard/index.html", "billing/index.html"]
    looked_at: set[str] = set()
    while kept:
        name = kept.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        parsed = app.jinja_env.parse((TEMPLATES / name).read_text())
        kept += [str(other) for other in meta.find_referenced_templates(parsed)]
        assert unkeyed(parsed) == [], f"{name}: no key holds these: let the view pass what the page shows of them"
    assert "components/timeline.html" in looked_at


def test_no_more_is_kept_than_there_is_room_for(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    app.extensions["fragments"].clear()
    monkeypatch.setattr(app.extensions["fragments"], "room", 3)
    with app.test_request_context("/"):
        for number in range(10):
            assert fragments.kept(lambda number=number: str(number), "test", number) == str(number)
            assert len(app.extensions["fragments"]) <= 3
    app.extensions["fragments"].clear()
