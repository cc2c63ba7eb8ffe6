"""Who gets in where: every endpoint and method against every kind of visitor, as a table.

A new route without a row fails: decide who may enter, write the row, and give the view its gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from accounts import api_keys, sessions
from accounts.models import Account
from billing import catalog, checkout, pulse, top_ups
from billing.purchase_tables import SavedCard
from billing.reversals import Dispute
from extensions import db
from support import desk, hours
from tests.persons import Person, csrf_token, hire, sign_up
from tests.reports.buying import check
from tests.worlds import Stripe
from web import gates

IN, LOGIN, VERIFY, PLAN, ABSENT = "in", "login-required", "verification-required", "plan-required", "404"

EVERYBODY = (IN, IN, IN, IN, IN)
SIGNED_IN = (LOGIN, IN, IN, IN, IN)
VERIFIED = (LOGIN, VERIFY, IN, IN, IN)
OWNER = (LOGIN, ABSENT, IN, ABSENT, ABSENT)
WITH_PLAN = (LOGIN, PLAN, PLAN, PLAN, PLAN)
STAFF = (ABSENT, ABSENT, ABSENT, ABSENT, IN)
NOT_THEIRS = (LOGIN, ABSENT, ABSENT, ABSENT, ABSENT)
NOBODY_SUCH = (ABSENT, ABSENT, ABSENT, ABSENT, ABSENT)

VISITORS = ("anonymous", "unverified", "user", "other user", "staff")
# What happens to each of the visitors above. "in" means that the gate lets them pass and the view answers,
# whatever it says to an empty form; the user owns the report and the checkout in the address, on the free plan.
MATRIX: dict[tuple[str, str], tuple[str, ...]] = {
    ("admin.adjust", "POST"): STAFF,
    ("admin.attach_file", "POST"): STAFF,
    ("admin.audit_log", "GET"): STAFF,
    ("admin.confirm_refund", "POST"): STAFF,
    ("admin.customer", "GET"): STAFF,
    ("admin.dispute", "GET"): STAFF,
    ("admin.forgive", "POST"): STAFF,
    ("admin.give_evidence", "POST"): STAFF,
    ("admin.index", "GET"): STAFF,
    ("admin.list_customers", "GET"): STAFF,
    ("admin.list_disputes", "GET"): STAFF,
    ("admin.list_support", "GET"): STAFF,
    ("admin.mails", "GET"): STAFF,
    ("admin.mark_answered", "POST"): STAFF,
    ("admin.pause", "POST"): STAFF,
    ("admin.refund", "GET"): STAFF,
    ("admin.refund", "POST"): STAFF,
    ("admin.replay", "POST"): STAFF,
    ("admin.resend", "POST"): STAFF,
    ("admin.resume", "POST"): STAFF,
    ("admin.revoke_api_key", "POST"): STAFF,
    ("admin.sync_health", "GET"): STAFF,
    ("api.balance", "GET"): SIGNED_IN,
    ("api_keys.create", "POST"): (LOGIN, VERIFY, PLAN, PLAN, PLAN),
    ("api_keys.index", "GET"): SIGNED_IN,
    ("api_keys.revoke", "POST"): OWNER,
    ("auth.change_password", "GET"): SIGNED_IN,
    ("auth.change_password", "POST"): SIGNED_IN,
    ("auth.check_mail", "GET"): EVERYBODY,
    ("auth.check_mail", "POST"): EVERYBODY,
    ("auth.confirm_password", "GET"): SIGNED_IN,
    ("auth.confirm_password", "POST"): SIGNED_IN,
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
    ("billing.agree_to_auto_top_up", "POST"): SIGNED_IN,
    ("billing.auto_top_up", "GET"): SIGNED_IN,
    ("billing.buy_now", "POST"): SIGNED_IN,
    ("billing.cancel", "GET"): SIGNED_IN,
    ("billing.cancel", "POST"): SIGNED_IN,
    ("billing.cancel_now", "GET"): SIGNED_IN,
    ("billing.cancel_now", "POST"): SIGNED_IN,
    ("billing.change", "GET"): SIGNED_IN,
    ("billing.confirm_change", "POST"): SIGNED_IN,
    ("billing.confirm_unpause", "POST"): SIGNED_IN,
    ("billing.index", "GET"): SIGNED_IN,
    ("billing.invoices", "GET"): SIGNED_IN,
    ("billing.order", "GET"): SIGNED_IN,
    ("billing.pause", "GET"): SIGNED_IN,
    ("billing.pause", "POST"): SIGNED_IN,
    ("billing.pay", "GET"): OWNER,
    ("billing.portal", "POST"): SIGNED_IN,
    ("billing.portal_return", "GET"): SIGNED_IN,
    ("billing.receipt", "GET"): OWNER,
    ("billing.redeem", "GET"): VERIFIED,
    ("billing.redeem", "POST"): VERIFIED,
    ("billing.resume", "POST"): SIGNED_IN,
    ("billing.start_checkout", "POST"): EVERYBODY,
    ("billing.statement", "GET"): SIGNED_IN,
    ("billing.statement_csv", "GET"): SIGNED_IN,
    ("billing.stop_auto_top_up", "POST"): SIGNED_IN,
    ("billing.success", "GET"): OWNER,
    ("billing.top_up", "GET"): OWNER,
    ("billing.undo_change", "POST"): SIGNED_IN,
    ("billing.set_cap", "POST"): NOT_THEIRS,  # the preset here counts by no meter
    ("billing.usage_page", "GET"): SIGNED_IN,
    ("billing.unpause", "GET"): SIGNED_IN,
    ("dashboard.index", "GET"): SIGNED_IN,
    ("devmail.html", "GET"): NOBODY_SUCH,
    ("devmail.index", "GET"): EVERYBODY,
    ("devmail.show", "GET"): NOBODY_SUCH,
    ("gallery.index", "GET"): EVERYBODY,
    ("health.alive", "GET"): EVERYBODY,
    ("health.ready", "GET"): EVERYBODY,
    ("health.working", "GET"): EVERYBODY,
    ("pages.index", "GET"): EVERYBODY,
    ("pages.privacy", "GET"): EVERYBODY,
    ("pages.terms", "GET"): EVERYBODY,
    ("pages.theme", "POST"): EVERYBODY,
    ("pricing.index", "GET"): EVERYBODY,
    ("pricing.paid", "GET"): EVERYBODY,
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
    ("settings.cancel_email", "POST"): SIGNED_IN,
    ("settings.change_email", "GET"): SIGNED_IN,
    ("settings.change_email", "POST"): SIGNED_IN,
    ("settings.confirm_email", "GET"): SIGNED_IN,
    ("settings.confirm_email", "POST"): SIGNED_IN,
    ("settings.delete_account", "GET"): SIGNED_IN,
    ("settings.delete_account", "POST"): SIGNED_IN,
    ("settings.download", "GET"): SIGNED_IN,
    ("settings.end_other_sessions", "POST"): SIGNED_IN,
    ("settings.end_session", "POST"): NOT_THEIRS,  # the form names no session
    ("settings.index", "GET"): SIGNED_IN,
    ("settings.resend_email", "POST"): SIGNED_IN,
    ("support.ask", "POST"): SIGNED_IN,
    ("support.index", "GET"): SIGNED_IN,
    ("team.accept", "POST"): (LOGIN, VERIFY, ABSENT, ABSENT, ABSENT),
    ("team.accounts", "GET"): SIGNED_IN,
    ("team.change_role", "POST"): SIGNED_IN,
    ("team.choose_owner", "GET"): VERIFIED,
    ("team.hand_over", "POST"): VERIFIED,
    ("team.index", "GET"): SIGNED_IN,
    ("team.invitation", "GET"): NOBODY_SUCH,
    ("team.invite", "POST"): (LOGIN, VERIFY, PLAN, PLAN, PLAN),
    ("team.leave", "POST"): SIGNED_IN,
    ("team.remove", "POST"): SIGNED_IN,
    ("team.rename", "GET"): SIGNED_IN,
    ("team.rename", "POST"): SIGNED_IN,
    ("team.resend", "POST"): (LOGIN, VERIFY, PLAN, PLAN, PLAN),
    ("team.switch", "POST"): NOT_THEIRS,
    ("team.withdraw", "POST"): SIGNED_IN,
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
    "health.working",
    "pages.index",
    "pages.privacy",
    "pages.terms",
    "pages.theme",
    "pricing.index",
    "pricing.paid",
    "problems.index",
    "problems.show",
    "static",
    "team.invitation",
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
    with app.app_context():
        top_up = database.write(_buy_by_card, user.account_id)
        api_key = database.write(_make_key, user)
        question = database.write(_ask, user)
        paid_at = checkout.start(user.account_id, "credits_5", base_url="http://127.0.0.1:5000", ui="embedded")
    intent = paid_at.rpartition("/")[2]
    session_id = user.checkout("credits_5").rpartition("/")[2].partition("#")[0].partition("?")[0]
    stripe.pay(user.checkout("credits_12"))
    stripe.settle()
    receipt = stripe.sandbox.events("charge.succeeded")[0]["data"]["object"]["id"]
    buyer = sign_up(app, "buyer@example.com")
    stripe.pay(buyer.checkout("credits_30"), card="4000000000000259")
    stripe.settle()
    with app.app_context():
        disputed = db.session.scalars(select(Dispute)).one()
        customer = db.session.get_one(Account, buyer.account_id)
        values = {"account": customer.public_id, "charge": disputed.stripe_charge_id, "dispute": disputed.stripe_id}
    with app.app_context():
        database.write(pulse.note, pulse.WORKER)  # a worker runs
    return {
        "persons": {
            "anonymous": None,
            "unverified": sign_up(app, "unverified@example.com", verified=False),
            "user": user,
            "other user": sign_up(app, "other@example.com"),
            "staff": hire(sign_up(app, "staff@example.com")),
        },
        "values": values
        | {
            "api_key": api_key,
            "filename": "css/base.css",
            "intent_id": intent,
            "kind": "plan-required",
            "meter": "events",
            "key": receipt,
            "mail": "made-up",
            "price_key": "credits_5",
            "request_id": question,
            "public_id": report,
            "token": "made-up",
            "top_up_id": top_up,
            "uuid": "made-up",
        },
        "query": {"session_id": session_id},
    }


def _buy_by_card(session: Session, account_id: int) -> str:
    card = SavedCard(
        account_id=account_id,
        stripe_payment_method_id="pm_1",
        brand="visa",
        last4="4242",
        exp_month=12,
        exp_year=2099,
    )
    pack = catalog.current().packs[0]
    return top_ups.write_down(session, account_id, pack, card, kind="click").public_id


def _make_key(session: Session, user: Person) -> str:
    secret = api_keys.new_secret()
    made = api_keys.make(session, user.account_id, user.user_id, "Nightly", secret=secret, key="made-up")
    assert made is not None
    return made.public_id


def _ask(session: Session, user: Person) -> str:
    asker = desk.Asker(user.user_id, user.account_id, user.email)
    nine_to_five = hours.Desk(9, 17, priority_hours=4, days=2)
    operator, key = "support@example.com", "made-up"
    asked = desk.ask(
        session, asker, subject="Help", message="Help", is_priority=False, desk=nine_to_five, operator=operator, key=key
    )
    return asked.public_id


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
