"""An owner asks people in, and takes invitations and members back."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select

from accounts.sessions import hash_of
from billing import limits
from extensions import db
from mail.models import Email
from tests.auth import mailbox
from tests.billing.forms import open_form, send, submit
from tests.persons import log_in_again, sign_up
from tests.team import teams
from tests.worlds import Clock


def test_an_invitation_is_mailed_and_no_secret_of_it_is_kept(app: Flask) -> None:
    ann = teams.owner(app)
    link = teams.invited(ann, "Bob@Example.com", "admin")
    (letter,) = mailbox.letters(app)
    assert (letter["To"], letter["Subject"]) == (
        "Bob@example.com",
        "ann@example.com invites you to their team at Tollgate",
    )
    assert "as an admin" in mailbox.text(letter)
    token, row = link.rpartition("/")[2], teams.invitation(app)
    assert row.token_hash == hash_of(token)
    with app.app_context():
        kept = [email.context for email in db.session.scalars(select(Email))]
    assert not any(token in text for text in [*kept, row.token_seed, row.token_hash, row.public_id])
    page = teams.page(ann, "/team")
    assert "Bob@example.com" in page
    assert "2</strong> of 10" in page, "an invitation that waits holds a seat"
    assert teams.log(ann) == [("ann@example.com", "team.invited")]


def test_a_form_sent_twice_invites_once(app: Flask) -> None:
    ann = teams.owner(app)
    form = {**open_form(ann, "/team", "/team/invitations"), "email": "bob@example.com", "role": "member"}
    assert [send(ann, "/team/invitations", form).status_code for _ in range(2)] == [303, 303]
    assert len(mailbox.letters(app)) == 1
    assert len(teams.log(ann)) == 1


@pytest.mark.parametrize(
    ("email", "role", "words"),
    [
        ("", "member", "Enter an e-mail address."),
        ("nobody", "member", "name@example.com"),
        ("bob@example.com", "owner", "Not a valid choice"),
        ("ANN@example.com", "member", "in the team already"),
    ],
)
def test_a_wrong_form_says_what_to_change_and_invites_nobody(app: Flask, email: str, role: str, words: str) -> None:
    ann = teams.owner(app)
    answer = teams.invite(ann, email, role)
    assert answer.status_code == 422
    assert words in answer.get_data(as_text=True)
    assert mailbox.letters(app) == []


def test_an_address_is_invited_once_at_a_time_and_again_after_the_week(app: Flask, clock: Clock) -> None:
    ann = teams.owner(app)
    teams.invited(ann, "bob@example.com")
    again = teams.invite(ann, "BOB@example.com")
    assert (again.status_code, "invited already" in again.get_data(as_text=True)) == (422, True)
    clock.advance(days=7, minutes=1)
    log_in_again(ann)
    assert "Ran out" in teams.page(ann, "/team")
    teams.invited(ann, "bob@example.com", "admin")
    assert (teams.state(app), teams.invitation(app).role) == ("waiting", "admin")


def test_sending_again_makes_a_new_link_and_a_limit_keeps_mailboxes_from_filling(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    first = teams.invited(ann, "bob@example.com")
    action = f"/team/invitations/{teams.invitation(app).public_id}/resend"
    assert submit(ann, "/team", action).status_code == 303
    second = mailbox.link(app, "/invitations/")
    assert first != second
    assert bob.client.get(first).status_code == 404
    assert bob.client.get(second).status_code == 200
    assert submit(ann, "/team", action).status_code == 303
    before = teams.everything(app)
    too_many = submit(ann, "/team", action)
    assert (too_many.status_code, "within the hour" in too_many.get_data(as_text=True)) == (429, True)
    assert teams.everything(app) == before, "the link that was sent last still works"


def test_a_withdrawn_invitation_sends_nothing_and_opens_nothing(app: Flask) -> None:
    ann, bob = teams.owner(app), sign_up(app, "bob@example.com")
    link = teams.invited(ann, "bob@example.com")
    accept = teams.accept_form(bob, link)
    row = teams.invitation(app)
    assert submit(ann, "/team", f"/team/invitations/{row.public_id}/withdraw").status_code == 303
    assert mailbox.letters(app) == []
    for gone in (bob.client.get(link), send(bob, *accept)):
        assert gone.status_code == 410
        assert "It was withdrawn." in gone.get_data(as_text=True)
    assert teams.members(ann) == {"ann@example.com": "owner"}
    assert "invites you" not in teams.page(bob, "/accounts")


def test_without_the_feature_the_page_says_which_plan_brings_it_and_nobody_is_invited(app: Flask) -> None:
    ann = sign_up(app)
    page = teams.page(ann, "/team")
    assert "Members come with Team" in page
    assert "Send the invitation" not in page
    refused = send(ann, "/team/invitations", {"csrf_token": teams.token(ann), "email": "bob@example.com"})
    assert refused.status_code == 402
    assert "Members comes with Team." in refused.get_data(as_text=True)
    assert mailbox.letters(app) == []


def test_when_all_seats_are_taken_the_page_and_the_refusal_say_so(app: Flask) -> None:
    ann = teams.owner(app)
    late = open_form(ann, "/team", "/team/invitations")
    for number in range(9):
        assert teams.invite(ann, f"person{number}@example.com").status_code == 303
    assert "All seats are taken" in teams.page(ann, "/team")
    refused = send(ann, "/team/invitations", {**late, "email": "late@example.com", "role": "member"})
    assert refused.status_code == 402
    assert "You use 10 of 10 members." in refused.get_data(as_text=True)
    with app.app_context():
        assert limits.used(db.session(), ann.account_id, "members") == 10


def test_whoever_is_removed_is_out_at_the_next_click_and_their_open_forms_do_nothing(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    form = open_form(bob, "/accounts", f"/accounts/{teams.public_id(ann)}/leave")
    assert submit(ann, "/team", "/team/members/remove", email="bob@example.com").status_code == 303
    assert teams.members(ann) == {"ann@example.com": "owner"}
    sent = send(bob, "/cv", {**form, "text": "x"})
    assert sent.status_code == 409
    assert "You no longer belong to that team" in sent.get_data(as_text=True)
    assert "Acting for" not in teams.page(bob, "/dashboard")
    assert teams.switch(bob, ann).status_code == 404
    assert [action for _, action in teams.log(ann)] == ["team.invited", "team.joined", "team.removed"]


def test_whoever_is_removed_leaves_no_invitation_behind(app: Flask) -> None:
    ann = teams.owner(app)
    cleo = teams.joined(ann, "cleo@example.com", "admin")
    link = teams.invited(cleo, "second.self.of.cleo@example.com", "admin")
    teams.invited(ann, "dan@example.com")
    assert submit(ann, "/team", "/team/members/remove", email="cleo@example.com").status_code == 303
    assert sign_up(app, "second.self.of.cleo@example.com").client.get(link).status_code == 410
    assert teams.state(app) == "waiting", "the owner's own invitation stays"


def test_a_member_leaves_and_the_owner_stays(app: Flask) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann, role="admin")

    form = open_form(bob, "/accounts", f"/accounts/{teams.public_id(ann)}/leave")
    for email in ("ann@example.com", "ANN@example.com"):
        refused = send(bob, "/team/members/remove", {**form, "email": email})
        assert (refused.status_code, "The owner stays" in refused.get_data(as_text=True)) == (409, True)
    left = send(bob, f"/accounts/{teams.public_id(ann)}/leave", form)
    assert (left.status_code, left.location) == (303, "/accounts")
    page = teams.page(bob, "/accounts")
    assert "You have left ann." in page
    assert "no longer belong" not in page
    assert teams.members(ann) == {"ann@example.com": "owner"}
    assert teams.log(ann)[-1] == ("bob@example.com", "team.left")
    again = send(bob, f"/accounts/{teams.public_id(ann)}/leave", form)
    assert (again.status_code, again.location) == (303, "/accounts")
