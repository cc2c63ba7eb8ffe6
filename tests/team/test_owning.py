"""What an owner alone does: roles, the name, and handing the account over, after which somebody else is the owner."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from sqlalchemy import func, select

from accounts import people
from accounts.models import OWNER, Membership
from billing import address_errands
from extensions import db
from stripe_sandbox.faults import ApiFault
from tests.auth import mailbox
from tests.billing.cards import charges
from tests.billing.forms import open_form, send, submit
from tests.billing.subscribers import subscriber
from tests.billing.test_auto_top_up import agree, spend_down_to, work
from tests.persons import Person, sign_up
from tests.reports.buying import check, give_credits
from tests.team import teams
from tests.team.test_acting_for_a_team import balance_by
from tests.worlds import Clock, Stripe

DECIDES = "Only ann@example.com, to whom the account is billed, can do this."


def hand_over(person: Person, email: str) -> int:
    return submit(person, "/team/owner", "/team/owner", email=email).status_code


def change_role(person: Person, email: str, role: str) -> int:
    form = open_form(person, "/team", "/team/members/role")
    return send(person, "/team/members/role", {**form, "email": email, "role": role}).status_code


def owners(boss: Person) -> list[str]:
    return [email for email, role in teams.members(boss).items() if role == OWNER]


def own_account(person: Person) -> int:
    with person.app.app_context():
        return people.personal_account(db.session(), person.user_id).id


def test_an_owner_makes_a_member_an_admin_and_back(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    assert bob.client.get("/billing").status_code == 403
    assert change_role(ann, "bob@example.com", "admin") == 303
    assert bob.client.get("/billing").status_code == 200
    key = teams.api_key(ann, bob)
    assert teams.invite(bob, "dan@example.com").status_code == 303
    assert balance_by(app, key) == 200
    assert change_role(ann, "bob@example.com", "member") == 303
    assert teams.members(ann)["bob@example.com"] == "member"
    assert bob.client.get("/billing").status_code == 403
    assert balance_by(app, key) == 401, "a key needs an admin to stand on"
    assert teams.state(app) == "withdrawn", "nobody who is no admin has asked anybody in"
    assert [entry for entry in teams.log(ann) if "role" in entry[1]] == [("ann@example.com", "team.role_changed")] * 2


def test_a_form_that_changes_a_role_acts_once(app: Flask) -> None:
    ann = teams.owner(app)
    teams.joined(ann)
    form = {**open_form(ann, "/team", "/team/members/role"), "email": "bob@example.com", "role": "admin"}
    assert [send(ann, "/team/members/role", form).status_code for _ in range(2)] == [303, 303]
    assert [action for _, action in teams.log(ann)].count("team.role_changed") == 1


@pytest.mark.parametrize(
    ("email", "role", "status"),
    [("eve@example.com", "admin", 404), ("bob@example.com", "owner", 400), ("ann@example.com", "member", 409)],
)
def test_a_role_that_cannot_be_given_is_refused(app: Flask, email: str, role: str, status: int) -> None:
    ann = teams.owner(app)
    teams.joined(ann)
    before = teams.everything(app)
    assert change_role(ann, email, role) == status
    assert teams.everything(app) == before


def test_admins_touch_neither_the_owner_nor_other_admins(app: Flask) -> None:
    ann = teams.owner(app)
    cleo, dan = (teams.joined(ann, f"{name}@example.com", "admin") for name in ("cleo", "dan"))
    bob = teams.joined(ann)
    page = teams.page(cleo, "/team")
    assert ("Remove bob@example.com" in page, "Remove dan@example.com" in page) == (True, False)
    assert "/team/members/role" not in page
    before, form = teams.everything(app), open_form(cleo, "/team", "/team/members/remove")
    for person in (cleo, bob):
        own = {**form, "csrf_token": teams.token(person)}
        for path in ("/team/members/role", "/team/name", "/team/owner"):
            refused = send(person, path, {**own, "email": "dan@example.com", "role": "member", "name": "Mine"})
            assert refused.status_code == 403, path
            assert "ann@example.com" in refused.get_data(as_text=True)
    refused = send(cleo, "/team/members/remove", {**form, "email": "dan@example.com"})
    assert (refused.status_code, DECIDES in refused.get_data(as_text=True)) == (403, True)
    assert send(cleo, "/team/members/remove", {**form, "email": "ann@example.com"}).status_code == 409
    assert teams.everything(app) == before
    assert dan.client.get("/billing").status_code == 200


def test_the_owner_renames_the_account_and_everybody_sees_it(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    assert submit(ann, "/team/name", "/team/name", name="  Gate   Keepers ").status_code == 303
    assert "Acting for <strong>Gate Keepers</strong>" in teams.page(bob, "/dashboard")
    teams.invited(ann, "dan@example.com")
    assert "Join the team of Gate Keepers" in str(mailbox.letters(app)[-1].as_string())
    assert teams.log(ann)[-2] == ("ann@example.com", "team.renamed")


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "Win at https://evil.example", "WWW.evil.example", "a\u202eb"])
def test_a_name_that_strangers_should_not_be_mailed_is_refused(app: Flask, name: str) -> None:
    ann = teams.owner(app)
    answer = submit(ann, "/team/name", "/team/name", name=name)
    assert answer.status_code == 422
    assert "<title>Error: " in answer.get_data(as_text=True)
    assert teams.log(ann) == []


def test_the_owner_hears_once_who_joined(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    action, form = teams.accept_form(bob, teams.invited(ann, "bob@example.com", "admin"))
    assert [send(bob, action, form).status_code for _ in range(2)] == [303, 303]
    [letter] = [letter for letter in mailbox.letters(app) if "joined" in letter["Subject"]]
    assert (letter["To"], letter["Subject"]) == ("ann@example.com", "bob@example.com joined ann at Tollgate")
    assert "is an admin of ann now" in mailbox.text(letter)


def test_an_account_is_handed_over_with_all_that_hangs_on_it(app: Flask) -> None:
    ann = teams.owner(app)
    give_credits(app, ann, 20)
    report = check(ann).location
    key = teams.api_key(ann, ann)
    bob = teams.joined(ann)
    balance = ann.balance()
    assert hand_over(ann, "bob@example.com") == 303
    assert teams.members(ann) == {"bob@example.com": "owner", "ann@example.com": "admin"}
    # It was Ann's own, and is nobody's: she acts for it as an admin, and has another one of her own.
    page = teams.page(ann, "/team")
    assert "ann belongs to bob@example.com now" in page
    assert "Acting for <strong>ann</strong>" in page
    assert ann.client.get(report).status_code == 200
    assert ann.client.get("/team/owner").status_code == 403
    assert own_account(ann) != ann.account_id
    # Bob owns two accounts, and acts for this one.
    assert bob.client.get("/billing").status_code == 200
    page = teams.page(bob, "/accounts")
    assert page.count("Your own account.") == 1
    assert "A team that you own" in page
    assert "Acting for <strong>ann</strong>" in page
    assert (ann.balance(), balance_by(app, key)) == (balance, 200)
    letters = {letter["To"]: letter for letter in mailbox.letters(app) if "now" in letter["Subject"]}
    assert letters["bob@example.com"]["Subject"] == "ann is yours now"
    assert "If this was not you" in mailbox.text(letters["ann@example.com"])
    assert teams.log(ann)[-1] == ("ann@example.com", "team.handed_over")
    # And back again: this time it is not Bob's personal account that goes.
    bobs = own_account(bob)
    assert hand_over(bob, "ann@example.com") == 303
    assert owners(ann) == ["ann@example.com"]
    assert own_account(bob) == bobs
    assert submit(ann, "/team", "/team/members/remove", email="bob@example.com").status_code == 303


def test_the_old_owner_can_leave_and_the_new_one_not(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    hand_over(ann, "bob@example.com")
    leave = f"/accounts/{teams.public_id(ann)}/leave"
    form = open_form(ann, "/accounts", leave)
    assert leave not in teams.page(bob, "/accounts")
    forged = open_form(bob, "/team", "/team/members/remove")
    assert send(bob, leave, forged).status_code == 409
    assert send(ann, leave, form).status_code == 303
    assert teams.members(ann) == {"bob@example.com": "owner"}
    assert "Acting for" not in teams.page(ann, "/dashboard")


def test_a_form_that_hands_over_acts_once(app: Flask) -> None:
    ann = teams.owner(app)
    teams.joined(ann)
    form = {**open_form(ann, "/team/owner", "/team/owner"), "email": "bob@example.com"}
    assert [send(ann, "/team/owner", form).location for _ in range(2)] == ["/team", "/team"]
    assert owners(ann) == ["bob@example.com"]
    assert sum("now" in letter["Subject"] for letter in mailbox.letters(app)) == 2


def test_of_two_who_are_made_owner_at_once_one_is(app: Flask) -> None:
    ann = teams.owner(app)
    names = [f"{name}@example.com" for name in ("bob", "cleo", "dan")]
    for name in names:
        teams.joined(ann, name)
    forms = [{**open_form(ann, "/team/owner", "/team/owner"), "email": name} for name in names]
    with ann.client.session_transaction() as cookie:
        secret = cookie["_user_id"], cookie["csrf_token"]
    gate, statuses = threading.Barrier(len(forms)), []

    def give(form: dict[str, str]) -> None:
        tab = app.test_client()
        with tab.session_transaction() as cookie:
            cookie["_user_id"], cookie["csrf_token"], cookie["_fresh"] = *secret, True
        gate.wait()
        statuses.append(tab.post("/team/owner", data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code)

    threads = [threading.Thread(target=give, args=(form,)) for form in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(303) == 1, statuses
    assert set(statuses) <= {303, 400, 403}, statuses
    assert len(owners(ann)) == 1
    assert teams.members(ann)["ann@example.com"] == "admin"
    with app.app_context():
        each = select(func.count()).where(Membership.role == OWNER).group_by(Membership.account_id)
        assert set(db.session.scalars(each)) == {1}, "every account has exactly one owner"


def test_nobody_is_made_owner_who_is_not_in_or_not_confirmed(app: Flask) -> None:
    ann = teams.owner(app)
    sign_up(app, "eve@example.com")
    assert "Nobody else is in the team" in teams.page(ann, "/team/owner")
    teams.joined(ann)
    form = open_form(ann, "/team/owner", "/team/owner")
    for email in ("eve@example.com", "ann@example.com", ""):
        assert send(ann, "/team/owner", {**form, "email": email}).status_code == 422
    assert owners(ann) == ["ann@example.com"]


def test_stripe_hears_of_the_new_owner(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "team_monthly")
    teams.joined(ann)
    assert hand_over(ann, "bob@example.com") == 303
    assert stripe.inside(address_errands.carry_out_due) == 1
    assert stripe.sandbox_object("customer")["email"] == "bob@example.com"
    assert stripe.inside(address_errands.carry_out_due) == 0


def test_a_stripe_that_is_away_hears_of_the_new_owner_when_it_is_back(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "team_monthly")
    teams.joined(ann)
    stripe.sandbox.faults.api.append(ApiFault("unreachable", remaining=9, path="/v1/customers"))
    assert hand_over(ann, "bob@example.com") == 303
    assert owners(ann) == ["bob@example.com"]
    assert stripe.inside(address_errands.carry_out_due) == 1
    assert stripe.sandbox_object("customer")["email"] == "ann@example.com"
    assert stripe.inside(address_errands.carry_out_due) == 0, "it is not asked again at once"
    stripe.sandbox.faults.api.clear()
    clock.advance(minutes=1)
    assert stripe.inside(address_errands.carry_out_due) == 1
    assert stripe.sandbox_object("customer")["email"] == "bob@example.com"


def test_what_the_old_owner_agreed_to_is_charged_no_more(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "team_monthly")
    teams.joined(ann)
    assert "Auto top-up" not in teams.page(ann, "/team/owner")
    agree(ann, threshold=5)
    assert "off, until somebody agrees to it again" in teams.page(ann, "/team/owner")
    assert hand_over(ann, "bob@example.com") == 303
    spend_down_to(ann, 2)
    work(app)
    assert charges(stripe) == [9900]


def test_the_page_says_whose_card_stays(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "team_monthly")
    teams.joined(ann)
    page = teams.page(ann, "/team/owner")
    assert "Visa ending in 4242" in page
    assert "Let the new owner save theirs first" in page
