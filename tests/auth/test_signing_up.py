"""Signing up: from the form over the mail to the page that was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import database
from accounts import people
from accounts.models import Account, Membership, User
from extensions import db
from ledger import statement
from mail.models import Email
from tests.auth import mailbox
from tests.persons import csrf_token, post, sign_up
from tests.worlds import Clock

PASSWORD = "correct horse battery"


def register(client: FlaskClient, email: str = "ann@example.com", password: str = PASSWORD, next: str = "") -> str:  # noqa: A002
    answer = post(client, "/register", email=email, password=password, next=next)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return str(answer.location)


def count(app: Flask, model: type) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_a_new_person_confirms_with_one_click_and_goes_straight_on(app: Flask, client: FlaskClient) -> None:
    assert register(client, next="/billing/order/credits_30") == "/verify"
    assert "ann@example.com" in client.get("/verify").get_data(as_text=True)

    answer = post(client, mailbox.link(app, "/verify/"))

    assert answer.status_code == 303
    assert answer.location == "/billing/order/credits_30"
    assert client.get("/password/change").status_code == 200, "the person is signed in"


def test_the_account_and_the_free_credits_come_with_the_person(app: Flask, client: FlaskClient) -> None:
    register(client)
    post(client, mailbox.link(app, "/verify/"))

    with app.app_context():
        user = people.find_user(db.session(), "ann@example.com")
        assert user is not None
        assert user.is_verified
        account = people.personal_account(db.session(), user.id)
        role = db.session.scalar(select(Membership.role).where(Membership.account_id == account.id))
        assert role == "owner"
        assert people.owner_email(db.session(), account.id) == "ann@example.com"
        free = app.extensions["catalog"].free_plan.credits
        assert statement.balance(db.session(), account.id).total == free


def test_nobody_exists_before_the_address_is_confirmed(app: Flask, client: FlaskClient) -> None:
    register(client)
    assert count(app, User) == 0
    answer = post(client, "/login", email="ann@example.com", password=PASSWORD)
    assert answer.status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_mail_scanner_that_opens_every_link_confirms_nothing(app: Flask, client: FlaskClient, method: str) -> None:
    register(client)
    link = mailbox.link(app, "/verify/")
    for browser in (client, app.test_client()):
        assert browser.open(link, method=method).status_code == 200
    assert count(app, User) == 0
    assert post(client, link).status_code == 303, "the link still works afterwards"


def test_another_browser_has_to_know_the_password(app: Flask, client: FlaskClient) -> None:
    register(client, next="/pricing")
    link = mailbox.link(app, "/verify/")
    phone = app.test_client()

    wrong = post(phone, link, password="not the password")
    assert wrong.status_code == 422
    assert "not the password you signed up with" in wrong.get_data(as_text=True)
    assert post(phone, link).status_code == 422, "without a password nothing happens"
    assert count(app, User) == 0

    right = post(phone, link, password=PASSWORD)
    assert right.status_code == 303
    assert right.location == "/pricing"
    waiting = client.get("/verify")
    assert waiting.status_code == 302
    assert waiting.location == "/login?next=/pricing", "the first browser is sent to log in"


def test_a_stranger_cannot_plant_a_password_on_my_address(app: Flask) -> None:
    attacker, me = app.test_client(), app.test_client()
    register(attacker, "me@example.com", "the attacker's password")
    link = mailbox.link(app, "/verify/")

    assert post(me, link, password="whatever I type").status_code == 422
    assert count(app, User) == 0

    register(me, "me@example.com", "my own password")
    assert post(me, mailbox.link(app, "/verify/")).status_code == 303
    assert (
        post(app.test_client(), "/login", email="me@example.com", password="the attacker's password").status_code == 401
    )
    assert attacker.get(link).status_code == 410, "the other sign-ups of the address are gone"


def test_a_used_link_does_not_sign_anybody_in(app: Flask, client: FlaskClient) -> None:
    register(client)
    link = mailbox.link(app, "/verify/")
    post(client, link)
    thief = app.test_client()
    answer = thief.get(link)
    assert (answer.status_code, answer.location) == (302, "/login")
    assert post(thief, link, password=PASSWORD).location == "/login"
    assert thief.get("/password/change").status_code == 303
    assert count(app, User) == 1


def test_a_link_runs_out_after_a_day(app: Flask, client: FlaskClient, clock: Clock) -> None:
    register(client)
    link = mailbox.link(app, "/verify/")
    clock.advance(hours=23, minutes=59)
    assert client.get(link).status_code == 200
    clock.advance(minutes=2)
    assert client.get(link).status_code == 410
    assert post(client, link).status_code == 410
    assert count(app, User) == 0


@pytest.mark.parametrize("damage", ["", "x", "AAAA.BBBB.CCCC", "%C3%A4", "a" * 3000])
def test_a_damaged_link_says_so(client: FlaskClient, damage: str) -> None:
    answer = client.get(f"/verify/{damage}" if damage else "/verify/.")
    assert answer.status_code == 410
    assert "no longer works" in answer.get_data(as_text=True)


def test_a_reset_link_is_no_confirmation(app: Flask, client: FlaskClient) -> None:
    sign_up(app)
    post(client, "/password/forgot", email="ann@example.com")
    token = mailbox.link(app, "/password/reset/").rpartition("/")[2]
    assert client.get(f"/verify/{token}").status_code == 410


def test_a_known_address_makes_no_second_person_and_its_owner_is_told(app: Flask, client: FlaskClient) -> None:
    sign_up(app, "Ann@example.com")
    register(client, "ANN@example.com", "another password")

    assert count(app, User) == 1
    [letter] = mailbox.letters(app)
    assert letter["To"] == "Ann@example.com", "mail goes to the stored spelling"
    assert letter["Subject"] == "You already have an account at Tollgate"
    assert "/verify/" not in mailbox.text(letter)


@pytest.mark.parametrize("spelling", ["ann@example.com", "ANN@EXAMPLE.COM", " ann@example.com ", "Ann@Example.Com"])
def test_spellings_of_one_address_are_one_person(app: Flask, client: FlaskClient, spelling: str) -> None:
    sign_up(app, "aNN@example.com")
    register(client, spelling)
    [letter] = mailbox.letters(app)
    assert letter["To"] == "aNN@example.com"


def test_the_first_of_two_sign_ups_to_be_confirmed_wins(app: Flask) -> None:
    first, second = app.test_client(), app.test_client()
    register(first, password="the first password")
    link = mailbox.link(app, "/verify/")
    register(second, password="the second password")
    later = mailbox.link(app, "/verify/")
    assert post(first, link).status_code == 303
    assert second.get(later).status_code == 410
    assert count(app, User) == 1


def test_one_sign_up_confirmed_many_times_at_once_makes_one_person(app: Flask, client: FlaskClient) -> None:
    register(client)
    link = mailbox.link(app, "/verify/")
    cookie = client.get_cookie("session", domain="127.0.0.1") or client.get_cookie("session")
    assert cookie is not None
    token = csrf_token(client)
    answers: list[int] = []
    gate = threading.Barrier(8)

    def confirm() -> None:
        copy = app.test_client()
        copy.set_cookie("session", cookie.value)
        gate.wait()
        answers.append(copy.post(link, data={"csrf_token": token}).status_code)

    _all_at_once(confirm, 8)
    assert set(answers) <= {302, 303}
    assert (count(app, User), count(app, Account)) == (1, 1)


def test_two_sign_ups_of_one_address_confirmed_at_once_make_one_person(app: Flask) -> None:
    browsers, links = [app.test_client() for _ in range(4)], []
    for number, browser in enumerate(browsers):
        post(browser, "/register", email="bob@example.com", password=f"horse number {number}")
        links.append(mailbox.link(app, "/verify/"))
    tokens = [csrf_token(browser) for browser in browsers]
    gate = threading.Barrier(4)
    statuses: list[int] = []

    def confirm(number: int) -> None:
        gate.wait()
        statuses.append(browsers[number].post(links[number], data={"csrf_token": tokens[number]}).status_code)

    threads = [threading.Thread(target=confirm, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {303, 410}
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1


def test_the_database_refuses_a_second_person_of_one_address(context: Flask) -> None:
    def make(session: Session) -> None:
        people.create_user(session, email="Ann@example.com", password_hash=None)
        with pytest.raises(people.AddressTaken):
            people.create_user(session, email="ANN@EXAMPLE.COM", password_hash=None)

    database.write(make)


@pytest.fixture
def failing_hook() -> Iterator[None]:
    def fail(_session: Session, _account_id: int) -> None:
        raise RuntimeError("no credits today")

    people.after_account_created(fail)
    yield
    people._account_hooks.remove(fail)


@pytest.mark.usefixtures("failing_hook")
def test_a_person_without_their_credits_is_not_made_at_all(app: Flask, client: FlaskClient) -> None:
    register(client)
    link = mailbox.link(app, "/verify/")
    with pytest.raises(RuntimeError):
        post(client, link)
    assert (count(app, User), count(app, Account)) == (0, 0)
    assert client.get(link).status_code == 200, "the sign-up can be confirmed later"


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 8 characters"),
        ("x" * 129, "at most 128 characters"),
        ("password", "attackers try first"),
        ("Password123!", "attackers try first"),
        ("aaaaaaaaaaaa", "attackers try first"),
        ("ann@example.com", "not your e-mail address"),
        ("Tollgate2026", "not your e-mail address or the name of this site"),
    ],
)
def test_a_weak_password_is_refused_with_what_to_do(client: FlaskClient, password: str, words: str) -> None:
    answer = post(client, "/register", email="ann@example.com", password=password)
    assert answer.status_code == 422
    assert words in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "password", ["12 34 56 78", "aaaabbbb cc", "pässwörter für alle", "x y z x y z", "p" + "q" * 127]
)
def test_any_other_password_of_8_to_128_characters_is_welcome(app: Flask, password: str) -> None:
    register(app.test_client(), password=password)


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@example.com", "ann@localhost", "a b@example.com", "ann@example", "x" * 300]
)
def test_what_is_no_address_is_refused(client: FlaskClient, email: str) -> None:
    answer = post(client, "/register", email=email, password=PASSWORD)
    assert answer.status_code == 422
    assert "e-mail address" in answer.get_data(as_text=True)


def test_the_mail_can_be_sent_again_but_a_mailbox_cannot_be_filled(
    app: Flask, client: FlaskClient, clock: Clock
) -> None:
    register(client)
    assert post(client, "/verify").status_code == 303
    assert count(app, Email) == 1, "at most one per minute"
    for _ in range(8):
        clock.advance(minutes=1)
        assert post(client, "/verify").status_code == 303
    assert count(app, Email) == 6
    clock.advance(hours=1)
    post(client, "/verify")
    assert count(app, Email) == 7


def test_the_waiting_page_without_a_sign_up_leads_to_the_form(client: FlaskClient) -> None:
    answer = client.get("/verify")
    assert (answer.status_code, answer.location) == (302, "/register")


def test_whoever_is_signed_in_needs_no_form(app: Flask) -> None:
    person = sign_up(app)
    for page in ("/register", "/login"):
        answer = person.client.get(f"{page}?next=/pricing")
        assert (answer.status_code, answer.location) == (302, "/pricing")


def _all_at_once(work: object, times: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(times)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
