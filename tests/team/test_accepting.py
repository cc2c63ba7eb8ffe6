"""The invited person comes: known or not, with the right address or another, too late or twice."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from types import MappingProxyType

import pytest
from flask import Flask
from flask.testing import FlaskClient

from billing import catalog
from tests.auth import mailbox
from tests.billing.forms import open_form, send, submit
from tests.persons import Person, csrf_token, log_in_again, post, sign_up
from tests.team import teams
from tests.worlds import Clock
from web import tokens

PASSWORD = "six random words for a gate"


def test_a_person_with_an_account_joins_and_acts_for_the_team(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "BOB@example.com")
    link = teams.invited(ann, "bob@example.com")
    page = teams.page(bob, link)
    assert "<h1>Join the team of ann</h1>" in page
    joined = teams.accept(bob, link)
    assert (joined.status_code, joined.location) == (303, "/dashboard")
    assert teams.members(ann) == {"ann@example.com": "owner", "BOB@example.com": "member"}
    page = teams.page(bob, "/dashboard")
    assert "Welcome. You act for ann now" in page
    assert "Acting for <strong>ann</strong>" in page
    assert teams.log(ann)[-1] == ("BOB@example.com", "team.joined")
    opened_again = bob.client.get(link)
    assert (opened_again.status_code, opened_again.location) == (302, "/accounts")


def test_a_stranger_signs_up_with_the_invited_address_and_comes_back(app: Flask, client: FlaskClient) -> None:
    ann = teams.owner(app)
    link = teams.invited(ann, "bob@example.com")
    page = client.get(link).get_data(as_text=True)
    assert "Sign up or log in with bob@example.com" in page
    assert 'href="/register?next=/accounts&amp;email=bob@example.com"' in page
    post(client, "/register?next=/accounts", email="bob@example.com", password=PASSWORD)
    verified = post(client, mailbox.link(app, "/verify/"))
    assert (verified.status_code, verified.location) == (303, "/accounts")
    bob = Person(app, client, 0, 0, "bob@example.com")
    assert "ann@example.com invites you" in teams.page(bob, "/accounts")
    action = f"/invitations/{teams.invitation(app).public_id}/accept"
    assert submit(bob, "/accounts", action).status_code == 303
    assert teams.members(ann)["bob@example.com"] == "member"


def test_whether_the_invited_address_is_known_is_not_told(app: Flask, client: FlaskClient) -> None:
    ann = teams.owner(app)
    sign_up(app, "bob@example.com")
    pages = []
    for email in ("bob@example.com", "new@example.com"):
        link = teams.invited(ann, email)
        words = client.get(link).get_data(as_text=True).replace(email, "").replace(link, "")
        pages.append(re.sub(r"It works until [^.]*\.", "", words.replace(csrf_token(client), "")))
    assert pages[0] == pages[1]


def test_somebody_with_another_address_is_told_so_and_does_not_get_in(app: Flask) -> None:
    ann, eve, bob = teams.owner(app), sign_up(app, "eve@example.com"), sign_up(app, "bob@example.com")
    link = teams.invited(ann, "bob@example.com")
    seen = eve.client.get(link)
    page = seen.get_data(as_text=True)
    assert seen.status_code == 403
    assert "This invitation is for another address" in page
    assert "You are logged in as <strong>eve@example.com</strong>" in page
    action, form = teams.accept_form(bob, link)
    before = teams.everything(app)
    assert send(eve, action, {**form, "csrf_token": teams.token(eve)}).status_code == 404
    assert teams.everything(app) == before


def test_an_address_that_was_never_confirmed_is_no_proof(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com", verified=False)
    teams.invited(ann, "bob@example.com")
    form = {"csrf_token": teams.token(bob)}
    refused = send(bob, f"/invitations/{teams.invitation(app).public_id}/accept", form)
    assert refused.status_code == 403
    assert "Confirm your e-mail address first" in refused.get_data(as_text=True)
    assert teams.members(ann) == {"ann@example.com": "owner"}


def test_an_invitation_is_good_for_a_week(app: Flask, clock: Clock) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    link = teams.invited(ann, "bob@example.com")
    action, _ = teams.accept_form(bob, link)
    clock.advance(days=7)
    log_in_again(bob)
    before = teams.everything(app)
    for late in (bob.client.get(link), send(bob, action, {"csrf_token": teams.token(bob)})):
        assert late.status_code == 410
        assert "good for a week" in late.get_data(as_text=True)
    assert teams.everything(app) == before
    assert mailbox.letters(app) == []


def test_accepting_twice_is_accepting_once_and_not_a_way_back_in(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    action, form = teams.accept_form(bob, teams.invited(ann, "bob@example.com"))
    assert [send(bob, action, form).status_code for _ in range(2)] == [303, 303]
    assert [action for _, action in teams.log(ann)] == ["team.invited", "team.joined"]
    assert submit(ann, "/team", "/team/members/remove", email="bob@example.com").status_code == 303
    again = send(bob, action, {"csrf_token": teams.token(bob)})
    assert (again.status_code, "It was accepted before" in again.get_data(as_text=True)) == (410, True)
    assert teams.members(ann) == {"ann@example.com": "owner"}


@pytest.mark.parametrize("plan", ["pro", None])
def test_nobody_joins_a_team_whose_plan_has_lapsed(app: Flask, plan: str | None) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    action, form = teams.accept_form(bob, teams.invited(ann, "bob@example.com"))
    teams.change_plan(ann, plan)
    refused = send(bob, action, form)
    assert refused.status_code == 403
    assert "The plan of this team no longer holds members. Ask ann@example.com" in refused.get_data(as_text=True)
    assert teams.members(ann) == {"ann@example.com": "owner"}
    if plan:
        teams.change_plan(ann, "team")
        assert send(bob, action, form).status_code == 303


def test_of_many_who_come_for_the_last_seat_one_gets_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = teams.owner(app)
    people, forms = [], []
    for name in ("bob", "cleo", "dan", "eva"):
        people.append(sign_up(app, f"{name}@example.com"))
        forms.append(teams.accept_form(people[-1], teams.invited(ann, f"{name}@example.com")))
    # The plan has become smaller since: two seats for four invitations and the owner.
    sold = app.extensions["catalog"]
    monkeypatch.setitem(app.extensions, "catalog", with_seats(sold, 2))
    gate, statuses = threading.Barrier(len(people)), []

    def come(person: Person, action: str, form: dict[str, str]) -> None:
        gate.wait()
        statuses.append(send(person, action, form).status_code)

    threads = [threading.Thread(target=come, args=(p, *f)) for p, f in zip(people, forms, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303, 409, 409, 409]
    assert len(teams.members(ann)) == 2
    monkeypatch.setitem(app.extensions, "catalog", sold)
    later = {send(p, *f).status_code for p, f in zip(people, forms, strict=True)}
    assert later == {303}, "who came too late may come again"
    assert len(teams.members(ann)) == 5


def test_of_two_invitations_for_the_last_seat_one_is_written(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.extensions, "catalog", with_seats(app.extensions["catalog"], 3))
    ann = teams.owner(app)
    bob = teams.joined(ann, role="admin")
    forms = [(p, open_form(p, "/team", "/team/invitations")) for p in (ann, bob)]
    gate, statuses = threading.Barrier(2), []

    def ask(person: Person, form: dict[str, str]) -> None:
        gate.wait()
        fields = {**form, "email": f"friend-of-{person.email}", "role": "member"}
        statuses.append(send(person, "/team/invitations", fields).status_code)

    threads = [threading.Thread(target=ask, args=each) for each in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303, 402]


def test_a_link_survives_a_new_secret_key_and_dies_with_the_old_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = teams.owner(app)
    link = teams.invited(ann, "bob@example.com")
    monkeypatch.setitem(app.config, "SECRET_KEY_FALLBACKS", [app.config["SECRET_KEY"]])
    monkeypatch.setitem(app.config, "SECRET_KEY", "another secret, which is long enough too")
    assert mailbox.link(app, "/invitations/") == link
    with app.app_context():
        assert link.rpartition("/")[2] == tokens.derived("invitation", teams.invitation(app).token_seed)[1]
    monkeypatch.setitem(app.config, "SECRET_KEY_FALLBACKS", [])
    assert mailbox.letters(app) == []


def with_seats(sold: catalog.Catalog, seats: int) -> catalog.Catalog:
    fewer = MappingProxyType({"members": seats})
    return replace(sold, plans=tuple(replace(p, limits=fewer) if p.key == "team" else p for p in sold.plans))
