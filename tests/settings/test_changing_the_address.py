"""Another e-mail address: nothing changes until whoever reads the new mailbox confirms it, and then all of it does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from flask import Flask
from playwright.sync_api import expect
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import database
from accounts import ownership, people
from accounts.models import Account, User
from billing import address_errands, customers, trials
from billing.purchase_tables import LinkPurchase
from extensions import db, limiter
from ledger import invariants
from mail import outbox
from mail.models import Email
from stripe_sandbox.faults import ApiFault
from tests.auth import mailbox
from tests.auth.test_giving_the_password_again import LONG, give_password, with_password
from tests.auth.test_sessions import PASSWORD
from tests.billing.forms import open_form, send, submit
from tests.billing.subscribers import subscriber
from tests.billing.test_payment_links import buy
from tests.persons import Person, csrf_token, log_in_again, post, sign_up
from tests.team import teams
from tests.web.conftest import OpenPage, open_page, site
from tests.web.test_pages_in_a_browser import assert_accessible
from tests.worlds import Clock, Stripe

__all__ = ["open_page", "site"]

OLD, NEW = "ann@example.com", "ann@new.example"
ASK, PAGE = "/settings/email", "/settings"
JOINED = {"joined": "bob@example.com", "team": "ann", "role": "member"}


@pytest.fixture
def ann(app: Flask) -> Person:
    """A person with a password."""
    return with_password(sign_up(app))


def ask(person: Person, email: str = NEW) -> TestResponse:
    return submit(person, ASK, ASK, email=email)


def link(app: Flask) -> str:
    return mailbox.link(app, f"{ASK}/")


def confirm(person: Person, where: str) -> TestResponse:
    return submit(person, where, where)


def change(person: Person, email: str = NEW) -> None:
    """Ask for another address and confirm it."""
    assert ask(person, email).status_code == 303
    assert confirm(person, link(person.app)).location == PAGE


def address(person: Person) -> str:
    with person.app.app_context():
        return db.session.get_one(User, person.user_id).email


def log_in(app: Flask, email: str) -> int:
    return post(app.test_client(), "/login", email=email, password=PASSWORD).status_code


def another_browser(person: Person) -> Person:
    other = Person(person.app, person.app.test_client(), person.user_id, person.account_id, person.email)
    log_in_again(other)
    return other


def mails(app: Flask) -> list[tuple[str, str]]:
    return [(letter["To"], letter["Subject"]) for letter in mailbox.letters(app)]


def test_an_address_changes_by_the_link_in_the_new_mailbox(app: Flask, ann: Person) -> None:
    other = another_browser(ann)
    post(app.test_client(), "/password/forgot", email=OLD)
    reset = mailbox.link(app, "/password/reset/")
    answer = ask(ann)
    assert (answer.status_code, answer.location) == (303, PAGE)
    page = teams.page(ann, PAGE)
    assert f"We have sent a link to {NEW}" in page
    assert page.index(OLD) < page.index(NEW) < page.index("Not confirmed")
    assert mails(app)[1:] == [
        (NEW, "Confirm your new address for Tollgate"),
        (OLD, "Your address for Tollgate is to change"),
    ]
    assert NEW in mailbox.text(mailbox.letters(app)[-1])
    where = link(app)
    looked = ann.client.get(where)
    assert (looked.status_code, looked.headers["Cache-Control"]) == (200, "no-store")
    assert (address(ann), log_in(app, NEW), other.client.get(PAGE).status_code) == (OLD, 401, 200)
    assert confirm(ann, where).location == PAGE
    assert f"{NEW} is your address now." in teams.page(ann, PAGE)
    assert (log_in(app, OLD), log_in(app, NEW)) == (401, 303)
    assert other.client.get(PAGE).status_code == 303, "other browsers are logged out"
    assert app.test_client().get(reset).status_code == 410, "what the old mailbox holds opens nothing"
    assert mails(app)[-1] == (OLD, "Your address for Tollgate was changed")
    assert teams.log(ann)[-1] == (OLD, "person.email_changed")
    with app.app_context():
        assert people.get_account(db.session(), ann.account_id).name == "ann"
        assert invariants.violations(db.session()) == []


def test_mails_leave_through_the_outbox_and_each_once(app: Flask, ann: Person) -> None:
    change(ann)
    with app.app_context():
        outbox.send_due()
        left = db.session.execute(
            select(Email.template, Email.to_address).where(Email.status == "kept").order_by(Email.id)
        ).all()
    # The link was used before its mail left: it would lead nowhere, and is not sent.
    assert [tuple(row) for row in left] == [("email_change_asked", OLD), ("email_changed", OLD)]


def test_a_link_sent_twice_or_opened_again_has_changed_it_once(app: Flask, ann: Person) -> None:
    ask(ann)
    where = link(app)
    form = open_form(ann, where, where)
    assert [send(ann, where, form).location for _ in range(2)] == [PAGE, PAGE]
    assert ann.client.get(where).location == PAGE
    assert [action for _, action in teams.log(ann)] == ["person.email_changed"]
    change(ann, OLD)
    assert ann.client.get(where).status_code == 410, "it does not change it back"
    assert address(ann) == OLD


@pytest.mark.parametrize("email", ["", "no address", OLD])
def test_what_is_no_new_address_is_refused(app: Flask, ann: Person, email: str) -> None:
    answer = ask(ann, email)
    assert answer.status_code == 422
    assert "<title>Error: " in answer.text
    assert mails(app) == []


def test_a_taken_address_is_answered_like_any_other_and_its_owner_is_told(app: Flask, ann: Person) -> None:
    bob = sign_up(app, "bob@example.com")
    free, taken = ask(ann, "nobody@example.com"), ask(ann, "Bob@example.com")
    assert (free.status_code, free.location) == (taken.status_code, taken.location)
    page = teams.page(ann, PAGE)
    assert "We have sent a link to Bob@example.com" in page
    letters = [letter for letter in mailbox.letters(app) if letter["To"] == "bob@example.com"]
    assert [letter["Subject"] for letter in letters] == ["You already have an account at Tollgate"]
    assert f"{ASK}/" not in mailbox.text(letters[0])
    assert (address(ann), address(bob)) == (OLD, "bob@example.com")


def test_only_the_person_who_asked_can_use_the_link(app: Flask, ann: Person) -> None:
    ask(ann)
    where = link(app)
    stranger = app.test_client()
    looked = stranger.get(where)
    assert (looked.status_code, looked.location.partition("?")[0]) == (303, "/login")
    back = post(stranger, looked.location, email=OLD, password=PASSWORD)
    assert back.location == where
    eve = sign_up(app, "eve@example.com")
    assert eve.client.get(where).status_code == 410
    assert post(eve.client, where).status_code == 410
    assert (address(ann), address(eve)) == (OLD, "eve@example.com")
    assert ann.client.get(f"{where}x").status_code == 410


def test_a_wish_is_taken_back_replaced_or_forgotten_after_a_day(app: Flask, ann: Person, clock: Clock) -> None:
    ask(ann)
    first = link(app)
    assert submit(ann, PAGE, f"{ASK}/cancel").location == PAGE
    assert "Not confirmed" not in teams.page(ann, PAGE)
    assert ann.client.get(first).status_code == 410
    ask(ann, "one@new.example")
    second = link(app)
    ask(ann, "two@new.example")
    assert ann.client.get(second).status_code == 410
    third = link(app)
    assert ann.client.get(third).status_code == 200
    clock.advance(hours=24)
    log_in_again(ann)
    assert ann.client.get(third).status_code == 410
    assert "Not confirmed" not in teams.page(ann, PAGE)
    assert address(ann) == OLD
    assert ask(ann).status_code == 303


def test_the_link_is_sent_again_and_not_for_ever(app: Flask, ann: Person, clock: Clock) -> None:
    ask(ann)
    for _ in range(10):
        clock.advance(minutes=1)
        limiter.reset()  # from another network
        assert submit(ann, PAGE, f"{ASK}/resend").status_code == 303
    with app.app_context():
        sent = db.session.scalar(select(func.count()).where(Email.to_address == NEW))
    assert sent == 6, "an hour takes six mails to one address"
    assert confirm(ann, link(app)).location == PAGE
    assert post(ann.client, f"{ASK}/resend").status_code == 303
    assert "There is no change of address to confirm." in teams.page(ann, PAGE)


def test_a_form_sent_twice_asks_once(app: Flask, ann: Person) -> None:
    form = {**open_form(ann, ASK, ASK), "email": NEW}
    assert [send(ann, ASK, form).status_code for _ in range(2)] == [303, 303]
    assert len(mails(app)) == 2


def test_it_asks_for_the_password_when_it_was_given_long_ago(app: Flask, ann: Person, clock: Clock) -> None:
    form = {**open_form(ann, ASK, ASK), "email": NEW}
    clock.advance(seconds=LONG)
    looked = ann.client.get(ASK)
    assert looked.location == f"/password/confirm?next={ASK}"
    assert send(ann, ASK, form).status_code == 403
    assert mails(app) == []
    assert give_password(ann, looked.location).location == ASK
    assert ask(ann).status_code == 303


def test_another_spelling_of_ones_own_address_is_a_change_too(app: Flask, ann: Person) -> None:
    change(ann, "Ann@Example.com")
    assert address(ann) == "Ann@example.com"
    assert log_in(app, OLD) == 303


# At once --------------------------------------------------------------------------------------------------------------


def at_once(app: Flask, *acts: Callable[[], object]) -> None:
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        gate.wait()
        act()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def same_person(person: Person) -> Person:
    """Return another tab of the same browser."""
    tab = Person(person.app, person.app.test_client(), person.user_id, person.account_id, person.email)
    cookie = person.client.get_cookie("session")
    assert cookie is not None
    tab.client.set_cookie("session", cookie.value)
    return tab


def test_of_many_clicks_at_once_one_changes_it(app: Flask, ann: Person) -> None:
    ask(ann)
    where = link(app)
    form, statuses = open_form(ann, where, where), []
    tabs = [same_person(ann) for _ in range(6)]
    at_once(app, *[lambda tab=tab: statuses.append(send(tab, where, form).status_code) for tab in tabs])  # type: ignore[misc]
    assert statuses == [303] * 6
    assert [action for _, action in teams.log(ann)] == ["person.email_changed"]
    assert mails(app)[-1] == (OLD, "Your address for Tollgate was changed")


def test_of_a_change_and_a_sign_up_with_one_address_one_wins(app: Flask, ann: Person) -> None:
    for number in range(4):
        limiter.reset()
        email = f"both{number}@new.example"
        newcomer = app.test_client()
        post(newcomer, "/register", email=email, password=PASSWORD)
        sign_up_link = mailbox.link(app, "/verify/")
        ask(ann, email)
        change_link = link(app)
        before = address(ann)
        form = open_form(ann, change_link, change_link)
        fields = {"csrf_token": csrf_token(newcomer)}
        at_once(
            app,
            lambda: send(ann, change_link, form),  # noqa: B023 - both end before the next round
            lambda: newcomer.post(sign_up_link, data=fields),  # noqa: B023
        )
        with app.app_context():
            owner = people.find_user(db.session(), email)
            assert owner is not None
        assert address(ann) == (email if owner.id == ann.user_id else before)
        with app.app_context():
            keys = select(User.email_key).group_by(User.email_key).having(func.count() > 1)
            assert db.session.scalars(keys).all() == []


def test_an_address_that_was_taken_meanwhile_is_said_to_be(app: Flask, ann: Person) -> None:
    ask(ann)
    where = link(app)
    form = open_form(ann, where, where)
    sign_up(app, NEW)
    assert send(ann, where, form).location == PAGE
    page = teams.page(ann, PAGE)
    assert f"Meanwhile {NEW} has become the address of another account" in page
    assert "Not confirmed" not in page
    assert address(ann) == OLD


def test_a_sign_up_that_waits_for_the_address_finds_it_taken(app: Flask, ann: Person) -> None:
    newcomer = app.test_client()
    post(newcomer, "/register", email=NEW, password="quite another password")
    waiting = mailbox.link(app, "/verify/")
    change(ann)
    assert post(newcomer, waiting).location == "/login"
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1
    assert log_in(app, NEW) == 303


# What hangs on an address ---------------------------------------------------------------------------------------------


def test_stripe_hears_of_it_for_every_account_that_is_billed_to_the_person(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = with_password(subscriber(stripe, "team_monthly"))
    customer = stripe.sandbox_object("customer")["id"]
    stripe.sandbox.faults.api.append(ApiFault("500", remaining=9, path="/v1/customers"))
    change(ann)
    stripe.inside(address_errands.carry_out_due)
    stripe.sandbox.faults.api.clear()
    assert stripe.api.v1.customers.retrieve(customer).email == OLD
    clock.advance(hours=1)
    log_in_again(ann)
    change(ann, "ann@third.example")
    assert stripe.inside(address_errands.carry_out_due) == 1, "two changes need one request"
    assert stripe.api.v1.customers.retrieve(customer).email == "ann@third.example"
    assert stripe.inside(address_errands.carry_out_due) == 0
    teams.joined(ann)
    with app.app_context():
        database.write(ownership.hand_over, ann.account_id, "bob@example.com", actor="ann@third.example", key="k")
    bob = Person(app, app.test_client(), _user_id(app, "bob@example.com"), ann.account_id, "bob@example.com")
    log_in_again(bob)
    change(bob, "bob@new.example")
    stripe.inside(address_errands.carry_out_due)
    assert stripe.api.v1.customers.retrieve(customer).email == "bob@new.example"


def _user_id(app: Flask, email: str) -> int:
    with app.app_context():
        found = people.find_user(db.session(), email)
        assert found is not None
        return found.id


def test_a_customer_that_is_made_in_the_moment_of_a_change_gets_the_new_address(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch, ann: Person
) -> None:
    ask(ann)
    where = link(app)
    create = customers.gateway.create_customer

    def slow(*args: object, **options: object) -> object:
        made = create(*args, **options)  # type: ignore[arg-type]
        assert confirm(ann, where).status_code == 303
        return made

    monkeypatch.setattr(customers.gateway, "create_customer", slow)
    stripe.inside(customers.ensure, ann.account_id)
    assert stripe.sandbox_object("customer")["email"] == OLD
    stripe.inside(address_errands.carry_out_due)
    assert stripe.sandbox_object("customer")["email"] == NEW


def test_a_worker_that_dies_under_way_is_followed_by_another(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_password(subscriber(stripe))
    change(ann)
    with app.app_context():
        assert database.write(address_errands._claim) is not None
        assert address_errands.carry_out_due() == 0, "whoever holds it may still be talking to Stripe"
        clock.advance(seconds=address_errands.LEASE.total_seconds())
        assert address_errands.carry_out_due() == 1
    assert stripe.sandbox_object("customer")["email"] == NEW


def test_a_customer_that_stripe_does_not_know_is_no_endless_errand(app: Flask, stripe: Stripe) -> None:
    ann = with_password(subscriber(stripe))
    with app.app_context():
        database.write(_lose_customer, ann.account_id)
    stripe.expect_violation("cus_lost")
    change(ann)
    assert [stripe.inside(address_errands.carry_out_due) for _ in range(2)] == [1, 0]


def _lose_customer(session: Session, account_id: int) -> None:
    session.execute(update(Account).where(Account.id == account_id).values(stripe_customer_id="cus_lost"))


def test_a_change_brings_no_second_trial(app: Flask, stripe: Stripe) -> None:
    ann = with_password(sign_up(app))
    with app.app_context():
        database.write(_use_trial, ann.account_id)
    change(ann)
    again = sign_up(app, OLD)
    with app.app_context():
        assert trials.has_used(db.session(), ann.account_id), "the account has had its trial"
        assert trials.has_used(db.session(), again.account_id), "and so has the address"


def _use_trial(session: Session, account_id: int) -> None:
    for key in trials._keys_of_account(session, account_id):
        trials._remember(session, key, account_id, "sub_1")


def test_what_was_paid_with_the_new_address_comes_with_it_and_with_the_old_one_stays(
    app: Flask, stripe: Stripe
) -> None:
    ann = with_password(sign_up(app))
    before = ann.balance()
    buy(app, stripe, NEW)
    stripe.settle()
    assert ann.balance() == before
    ask(ann)
    assert ann.balance() == before, "an address that was only typed opens nothing"
    assert confirm(ann, link(app)).status_code == 303
    assert ann.balance() == before + 30
    buy(app, stripe, OLD)
    stripe.settle()
    assert ann.balance() == before + 30, "what is paid with an address that was given up waits for its next owner"
    assert sign_up(app, OLD).balance() == 30, "and brings no second free month"
    with app.app_context():
        assert db.session.scalar(select(func.count()).where(LinkPurchase.account_id.is_(None))) == 0
        assert invariants.violations(db.session()) == []


def test_invitations_follow_the_address_they_are_for(app: Flask) -> None:
    boss = teams.owner(app, "boss@example.com")
    ann = with_password(sign_up(app))
    teams.invited(boss, OLD)
    change(ann)
    assert "boss@example.com invites you" not in teams.page(ann, "/accounts")
    teams.invited(boss, NEW)
    assert "boss@example.com" in teams.page(ann, "/accounts")


def test_a_member_stays_in_the_team_and_mails_that_wait_go_to_the_new_address(app: Flask) -> None:
    ann = with_password(teams.owner(app))
    bob = with_password(teams.joined(ann))
    with app.app_context():
        database.write(
            outbox.queue, "team_joined", to=OLD, context=JOINED, dedupe_key="made-up", account_id=ann.account_id
        )
    change(ann)
    change(bob, "bob@new.example")
    assert teams.members(ann) == {NEW: "owner", "bob@new.example": "member"}
    with app.app_context():
        assert db.session.scalar(select(Email.to_address).where(Email.dedupe_key == "made-up")) == NEW


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_without_script_somebody_changes_their_address(app: Flask, ann: Person, open_page: OpenPage) -> None:
    page = open_page("/dashboard", person=ann, script=False)
    page.locator(".menu summary").click()
    page.locator(".menu").get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="Change your e-mail address").click()
    page.get_by_label("New e-mail address").fill("nonsense")
    page.get_by_role("button", name="Send me the link").click()
    expect(page.get_by_role("heading", name="One thing needs your attention")).to_be_visible()
    page.get_by_label("New e-mail address").fill(NEW)
    page.get_by_role("button", name="Send me the link").click()
    expect(page.get_by_role("status")).to_contain_text(f"We have sent a link to {NEW}")
    page.goto(link(app))
    page.get_by_role("button", name="Make it my address").click()
    expect(page.get_by_role("status")).to_contain_text(f"{NEW} is your address now")


@pytest.mark.browser
def test_its_pages_are_accessible_and_narrow(app: Flask, ann: Person, open_page: OpenPage) -> None:
    ask(ann)
    for path in (PAGE, ASK, link(app)):
        page = open_page(path, person=ann, width=390)
        assert_accessible(page, path)
        for width in (390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
