"""Teams for tests: an owner whose plan holds members, and what they and their people do on the pages."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import database
from accounts import api_keys, invitations, memberships
from accounts.audit import AuditEntry
from accounts.models import Account, Invitation, Membership
from billing.models import Subscription
from extensions import db
from tests.auth import mailbox
from tests.billing.forms import open_form, send, submit
from tests.persons import Person, sign_up
from tests.plans import subscribe


def owner(app: Flask, email: str = "ann@example.com", plan: str = "team") -> Person:
    """Make a person with a plan, as if it had been bought."""
    person = sign_up(app, email)
    with app.app_context():
        database.write(subscribe, person.account_id, plan)
    return person


def change_plan(person: Person, plan: str | None) -> None:
    """Move an account to another plan, or end its plan, as if Stripe had told so."""
    with person.app.app_context():
        database.write(_change_plan, person.account_id, plan)


def invite(person: Person, email: str, role: str = "member") -> TestResponse:
    """Send the form that invites."""
    return submit(person, "/team", "/team/invitations", email=email, role=role)


def invited(person: Person, email: str, role: str = "member") -> str:
    """Invite somebody; return the path of the link in the mail."""
    answer = invite(person, email, role)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return mailbox.link(person.app, "/invitations/")


def accept(person: Person, link: str) -> TestResponse:
    """Open the link of an invitation and press its button."""
    page = person.client.get(link)
    assert page.status_code == 200, page.get_data(as_text=True)
    return send(person, *accept_form(person, link))


def accept_form(person: Person, link: str) -> tuple[str, dict[str, str]]:
    """Return where the button of an invitation leads, and what it sends."""
    action = f"/invitations/{invitation(person.app).public_id}/accept"
    return action, open_form(person, link, action)


def joined(boss: Person, email: str = "bob@example.com", role: str = "member") -> Person:
    """Make a person who has accepted an invitation, and acts for the team."""
    person = sign_up(boss.app, email)
    assert accept(person, invited(boss, email, role)).status_code == 303
    return person


def switch(person: Person, to: Person) -> TestResponse:
    """Act for another person's account."""
    return send(person, "/accounts/switch", {"csrf_token": token(person), "account": public_id(to)})


def token(person: Person) -> str:
    """Return the CSRF token of a person's forms."""
    return open_form(person, "/accounts", "/logout")["csrf_token"]


def public_id(person: Person) -> str:
    """Return the public id of a person's own account."""
    with person.app.app_context():
        return db.session.get_one(Account, person.account_id).public_id


def invitation(app: Flask) -> Invitation:
    """Return the newest invitation."""
    with app.app_context():
        return db.session.scalars(select(Invitation).order_by(Invitation.id.desc())).first() or Invitation()


def state(app: Flask) -> str:
    """Return what has become of the newest invitation."""
    return invitations.state_of(invitation(app)).value


def members(boss: Person) -> dict[str, str]:
    """Return the roles of a team by address."""
    with boss.app.app_context():
        return {member.email: member.role for member in memberships.of_account(db.session(), boss.account_id)}


def log(boss: Person) -> list[tuple[str, str]]:
    """Return who did what to a team, the first thing first."""
    with boss.app.app_context():
        rows = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(row.actor, row.action) for row in rows if row.account_id == boss.account_id]


def api_key(boss: Person, person: Person) -> str:
    """Make an API key of a team that stands on one of its people; return its secret."""
    secret = api_keys.new_secret()
    with boss.app.app_context():
        key = f"key of {person.email}"
        database.write(api_keys.make, boss.account_id, person.user_id, "Script", secret=secret, key=key)
    return secret


def everything(app: Flask) -> list[object]:
    """Return what a refused request must not change: memberships and invitations."""
    with app.app_context():
        rows = [db.session.execute(select(table.__table__)).all() for table in (Membership, Invitation)]
        return [tuple(row) for each in rows for row in each]


def page(person: Person, path: str) -> str:
    """Return what a page says."""
    answer = person.client.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.location)
    return str(answer.get_data(as_text=True))


def _change_plan(session: Session, account_id: int, plan: str | None) -> None:
    facts = {"plan_key": plan} if plan else {"stripe_status": "canceled", "is_primary": False}
    session.execute(update(Subscription).where(Subscription.account_id == account_id).values(**facts))
