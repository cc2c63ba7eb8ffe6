"""Staff sees the keys of a customer's programs and ends one; the customer hears why."""

from __future__ import annotations

import pytest

from tests.admin.office import Office
from tests.auth import mailbox
from tests.billing.forms import open_form, send
from tests.team import teams
from tests.team.test_acting_for_a_team import balance_by


def test_staff_sees_and_revokes_a_key_and_the_customer_is_told_why(office: Office) -> None:
    app = office.staff.app
    ann = teams.owner(app)
    bob = teams.joined(ann, role="admin")
    leaked, other = teams.api_key(ann, ann), teams.api_key(ann, bob)
    assert balance_by(app, leaked) == 200
    path = office.path(ann)
    words = office.words(path)
    assert f"{leaked[:14]}..." in words
    assert "by bob@example.com; never used" in words
    assert leaked not in office.staff.client.get(path).text
    [key] = [key.public_id for key in office.keys(ann) if leaked.startswith(key.prefix)]
    fields = {"revoke-api_key": key, "revoke-reason": "We saw it in public code"}
    assert office.act(path, f"{path}/api-keys/revoke", times=2, **fields).status_code == 303
    assert (balance_by(app, leaked), balance_by(app, other)) == (401, 200)
    assert [line for line in office.audit() if "api_key" in line[0]] == [("api_key.revoked", "staff@example.com")]
    assert office.changes()[0]["prefix"] == leaked[:14]
    [letter] = [letter for letter in mailbox.letters(app) if "revoked" in letter["Subject"]]
    assert letter["To"] == "ann@example.com"
    assert "Why: We saw it in public code" in mailbox.text(letter)
    assert "Staff: api key revoked" in office.words(path)
    assert "Team joined" in office.words(path), "which was no act of staff"


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"revoke-reason": ""}, "Say why"), ({"revoke-api_key": "x"}, "Not a valid choice")],
)
def test_a_wrong_form_revokes_nothing(office: Office, fields: dict[str, str], words: str) -> None:
    ann = teams.owner(office.staff.app)
    secret = teams.api_key(ann, ann)
    path = office.path(ann)
    sent = {"revoke-api_key": office.keys(ann)[0].public_id, "revoke-reason": "Leaked", **fields}
    answer = office.act(path, f"{path}/api-keys/revoke", **sent)
    assert (answer.status_code, words in answer.text) == (422, True)
    assert balance_by(office.staff.app, secret) == 200
    assert office.audit() == []


def test_staff_revokes_no_key_through_the_page_of_another_customer(office: Office) -> None:
    ann, eve = teams.owner(office.staff.app), teams.owner(office.staff.app, "eve@example.com")
    secret = teams.api_key(ann, ann)
    path, fields = office.path(eve), {"revoke-api_key": office.keys(ann)[0].public_id, "revoke-reason": "Leaked"}
    sent = {**open_form(office.staff, path, f"{path}/pause"), **fields}
    assert send(office.staff, f"{path}/api-keys/revoke", sent).status_code == 422
    assert balance_by(office.staff.app, secret) == 200
