"""Dangerous actions ask for the password again when it was given long ago, and lead back to where somebody was."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import expect
from werkzeug.test import TestResponse

import database
from accounts import passwords, people
from accounts.login_tries import FREE
from accounts.sessions import RECENT
from extensions import limiter
from tests.admin.conftest import office
from tests.admin.office import Office
from tests.api.programs import PAGE, keys_of, make_key, secret_on
from tests.auth.test_sessions import PASSWORD
from tests.billing.forms import hidden_fields, open_form, send, submit
from tests.persons import Person, log_in_again, post, sign_up
from tests.team import teams
from tests.web.conftest import OpenPage, open_page, site
from tests.web.test_pages_in_a_browser import assert_accessible
from tests.worlds import Clock

__all__ = ["office", "open_page", "site"]

LONG = RECENT.total_seconds()
CONFIRM = "/password/confirm"


def with_password(person: Person) -> Person:
    """Give a person a password, and leave their sessions as they are."""
    with person.app.app_context():
        database.write(people.store_rehash, person.user_id, passwords.hashed(PASSWORD))
    return person


def give_password(person: Person, to: str, password: str = PASSWORD) -> TestResponse:
    """Follow the link to the question, and answer it."""
    return post(person.client, to, password=password)


@pytest.fixture
def ann(app: Flask) -> Person:
    """The owner of a plan with everything, who has a password."""
    return with_password(teams.owner(app))


def test_a_new_key_asks_for_the_password_when_it_was_given_long_ago(ann: Person, clock: Clock) -> None:
    clock.advance(seconds=LONG - 60)
    assert "Make the key" in teams.page(ann, PAGE)
    clock.advance(seconds=60)
    page = teams.page(ann, PAGE)
    assert "Make the key" not in page
    question = f"{CONFIRM}?next={PAGE}"
    assert question in page
    refused = give_password(ann, question, "not the password")
    assert (refused.status_code, "This is not your password." in refused.text) == (422, True)
    assert "Make the key" not in teams.page(ann, PAGE)
    answer = give_password(ann, question)
    assert (answer.status_code, answer.location) == (303, PAGE)
    assert make_key(ann).get().status_code == 200
    clock.advance(seconds=LONG)
    assert "Make the key" not in teams.page(ann, PAGE)


def test_a_form_that_was_open_for_too_long_does_nothing_and_is_not_lost(ann: Person, clock: Clock) -> None:
    form = {**hidden_fields(ann.client.get(PAGE).text, PAGE), "name": "Nightly"}
    clock.advance(seconds=LONG)
    headers = {"Sec-Fetch-Site": "same-origin", "Referer": f"http://localhost{PAGE}"}
    refused = ann.client.post(PAGE, data=form, headers=headers)
    assert refused.status_code == 403
    assert "Give your password again" in refused.text
    assert f'href="{CONFIRM}?next={PAGE}"' in refused.text
    assert keys_of(ann) == []
    assert give_password(ann, f"{CONFIRM}?next={PAGE}").location == PAGE
    assert secret_on(send(ann, PAGE, form)) is not None, "the browser's Back still holds what was typed"
    assert [key.name for key in keys_of(ann)] == ["Nightly"]


def test_handing_over_asks_before_the_page_and_before_the_act(ann: Person, clock: Clock) -> None:
    teams.joined(ann)
    form = {**open_form(ann, "/team/owner", "/team/owner"), "email": "bob@example.com"}
    clock.advance(seconds=LONG)
    looked = ann.client.get("/team/owner")
    assert (looked.status_code, looked.location) == (303, f"{CONFIRM}?next=/team/owner")
    assert send(ann, "/team/owner", form).status_code == 403
    assert teams.members(ann)["ann@example.com"] == "owner"
    assert give_password(ann, looked.location).location == "/team/owner"
    assert submit(ann, "/team/owner", "/team/owner", email="bob@example.com").status_code == 303
    assert teams.members(ann)["bob@example.com"] == "owner"


def test_a_refund_asks_before_its_form_and_not_again_after_its_preview(office: Office, clock: Clock) -> None:
    buyer = office.customer()
    charge = office.payment(buyer).stripe_charge_id
    path = f"/admin/payments/{charge}/refund"
    with_password(office.staff)
    clock.advance(seconds=LONG)
    looked = office.staff.client.get(path)
    assert (looked.status_code, looked.location) == (303, f"{CONFIRM}?next={path}")
    assert give_password(office.staff, looked.location).location == path
    clock.advance(seconds=LONG - 60)
    preview = office.preview(buyer, "2.00")
    clock.advance(minutes=5)
    form = hidden_fields(preview.text, f"{path}/confirm")
    assert send(office.staff, f"{path}/confirm", form).status_code == 303
    office.stripe.settle()
    assert [refund.amount_cents for refund in office.refunds()] == [200]


def test_one_browser_is_confirmed_and_not_the_others_of_the_person(ann: Person, clock: Clock) -> None:
    other = Person(ann.app, ann.app.test_client(), ann.user_id, ann.account_id, ann.email)
    log_in_again(other)
    clock.advance(seconds=LONG)
    give_password(ann, CONFIRM)
    assert "Make the key" in teams.page(ann, PAGE)
    assert "Make the key" not in teams.page(other, PAGE)


def test_logging_in_or_setting_a_new_password_is_giving_it(ann: Person, clock: Clock) -> None:
    clock.advance(seconds=LONG)
    new = {"current": PASSWORD, "password": "another horse battery"}
    assert post(ann.client, "/password/change", **new).status_code == 303
    assert "Make the key" in teams.page(ann, PAGE)


def test_the_way_back_leads_to_pages_of_this_site_only(ann: Person) -> None:
    assert give_password(ann, f"{CONFIRM}?next=https://evil.example/").location == "/dashboard"
    assert give_password(ann, f"{CONFIRM}?next=//evil.example/").location == "/dashboard"


def test_whoever_finds_a_browser_open_cannot_guess_on(ann: Person, clock: Clock) -> None:
    clock.advance(seconds=LONG)
    guesses = [give_password(ann, CONFIRM, "a guess") for _ in range(FREE)]
    assert {answer.status_code for answer in guesses} == {422}
    limiter.reset()  # from another network
    answer = give_password(ann, CONFIRM)
    assert (answer.status_code, "Wait a minute" in answer.text) == (429, True)
    assert "Make the key" not in teams.page(ann, PAGE)


def test_nobody_is_asked_for_a_password_in_vain(app: Flask, ann: Person, clock: Clock) -> None:
    bob = teams.joined(ann)
    clock.advance(seconds=LONG)
    headers = {"Accept": "application/json"}
    refused = bob.client.get("/team/owner", headers=headers)
    assert refused.get_json()["type"].endswith("/role-required")
    asked = ann.client.get("/team/owner", headers=headers)
    assert (asked.status_code, asked.get_json()["type"].rpartition("/")[2]) == (403, "password-required")
    free = sign_up(app, "free@example.com")
    clock.advance(seconds=LONG)
    assert send_form_of(free).status_code == 402


def send_form_of(person: Person) -> TestResponse:
    return post(person.client, PAGE, name="Nightly")


@pytest.mark.browser
def test_without_script_somebody_is_asked_and_comes_back(ann: Person, clock: Clock, open_page: OpenPage) -> None:
    teams.joined(ann)
    page = open_page("/team", person=ann, script=False)
    clock.advance(seconds=LONG)
    page.get_by_role("link", name="Hand it over").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Hand ann over")
    page = open_page(CONFIRM, person=ann, width=390)
    assert_accessible(page, CONFIRM)
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
