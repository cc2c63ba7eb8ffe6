"""Who gets in where: every endpoint and method against every kind of visitor, as a table.

A new route without a row fails: decide who may enter, write the row, and give the view its gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

import database
from accounts import sessions
from tests.persons import Person, csrf_token, sign_up
from tests.reports.buying import check
from tests.worlds import Stripe
from web import gates

IN, LOGIN, VERIFY, PLAN, ABSENT = "in", "login-required", "verification-required", "plan-required", "404"

EVERYBODY = (IN, IN, IN, IN)
SIGNED_IN = (LOGIN, IN, IN, IN)
VERIFIED = (LOGIN, VERIFY, IN, IN)
OWNER = (LOGIN, ABSENT, IN, ABSENT)
WITH_PLAN = (LOGIN, PLAN, PLAN, PLAN)
NOBODY_SUCH = (ABSENT, ABSENT, ABSENT, ABSENT)

VISITORS = ("anonymous", "unverified", "user", "other user")
# What happens to each of the four visitors above. "in" means that the gate lets them pass and the view answers,
# whatever it says to an empty form; the user owns the report and the checkout in the address, on the free plan.
MATRIX: dict[tuple[str, str], tuple[str, str, str, str]] = {
    ("auth.change_password", "GET"): SIGNED_IN,
    ("auth.change_password", "POST"): SIGNED_IN,
    ("auth.check_mail", "GET"): EVERYBODY,
    ("auth.check_mail", "POST"): EVERYBODY,
    ("auth.forgot_password", "GET"): EVERYBODY,
    ("auth.forgot_password", "POST"): EVERYBODY,
    ("auth.login", "GET"): EVERYBODY,
    ("auth.login", "POST"): EVERYBODY,
    ("auth.logout", "POST"): EVERYBODY,
    ("auth.register", "GET"): EVERYBODY,
    ("auth.register", "POST"): EVERYBODY,
    ("auth.reset_password", "GET"): EVERYBODY,
    ("auth.reset_password", "POST"): EVERYBODY,
    ("auth.reset_sent", "GET"): EVERYBODY,
    ("auth.verify", "GET"): EVERYBODY,
    ("auth.verify", "POST"): EVERYBODY,
    ("billing.cancel", "GET"): SIGNED_IN,
    ("billing.cancel", "POST"): SIGNED_IN,
    ("billing.change", "GET"): SIGNED_IN,
    ("billing.confirm_change", "POST"): SIGNED_IN,
    ("billing.index", "GET"): SIGNED_IN,
    ("billing.order", "GET"): SIGNED_IN,
    ("billing.portal", "POST"): SIGNED_IN,
    ("billing.portal_return", "GET"): SIGNED_IN,
    ("billing.resume", "POST"): SIGNED_IN,
    ("billing.start_checkout", "POST"): EVERYBODY,
    ("billing.success", "GET"): OWNER,
    ("billing.undo_change", "POST"): SIGNED_IN,
    ("dashboard.index", "GET"): SIGNED_IN,
    ("devmail.html", "GET"): NOBODY_SUCH,
    ("devmail.index", "GET"): EVERYBODY,
    ("devmail.show", "GET"): NOBODY_SUCH,
    ("gallery.index", "GET"): EVERYBODY,
    ("health.alive", "GET"): EVERYBODY,
    ("health.ready", "GET"): EVERYBODY,
    ("pages.index", "GET"): EVERYBODY,
    ("pages.privacy", "GET"): EVERYBODY,
    ("pages.terms", "GET"): EVERYBODY,
    ("pages.theme", "POST"): EVERYBODY,
    ("pricing.index", "GET"): EVERYBODY,
    ("problems.index", "GET"): EVERYBODY,
    ("problems.show", "GET"): EVERYBODY,
    ("reports.create", "POST"): VERIFIED,
    ("reports.index", "GET"): WITH_PLAN,
    ("reports.new", "GET"): VERIFIED,
    ("reports.preview", "POST"): VERIFIED,
    ("reports.show", "GET"): OWNER,
    ("reports_api.create", "POST"): VERIFIED,
    ("reports_api.index", "GET"): WITH_PLAN,
    ("reports_api.price", "POST"): VERIFIED,
    ("reports_api.show", "GET"): OWNER,
    ("static", "GET"): EVERYBODY,
    ("webhooks.stripe", "POST"): EVERYBODY,
}

# Open to everybody, and nothing else is: each of these is a promise that it shows nothing of anybody.
PUBLIC = {
    "auth.check_mail",
    "auth.forgot_password",
    "auth.login",
    "auth.logout",
    "auth.register",
    "auth.reset_password",
    "auth.reset_sent",
    "auth.verify",
    "billing.start_checkout",
    "health.alive",
    "health.ready",
    "pages.index",
    "pages.privacy",
    "pages.terms",
    "pages.theme",
    "pricing.index",
    "problems.index",
    "problems.show",
    "static",
    "webhooks.stripe",
}
# Only while the site is on a loopback address and no mail leaves it.
PUBLIC_IN_DEVELOPMENT = {"devmail.html", "devmail.index", "devmail.show", "gallery.index"}


def routes(app: Flask) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield rule.endpoint, method


def test_every_route_has_its_row(app: Flask) -> None:
    found = set(routes(app))
    assert not found - set(MATRIX), "new routes: give each its gate and its row in MATRIX"
    assert not set(MATRIX) - found, "these routes are gone: take their rows out"


def test_exactly_these_views_are_public(app: Flask) -> None:
    with app.app_context():
        public = {endpoint for endpoint in app.view_functions if not gates.demands_of(endpoint).login}
    assert public == PUBLIC | PUBLIC_IN_DEVELOPMENT


@pytest.fixture
def world(app: Flask, stripe: Stripe) -> dict[str, Any]:
    """People, and the values of the addresses: the user's report and checkout."""
    user = sign_up(app, "user@example.com")
    report = check(user).location.rpartition("/")[2]
    session_id = user.checkout("credits_5").rpartition("/")[2].partition("#")[0].partition("?")[0]
    return {
        "persons": {
            "anonymous": None,
            "unverified": sign_up(app, "unverified@example.com", verified=False),
            "user": user,
            "other user": sign_up(app, "other@example.com"),
        },
        "values": {
            "filename": "css/base.css",
            "kind": "plan-required",
            "price_key": "credits_5",
            "public_id": report,
            "token": "made-up",
            "uuid": "made-up",
        },
        "query": {"session_id": session_id},
    }


def browser(app: Flask, person: Person | None) -> FlaskClient:
    """Return a browser with a session of its own, so that logging out in one row spoils no other."""
    client = app.test_client()
    if person is not None:
        with app.app_context():
            token = database.write(_start_session, person.user_id)
        with client.session_transaction() as cookie:
            cookie["_user_id"], cookie["_fresh"] = token, True
    return client


def _start_session(session: Session, user_id: int) -> str:
    return sessions.start(session, user_id, is_remembered=False)


def outcome(app: Flask, client: FlaskClient, endpoint: str, method: str, world: dict[str, Any]) -> str:
    """Return what the visitor meets, in the words of MATRIX."""
    rule = next(r for r in app.url_map.iter_rules(endpoint) if method in (r.methods or set()))
    with app.test_request_context():
        path = app.url_for(endpoint, **{name: world["values"][name] for name in rule.arguments})
    headers = {"Accept": "application/json", "X-CSRFToken": csrf_token(client)}
    answer = client.open(path, method=method, query_string=world["query"], headers=headers, buffered=True)
    assert answer.status_code < 500, (endpoint, method, answer.get_data(as_text=True)[:500])
    if answer.status_code == 404:
        return ABSENT
    problem = answer.get_json(silent=True) if answer.mimetype == "application/problem+json" else None
    kind = (problem or {}).get("type", "").rpartition("/")[2]
    return kind if kind in {LOGIN, VERIFY, PLAN} else IN


@pytest.mark.parametrize("visitor", VISITORS)
def test_every_visitor_gets_in_where_the_table_says_and_nowhere_else(
    app: Flask, world: dict[str, Any], visitor: str
) -> None:
    column = VISITORS.index(visitor)
    person = world["persons"][visitor]
    met = {row: outcome(app, browser(app, person), *row, world) for row in routes(app) if row in MATRIX}
    expected = {row: MATRIX[row][column] for row in met}
    assert {row: what for row, what in met.items() if what != expected[row]} == {}


def test_no_view_changes_state_on_get(app: Flask) -> None:
    # Browsers, mail scanners and link previews open addresses by themselves; HEAD is a GET to Flask.
    with app.app_context():
        for rule in app.url_map.iter_rules():
            demands = gates.demands_of(rule.endpoint)
            assert demands.credits is None or "GET" not in (rule.methods or set()), f"{rule.rule} spends on GET"
