"""Programs sign in with a key of their own: shown once, for one account, while the plan has it, until it is revoked."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_limiter.util import get_qualified_name
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import database
from accounts import api_keys
from accounts.models import Membership, User
from app import create_app
from billing.models import Subscription
from extensions import db, limiter
from mail.models import Email
from tests.api.programs import PAGE, Program, keys_of, make_key, revoke, secret_on, send_form
from tests.billing.forms import hidden_fields
from tests.persons import Person, csrf_token, post, sign_up
from tests.plans import lapse, open_plan
from tests.reports.buying import ONE_PAGE, call_api, give_credits
from tests.team import teams
from tests.web.documents import Document
from tests.worlds import Clock
from web import api_access, gates, logging


@pytest.fixture
def ann(app: Flask) -> Person:
    """Somebody whose plan has the API, with credits; not the first person of the site, nor of the first account."""
    sign_up(app, "somebody@example.com")
    person = sign_up(app)
    open_plan(person)
    give_credits(app, person, 10)
    return person


def words(person: Person) -> str:
    return Document(person.client.get(PAGE).text).all("main")[0].words


def without_names(problem: Any) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}


def test_a_secret_is_shown_once_and_kept_nowhere(app: Flask, ann: Person, capsys: pytest.CaptureFixture[str]) -> None:
    made = send_form(ann)
    secret = secret_on(made)
    assert secret is not None
    assert len(secret) == len("tg_live_") + 64, "256 bits"
    assert made.headers["Cache-Control"] == "no-store"
    assert Program(app, secret).get().status_code == 200
    [kept] = keys_of(ann)
    assert kept.prefix == secret[:14]
    listed = ann.client.get(PAGE).text
    assert kept.prefix in listed
    assert secret not in listed
    with app.app_context():
        [told] = db.session.scalars(sa.select(Email).where(Email.template == "api_key_made"))
        assert told.to_address == ann.email
        stored = [str(value) for row in (kept, told) for value in vars(row).values()]
    assert not any(secret[14:] in value for value in stored)
    assert secret[14:] not in capsys.readouterr().err, "a secret was logged"
    assert logging.redacted(f"refused {secret}") == f"refused {logging.REDACTED}"


def test_a_form_sent_twice_makes_one_key_and_shows_no_second_secret(ann: Person) -> None:
    again = send_form(ann, times=2)
    assert (again.status_code, secret_on(again)) == (303, None)
    assert len(keys_of(ann)) == 1
    assert "made its key already" in ann.client.get(PAGE).text


@pytest.mark.parametrize(("name", "said"), [("", "Give the key a name"), ("n" * 61, "at most 60 characters")])
def test_a_key_without_a_fitting_name_is_not_made(ann: Person, name: str, said: str) -> None:
    refused = send_form(ann, name)
    assert refused.status_code == 422
    assert said in refused.text
    assert keys_of(ann) == []


def test_a_name_cannot_turn_the_text_around_it(ann: Person) -> None:
    send_form(ann, "Nightly \u202etropmi")
    assert [key.name for key in keys_of(ann)] == ["Nightly tropmi"]


def test_an_account_has_so_many_keys_at_most(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_LIVE", 1)
    make_key(ann)
    refused = send_form(ann, "One more")
    assert (refused.status_code, len(keys_of(ann))) == (422, 1)
    assert "Revoke one that is not used any more." in refused.text
    revoke(ann, keys_of(ann)[0])
    assert make_key(ann, "One more").get().status_code == 200


def test_forms_sent_at_once_take_turns_at_the_last_place(
    app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST_LIVE", 2)

    def make(number: int) -> bool:
        maker, secret = (ann.account_id, ann.user_id, f"Key {number}"), api_keys.new_secret()
        with app.app_context():
            try:
                return database.write(api_keys.make, *maker, secret=secret, key=f"form {number}") is not None
            except api_keys.TooManyKeys:
                return False

    with ThreadPoolExecutor(6) as forms:
        assert sum(forms.map(make, range(6))) == 2
    assert len(keys_of(ann)) == 2


def test_a_program_does_what_its_account_may_and_pays_with_its_credits(ann: Person) -> None:
    program = make_key(ann)
    standing = program.get().get_json()
    assert (standing["credits"], standing["plan"]) == (10, {"key": "team", "name": "Team"})
    assert standing["period_ends_at"].endswith("+00:00")
    first, second = (program.post("/api/v1/cv", {"text": ONE_PAGE}) for _ in range(2))
    assert (first.status_code, second.get_json()) == (201, first.get_json())
    assert ann.balance() == 9, "the same Idempotency-Key was charged twice"
    assert program.get(first.headers["Location"]).get_json() == first.get_json()
    assert [row["id"] for row in program.get("/api/v1/cv").get_json()["reports"]] == [first.get_json()["id"]]


def test_a_key_reaches_nothing_of_another_account(app: Flask, ann: Person) -> None:
    bob = sign_up(app, "bob@example.com")
    open_plan(bob)
    program, of_bob = make_key(ann), make_key(bob)
    address = program.post("/api/v1/cv", {"text": ONE_PAGE}).headers["Location"]
    assert of_bob.get(address).status_code == 404
    assert of_bob.get("/api/v1/cv").get_json() == {"reports": []}
    # The same Idempotency-Key of another account is another request.
    assert of_bob.post("/api/v1/cv", {"text": ONE_PAGE}).headers["Location"] != address
    assert revoke(bob, keys_of(ann)[0]).status_code == 404
    assert program.get().status_code == 200
    assert keys_of(ann)[0].prefix not in bob.client.get(PAGE).text


def test_a_revoked_key_is_refused_from_that_moment_on_and_looks_like_an_unknown_one(app: Flask, ann: Person) -> None:
    program, other = make_key(ann), make_key(ann, "Another")
    assert program.get().status_code == 200
    for _ in range(2):
        assert revoke(ann, keys_of(ann)[0]).status_code == 303
    refused = [Program(app, secret).get() for secret in (program.secret, api_keys.new_secret(), "nonsense", "")]
    for answer in refused:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'
        assert without_names(answer.get_json()) == without_names(refused[0].get_json())
    assert other.get().status_code == 200
    page = ann.client.get(PAGE).text
    assert "Nightly import is revoked. Whatever uses it is refused from now on." in page
    assert "Revoked" in page


@pytest.mark.parametrize("loss", ["disabled", "no longer an admin", "no longer a member"])
def test_a_key_ends_with_the_right_of_who_made_it(app: Flask, ann: Person, loss: str) -> None:
    program = make_key(ann)
    mine = Membership.user_id == ann.user_id
    change = {
        "disabled": sa.update(User).where(User.id == ann.user_id).values(active=False),
        "no longer an admin": sa.update(Membership).where(mine).values(role="member"),
        "no longer a member": sa.delete(Membership).where(mine),
    }[loss]
    with app.app_context():
        database.write(lambda session: session.execute(change))
    assert program.get().get_json()["type"].endswith("/problems/key-refused")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_may_be_written_in_any_way(ann: Person, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {make_key(ann).secret}"}
    assert ann.app.test_client().get("/api/v1/balance", headers=headers).status_code == 200


def test_without_a_key_a_program_is_told_how_to_sign_in(app: Flask) -> None:
    for answer in (app.test_client().get("/api/v1/balance"), app.test_client().post("/api/v1/cv", json={})):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
        assert answer.get_json()["type"].endswith("/problems/login-required")


def test_with_a_key_no_cookie_counts(app: Flask, ann: Person) -> None:
    wrong = {"Authorization": f"Bearer {api_keys.new_secret()}", "Idempotency-Key": "a-key-of-the-test"}
    assert ann.client.get("/api/v1/balance").status_code == 200
    assert ann.client.get("/api/v1/balance", headers=wrong).status_code == 401
    assert ann.client.post("/api/v1/cv", json={"text": ONE_PAGE}, headers=wrong).status_code == 401
    bob = sign_up(app, "bob@example.com")
    right = {"Authorization": f"Bearer {make_key(ann).secret}"}
    assert bob.client.get("/api/v1/balance", headers=right).get_json()["credits"] == 10


def test_a_password_for_a_proxy_in_front_neither_signs_in_nor_out(ann: Person) -> None:
    basic = {"Authorization": "Basic YW5uOnNlY3JldA=="}
    assert ann.client.get("/api/v1/balance", headers=basic).status_code == 200
    assert ann.client.post("/api/v1/cv", json={}, headers=basic).status_code == 400, "no CSRF token"
    refused = ann.app.test_client().get("/api/v1/balance", headers=basic)
    assert refused.get_json()["type"].endswith("/problems/login-required")


def test_a_key_opens_no_page(app: Flask, ann: Person) -> None:
    headers = {"Authorization": f"Bearer {make_key(ann).secret}"}
    for path in ("/dashboard", PAGE):
        assert app.test_client().get(path, headers=headers).location.startswith("/login")


def test_the_cookie_of_a_browser_does_not_open_the_api_to_other_sites(ann: Person) -> None:
    body, key = {"text": ONE_PAGE}, {"Idempotency-Key": "a-key-of-the-test"}
    for site in ("cross-site", "same-site"):
        headers = {**key, "X-CSRFToken": csrf_token(ann.client), "Sec-Fetch-Site": site}
        assert ann.client.post("/api/v1/cv", json=body, headers=headers).status_code == 403
    without_token = ann.client.post("/api/v1/cv", json=body, headers={**key, "Sec-Fetch-Site": "same-origin"})
    assert without_token.status_code == 400
    assert ann.balance() == 10
    assert call_api(ann, body).status_code == 201


def test_a_plan_that_ends_closes_the_api_at_once_and_says_how_to_open_it(ann: Person) -> None:
    program = make_key(ann)
    lapse(ann)
    refused = program.post("/api/v1/cv", {"text": ONE_PAGE})
    problem = refused.get_json()
    assert (refused.status_code, problem["type"]) == (403, "http://127.0.0.1:5000/problems/api-closed")
    assert (problem["plans"], problem["solve_at"]) == (["team"], "http://127.0.0.1:5000/pricing")
    assert "the API comes with Team" in problem["detail"]
    assert ann.balance() == 10
    assert "Your live key is refused because the plan does not hold the API" in words(ann)
    assert "Make the key" not in words(ann)
    open_plan_again(ann)
    assert program.get().status_code == 200


def open_plan_again(person: Person) -> None:
    with person.app.app_context():
        back = sa.update(Subscription).where(Subscription.account_id == person.account_id)
        database.write(lambda session: session.execute(back.values(stripe_status="active", is_primary=True)))


def test_keys_can_be_revoked_after_the_plan_has_ended(ann: Person) -> None:
    make_key(ann)
    lapse(ann)
    assert revoke(ann, keys_of(ann)[0]).status_code == 303
    assert keys_of(ann)[0].revoked_at is not None


def test_who_lacks_the_plan_is_told_which_one_has_it(app: Flask) -> None:
    bob = sign_up(app, "bob@example.com")
    assert "The API comes with Team" in words(bob)
    refused = post(bob.client, PAGE, name="Nightly import")
    assert refused.status_code == 402
    assert "API comes with Team." in refused.text
    assert keys_of(bob) == []


def test_the_last_use_is_noted_at_most_once_a_minute(ann: Person, clock: Clock) -> None:
    program = make_key(ann)
    assert keys_of(ann)[0].last_used_at is None
    noted = []
    for seconds in (0, 30, 31, 10):
        clock.advance(seconds=seconds)
        assert program.get().status_code == 200
        noted.append(keys_of(ann)[0].last_used_at)
    assert noted[0] is not None
    assert noted[0] == noted[1] < noted[2] == noted[3]
    with ann.app.app_context():
        database.write(api_keys.touch, keys_of(ann)[0].id)
    assert keys_of(ann)[0].last_used_at == noted[3], "another process has noted it just now"


def test_a_note_that_fails_fails_no_request(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_session: Session, _key_id: int) -> None:
        raise OperationalError("UPDATE api_keys", {}, Exception("disk full"))

    program = make_key(ann)
    monkeypatch.setattr(api_keys, "touch", fail)
    assert program.get().status_code == 200
    assert keys_of(ann)[0].last_used_at is None


def test_live_keys_stand_first_and_the_newest_of_them(ann: Person) -> None:
    for name in ("One", "Two", "Three", "Four"):
        make_key(ann, name)
    for key in keys_of(ann)[:2]:
        revoke(ann, key)
    shown = words(ann)
    places = [shown.index(f"{name} tg_live_") for name in ("Four", "Three", "Two", "One")]
    assert places == sorted(places)
    assert shown.count(f"by {ann.email}") == 4


def test_each_key_has_its_own_limit_of_requests(ann: Person) -> None:
    program, other = make_key(ann), make_key(ann, "Another")
    assert {program.get().status_code for _ in range(api_access.PER_MINUTE)} == {200}
    refused = program.get("/api/v1/cv")
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert other.get().status_code == 200
    for person in (ann, sign_up(ann.app, "bob@example.com")):
        answer = person.client.get("/api/v1/balance")
        assert answer.headers["X-RateLimit-Remaining"] == str(api_access.PER_MINUTE - 1), "a limit of one's own"


def test_every_view_of_the_api_is_limited_and_closed(app: Flask) -> None:
    with app.app_context():
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith(api_access.PATH):
                name = get_qualified_name(app.view_functions[rule.endpoint])
                assert limiter.limit_manager.decorated_limits(name), (
                    f"{rule.rule}: put @api_access.limited below its gate"
                )
                assert gates.demands_of(rule.endpoint).login, rule.rule


def test_without_the_feature_on_sale_there_are_no_pages_of_it(app: Flask, ann: Person, tmp_path: Path) -> None:
    assert PAGE in ann.client.get("/dashboard").text
    path = tmp_path / "catalog.toml"
    path.write_text('[costs]\ncv_page = 1\n[plans.free]\nname = "Free"\n')
    other = create_app(replace(app.config["TOLLGATE"], catalog=str(path)))
    browser = sign_up(other, "carol@example.com").client
    assert browser.get(PAGE).status_code == 404
    assert PAGE not in browser.get("/dashboard").text
    with other.app_context():
        db.engine.dispose()


def test_mails_about_keys_hold_no_secret(ann: Person) -> None:
    make_key(ann)
    with ann.app.app_context():
        [mail] = db.session.scalars(sa.select(Email).where(Email.template == "api_key_made"))
        assert set(json.loads(mail.context)) == {"name", "prefix", "made_by"}


def test_a_key_that_an_admin_made_acts_for_the_account_and_not_for_the_admin(app: Flask, ann: Person) -> None:
    bob, secret = sign_up(app, "bob@example.com"), api_keys.new_secret()

    def appoint(session: Session) -> None:
        session.add(Membership(account_id=ann.account_id, user_id=bob.user_id, role="admin"))
        session.flush()
        api_keys.make(session, ann.account_id, bob.user_id, "Nightly", secret=secret, key="made-up")

    with app.app_context():
        database.write(appoint)
    program = Program(app, secret)
    assert program.get().get_json()["credits"] == 10
    assert program.post("/api/v1/cv", {"text": ONE_PAGE}).status_code == 201
    assert (ann.balance(), bob.balance()) == (9, 3)


def test_a_team_makes_and_revokes_its_keys_together_and_members_have_no_part_in_it(app: Flask, ann: Person) -> None:
    bob, cleo = teams.joined(ann), teams.joined(ann, "cleo@example.com", "admin")
    fields = hidden_fields(cleo.client.get(PAGE).text, PAGE)
    program = make_key(cleo)
    [kept] = keys_of(ann)
    assert kept.created_by == cleo.user_id
    assert f"by {cleo.email}" in words(ann)
    with app.app_context():
        told = db.session.scalars(sa.select(Email.to_address).where(Email.template == "api_key_made")).all()
        assert told == [ann.email], "the owner hears of it"
    assert bob.client.get(PAGE).status_code == 403
    assert PAGE not in bob.client.get("/dashboard").text
    assert post(bob.client, PAGE, _idem=fields["_idem"], name="Mine").status_code == 403
    assert revoke(bob, kept).status_code == 403
    assert program.get().status_code == 200
    assert revoke(ann, kept).status_code == 303
    assert program.get().status_code == 401
    assert len(keys_of(ann)) == 1
