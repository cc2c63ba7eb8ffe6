"""One file with everything about a person: whole, theirs alone, and without a secret."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask
from sqlalchemy import select

from accounts.models import User, UserSession
from billing.purchase_tables import SavedCard
from blueprints.settings import own_data
from extensions import db
from tests.auth.test_giving_the_password_again import LONG, with_password
from tests.billing.cards import with_card
from tests.persons import Person, post, sign_up
from tests.reports.buying import check
from tests.settings.test_changing_the_address import change
from tests.team import teams
from tests.worlds import Clock, Stripe

PATH = "/settings/data.json"
NEVER = ("password", "secret", "hash", "token", "uniquifier", "seed", "key_of")


def data(person: Person) -> dict[str, Any]:
    answer = person.client.get(PATH, buffered=True)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="my-data-')
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.text)
    return found


def test_everything_about_somebody_is_in_the_file(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    sign_up(app, "bob@example.com")
    check(ann)
    post(ann.client, "/support", subject="Help", message="It rains")
    found = data(ann)
    assert [row["email"] for row in found["person"]] == ["ann@example.com"]
    assert [row["amount_cents"] for row in found["payments"]] == [500]
    assert found["ledger"][-1]["balance_after"] == ann.balance()
    assert len(found["ledger"]) == 3, "the free month, the pack, the report"
    assert [row["last4"] for row in found["saved_cards"]] == ["4242"]
    assert len(found["reports"]) == 1
    assert found["reports"][0]["content"]
    assert len(found["sessions"]) == 1
    assert {row["to_address"] for row in found["mails"]} == {"ann@example.com"}
    assert "bob@example.com" not in json.dumps(found)


def test_no_secret_is_in_it(app: Flask) -> None:
    ann = with_password(teams.owner(app))
    key = teams.api_key(ann, ann)
    change(ann, "ann@new.example")
    with app.app_context():
        user = db.session.get_one(User, ann.user_id)
        secrets = [str(user.password), user.fs_uniquifier, key]
        secrets += db.session.scalars(select(UserSession.token_hash)).all()
    text = ann.client.get(PATH, buffered=True).text
    assert [secret for secret in secrets if secret in text] == []
    for section in own_data.sections(1, "", "", []):
        for column in section.columns:
            assert not any(word in column.key for word in NEVER), f"{section.name} gives out {column.key}"
    assert data(ann)["changes_of_address"][0]["email"] == "ann@new.example"


def test_a_member_takes_along_what_is_about_them_and_not_the_teams(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    boss = teams.owner(app, "boss@example.com")
    bob = teams.joined(boss)
    found = data(bob)
    assert [row["role"] for row in found["memberships"]] == ["owner", "member"]
    assert found["payments"] == []
    assert "ann@example.com" not in json.dumps(found)
    with ann.app.app_context():
        assert db.session.scalars(select(SavedCard)).one().account_id == ann.account_id


def test_it_asks_for_the_password_and_not_too_often(app: Flask, clock: Clock) -> None:
    ann = with_password(sign_up(app))
    assert [ann.client.get(PATH, buffered=True).status_code for _ in range(4)] == [200, 200, 200, 429]
    clock.advance(seconds=LONG)
    asked = ann.client.get(PATH, buffered=True)
    assert (asked.status_code, asked.location) == (303, f"/password/confirm?next={PATH}")
