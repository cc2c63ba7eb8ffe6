"""What members do for a team, what only its owner and admins do, and what nobody does to the team of others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app
from extensions import db
from tests.billing.forms import open_form, send, submit
from tests.billing.subscribers import subscriber
from tests.persons import Person, csrf_token, log_in_again, sign_up
from tests.reports.buying import ONE_PAGE, ask_price, call_api, check, give_credits, hidden_fields
from tests.team import teams
from tests.worlds import Stripe
from web import gates

ROLE_REQUIRED, CLOSED = "role-required", "team-closed"


def problem(person: Person, method: str, path: str, token: str = "") -> tuple[int, str]:
    """Return the status and the kind of problem that a program meets."""
    headers = {"Accept": "application/json", "X-CSRFToken": token or csrf_token(person.client)}
    answer = person.client.open(path, method=method, headers=headers)
    kind = (answer.get_json(silent=True) or {}).get("type", "") if answer.mimetype.endswith("json") else ""
    return answer.status_code, kind.rpartition("/")[2]


def test_a_member_spends_the_teams_credits_and_sees_its_reports(app: Flask) -> None:
    ann = teams.owner(app)
    give_credits(app, ann, 20)
    written_by_ann = check(ann).location
    bob = teams.joined(ann)
    own_credits = bob.balance()
    written_by_bob = check(bob).location
    assert (ann.balance(), bob.balance()) == (18, own_credits)
    history = teams.page(bob, "/cv/history")
    assert written_by_ann in history
    assert written_by_bob in history
    assert bob.client.get(written_by_ann).status_code == 200
    assert call_api(bob, {"text": "word " * 120}).status_code == 201
    assert ann.balance() == 17

    assert teams.switch(bob, bob).status_code == 303
    assert bob.client.get(written_by_bob).status_code == 404, "it belongs to the team"
    check(bob)
    assert (ann.balance(), bob.balance()) == (17, own_credits - 1)


def test_a_form_that_was_opened_for_one_account_is_not_charged_to_another(app: Flask) -> None:
    ann = teams.owner(app)
    give_credits(app, ann, 20)
    bob = teams.joined(ann)
    balances = ann.balance(), bob.balance()
    form = {**hidden_fields(ask_price(bob, ONE_PAGE)), "text": ONE_PAGE}
    teams.switch(bob, bob)
    sent = send(bob, "/cv", form)
    assert (sent.status_code, "another account" in sent.get_data(as_text=True)) == (400, True)
    assert (ann.balance(), bob.balance()) == balances


def test_everything_of_billing_is_closed_to_members_and_open_to_admins(app: Flask) -> None:
    ann = teams.owner(app)
    bob, cleo = teams.joined(ann), teams.joined(ann, "cleo@example.com", "admin")
    values = dict.fromkeys(("key", "top_up_id", "intent_id"), "made-up") | {"meter": "events", "price_key": "credits_5"}
    token = csrf_token(bob.client)
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("billing."):
            continue
        with app.test_request_context():
            path = app.url_for(rule.endpoint, **{name: values[name] for name in rule.arguments})
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            met = problem(bob, method, path, token)
            assert met == (403, ROLE_REQUIRED), f"{method} {path} lets members in: say role=ADMIN"
    assert cleo.client.get("/billing").status_code == 200
    refused = bob.client.get("/billing")
    assert refused.status_code == 403
    assert "You use this account as a member. Ask ann@example.com" in refused.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/pricing", "/pricing/checkout/credits_30"])
def test_a_checkout_that_was_opened_for_one_account_is_not_started_for_another(
    app: Flask, stripe: Stripe, path: str
) -> None:
    bob = teams.joined(teams.owner(app), role="admin")
    action = "/pricing/checkout/credits_30"
    form = open_form(bob, path, action)
    teams.switch(bob, bob)
    sent = send(bob, action, form)
    assert (sent.status_code, sent.location) == (303, action)
    assert "You act for another account" in teams.page(bob, action)
    assert send(bob, action, open_form(bob, path, action)).location.startswith("http://stripe.test/")


def test_a_view_that_says_nothing_of_roles_is_closed_to_members(app: Flask) -> None:
    made = create_app(app.config["TOLLGATE"])
    made.testing = True
    made.add_url_rule("/said-nothing", "shop.said_nothing", lambda: "money")
    made.add_url_rule("/says-no-role", "shop.says_no_role", gates.requires(verified=True)(lambda: "money"))
    made.add_url_rule("/says-member", "shop.says_member", gates.requires(role="member")(lambda: "the product"))
    ann = teams.owner(made)
    bob, cleo = teams.joined(ann), teams.joined(ann, "cleo@example.com", "admin")
    paths = ("/said-nothing", "/says-no-role", "/says-member")
    met = {one.email: [one.client.get(path).status_code for path in paths] for one in (ann, bob, cleo)}
    assert met == {ann.email: [200, 200, 200], bob.email: [403, 403, 200], cleo.email: [200, 200, 200]}
    with made.app_context():
        db.engine.dispose()


def test_members_are_shown_no_way_to_pay_and_whom_to_ask(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    for path in ("/dashboard", "/pricing", "/cv", "/team", "/accounts"):
        page = teams.page(bob, path)
        assert 'href="/billing' not in page, path
        assert 'action="/billing' not in page, path
        assert 'action="/pricing/checkout' not in page, path
    assert ("$99.00" in teams.page(ann, "/dashboard"), "$99.00" in teams.page(bob, "/dashboard")) == (True, False)
    assert "ann@example.com takes care of its plan and credits" in teams.page(bob, "/pricing")
    assert "Send the invitation" not in teams.page(bob, "/team")
    # What is kept for others is not shown to them, nor theirs to others.
    assert 'href="/billing' in teams.page(ann, "/pricing")
    assert 'action="/pricing/checkout' in teams.page(sign_up(app, "dan@example.com"), "/pricing")


def test_a_member_cannot_change_who_is_in_and_an_admin_can(app: Flask) -> None:
    ann = teams.owner(app)
    bob, cleo = teams.joined(ann), teams.joined(ann, "cleo@example.com", "admin")
    teams.invited(ann, "dan@example.com")
    waiting = f"/team/invitations/{teams.invitation(app).public_id}"
    before = teams.everything(app)
    for path in ("/team/invitations", f"{waiting}/resend", f"{waiting}/withdraw", "/team/members/remove"):
        assert problem(bob, "POST", path) == (403, ROLE_REQUIRED)
    assert teams.everything(app) == before
    assert submit(cleo, "/team", f"{waiting}/withdraw").status_code == 303
    assert teams.invite(cleo, "eva@example.com", "admin").status_code == 303
    assert submit(cleo, "/team", "/team/members/remove", email="bob@example.com").status_code == 303
    assert teams.members(ann) == {"ann@example.com": "owner", "cleo@example.com": "admin"}


def test_nobody_reaches_into_the_team_of_others(app: Flask) -> None:
    ann, eve = teams.owner(app), teams.owner(app, "eve@example.com")
    bob = teams.joined(ann)
    report = check(ann).location
    teams.invited(ann, "dan@example.com")
    waiting = f"/team/invitations/{teams.invitation(app).public_id}"
    before, entries = teams.everything(app), teams.log(ann)
    form = open_form(eve, "/team", "/team/invitations")
    tries: dict[str, dict[str, str]] = {
        f"{waiting}/resend": {},
        f"{waiting}/withdraw": {},
        "/team/members/remove": {"email": "bob@example.com"},
        "/accounts/switch": {"account": teams.public_id(ann)},
        f"/invitations/{teams.invitation(app).public_id}/accept": {},
    }
    for path, fields in tries.items():
        assert send(eve, path, {**form, **fields}).status_code == 404, path
    assert send(eve, f"/accounts/{teams.public_id(ann)}/leave", form).location == "/accounts"
    with eve.client.session_transaction() as cookie:
        cookie["account"] = teams.public_id(ann)  # as if the secret key were known
    assert "Acting for" not in teams.page(eve, "/dashboard")
    assert eve.client.get(report).status_code == 404
    assert bob.client.get(report).status_code == 200
    assert "bob@example.com" not in teams.page(eve, "/team")
    assert (teams.everything(app), teams.log(ann)) == (before, entries)


def test_a_team_whose_plan_lapses_is_closed_to_all_but_its_owner_until_it_is_back(app: Flask) -> None:
    ann = teams.owner(app)
    bob, cleo = teams.joined(ann), teams.joined(ann, "cleo@example.com", "admin")
    report = check(bob).location
    keys = [teams.api_key(ann, person) for person in (ann, bob, cleo)]
    assert [balance_by(app, key) for key in keys] == [200, 401, 200]
    teams.change_plan(ann, "pro")
    assert balance_by(app, keys[2]) == 403
    for person in (bob, cleo):
        for method, path in (("GET", "/dashboard"), ("GET", report), ("POST", "/cv"), ("GET", "/billing")):
            assert problem(person, method, path) == (403, CLOSED), path
        looked = person.client.get("/dashboard")
        assert (looked.status_code, looked.location) == (303, "/accounts")
        page = teams.page(person, "/accounts")
        assert "The plan of this team no longer holds members. Ask ann@example.com" in page
        assert person.client.get("/pricing").status_code == 200
    assert ann.client.get(report).status_code == 200
    page = teams.page(ann, "/team")
    assert "The team is closed for now" in page
    assert "bob@example.com" in page, "whom the owner may still remove"
    assert teams.switch(bob, bob).status_code == 303
    assert bob.client.get("/dashboard").status_code == 200

    teams.change_plan(ann, "team")
    assert teams.switch(bob, ann).status_code == 303
    assert bob.client.get(report).status_code == 200
    assert cleo.client.get("/billing").status_code == 200
    assert submit(ann, "/team", "/team/members/remove", email="cleo@example.com").status_code == 303
    assert [balance_by(app, key) for key in keys] == [200, 401, 401]


def test_logging_in_again_begins_with_ones_own_account(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    assert "Acting for" in teams.page(bob, "/dashboard")
    fresh = app.test_client()
    bob = Person(app, fresh, bob.user_id, bob.account_id, bob.email)
    log_in_again(bob)
    assert "Acting for" not in teams.page(bob, "/dashboard")
    assert "The team of ann@example.com" in teams.page(bob, "/accounts")


def test_whoever_has_only_their_own_account_pays_nothing_for_teams(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    alone = count_queries(app, lambda: ann.client.get("/terms"))
    in_team = count_queries(app, lambda: bob.client.get("/terms"))
    assert len(alone) == 1, "the session's own query brings the person and their account"
    assert len(in_team) == 3, "the choice and the plan, once per page"


def test_a_smaller_plan_is_refused_while_members_are_too_many(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "team_monthly")
    teams.joined(ann)
    words = "Too small: you use 2 members, and it has room for 1. Remove some first."
    assert words in teams.page(ann, "/billing/change")
    assert ann.client.get("/billing/change?to=pro_monthly").status_code == 303
    assert "Members" in teams.page(ann, "/billing/usage")
    assert submit(ann, "/team", "/team/members/remove", email="bob@example.com").status_code == 303
    assert "Pro" in teams.page(ann, "/billing/change?to=pro_monthly")


def balance_by(app: Flask, secret: str) -> int:
    """Return the status that a program with a key meets."""
    return app.test_client().get("/api/v1/balance", headers={"Authorization": f"Bearer {secret}"}).status_code


def count_queries(app: Flask, visit: Callable[[], object]) -> list[str]:
    asked: list[str] = []
    with app.app_context():
        engine = db.engine

    def remember(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        visit()
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    return [statement for statement in asked if statement.lstrip().upper().startswith("SELECT")]
