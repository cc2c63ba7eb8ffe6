"""Codes that give credits: once per account, never more often than the cap, until their day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

import clock as app_clock
import database
from billing import credit_codes, errors
from billing.purchase_tables import CreditCode
from extensions import db
from ledger import invariants
from ledger.models import Bucket
from tests.billing.forms import open_form, send, submit
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock

PAGE = "/billing/redeem"


def create(app: Flask, *arguments: str) -> str:
    answer = app.test_cli_runner().invoke(args=["credits", "code", "create", *arguments])
    assert answer.exit_code == 0, answer.output
    return str(answer.output.strip())


def uses(app: Flask, code: str) -> int:
    with app.app_context():
        return db.session.get_one(CreditCode, code).uses


@pytest.fixture(autouse=True)
def sound(app: Flask) -> object:
    """The books agree, and every code was counted exactly as often as it was granted."""
    yield
    with app.app_context():
        assert invariants.violations(db.session()) == []
        for code in credit_codes.everything(db.session()):
            granted = db.session.query(Bucket).filter(Bucket.source == f"promo:{code.code}").count()
            assert granted == code.uses <= code.max_uses


def test_a_code_is_redeemed_on_its_page(app: Flask) -> None:
    assert create(app, "spring-2027", "--credits", "12", "--max-uses", "100", "--note", "fair") == "SPRING-2027"
    ann = sign_up(app)
    before = ann.balance()
    assert submit(ann, PAGE, PAGE, code=" Spring-2027 ").status_code == 303
    assert "12 credits added" in ann.client.get(PAGE).get_data(as_text=True)
    assert ann.balance() == before + 12
    assert ann.balance_of("promo") == 12
    listed = app.test_cli_runner().invoke(args=["credits", "code", "list"]).output
    assert "1 of 100" in listed
    assert "fair" in listed


def test_a_form_sent_twice_and_a_second_form_give_nothing_more(app: Flask) -> None:
    create(app, "ONCE-ONLY", "--credits", "5", "--max-uses", "100")
    ann = sign_up(app)
    fields = {**open_form(ann, PAGE, PAGE), "code": "ONCE-ONLY"}
    assert send(ann, PAGE, fields).status_code == 303
    assert send(ann, PAGE, fields).status_code == 422
    again = submit(ann, PAGE, PAGE, code="once-only")
    assert again.status_code == 422
    assert "You have used this code already" in again.get_data(as_text=True)
    assert (ann.balance_of("promo"), uses(app, "ONCE-ONLY")) == (5, 1)


def test_fifty_people_at_once_never_pass_the_cap(app: Flask) -> None:
    create(app, "TEN-OF-YOU", "--credits", "7", "--max-uses", "10")
    crowd = [sign_up(app, f"p{n}@example.com") for n in range(50)]

    def redeem(person: Person) -> str:
        with app.app_context():
            try:
                database.write(credit_codes.redeem, person.account_id, "ten-of-you")
            except errors.CodeRefused as refused:
                return refused.reason
        return "given"

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(redeem, crowd))
    assert (told.count("given"), told.count("gone")) == (10, 40)
    assert uses(app, "TEN-OF-YOU") == 10


def test_fifty_tries_of_one_account_at_once_give_once(app: Flask) -> None:
    create(app, "JUST-ONE", "--credits", "7", "--max-uses", "1000")
    ann = sign_up(app)

    def redeem(_: int) -> str:
        with app.app_context():
            try:
                database.write(credit_codes.redeem, ann.account_id, "JUST-ONE")
            except errors.CodeRefused as refused:
                return refused.reason
        return "given"

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(redeem, range(50)))
    assert (told.count("given"), told.count("used")) == (1, 49)
    assert ann.balance_of("promo") == 7


def test_a_code_ends_with_its_last_day(app: Flask, clock: Clock) -> None:
    last = f"{app_clock.now():%Y-%m-%d}"
    create(app, "TODAY", "--credits", "5", "--max-uses", "10", "--expires", last)
    ann, ben = sign_up(app), sign_up(app, "ben@example.com")
    assert submit(ann, PAGE, PAGE, code="today").status_code == 303
    clock.advance(days=1)
    log_in_again(ben)
    late = submit(ben, PAGE, PAGE, code="today")
    assert "This code has expired" in late.get_data(as_text=True)
    assert (ben.balance_of("promo"), uses(app, "TODAY")) == (0, 1)


def test_guessing_is_slow_and_says_nothing_changed(app: Flask) -> None:
    ann = sign_up(app)
    answers = [submit(ann, PAGE, PAGE, code=f"GUESS-{n}") for n in range(5)]
    assert {answer.status_code for answer in answers} == {422}
    assert "There is no such code" in answers[0].get_data(as_text=True)
    assert submit(ann, PAGE, PAGE, code="GUESS-6").status_code == 429


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["AB"], "4 to 40 letters"),
        (["SPRING 2027!"], "4 to 40 letters"),
        (["SPRING", "--expires", "2020-01-01"], "expired already"),
        (["TAKEN-ONE"], "already"),
    ],
)
def test_what_cannot_be_a_code_is_refused(app: Flask, arguments: list[str], words: str) -> None:
    create(app, "TAKEN-ONE", "--credits", "5", "--max-uses", "1")
    sizes = ["--credits", "5", "--max-uses", "1"]
    answer = app.test_cli_runner().invoke(args=["credits", "code", "create", *arguments, *sizes])
    assert answer.exit_code == 1
    assert words in answer.output


def test_without_a_name_a_code_is_made_that_nobody_guesses(app: Flask) -> None:
    first, second = (create(app, "--credits", "1", "--max-uses", "1") for _ in range(2))
    assert first != second
    assert len(first) == 14
