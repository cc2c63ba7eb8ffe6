"""The statement says why the balance changed: every movement, in words, with the balance that it left."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

import database
from accounts.models import Account
from blueprints.billing import statements
from extensions import db
from ledger import adjusting, clawback, granting, holds, spending
from ledger import statement as ledger_statement
from tests.persons import Person, log_in_again, sign_up
from tests.web.documents import Document
from tests.worlds import Clock


def do(app: Flask, work: Any, *args: Any, **kwargs: Any) -> Any:
    with app.app_context():
        return database.write(work, *args, **kwargs)


def words(person: Person, path: str = "/billing/statement") -> str:
    answer = person.client.get(path)
    assert answer.status_code == 200
    return Document(answer.text).all("main")[0].words


def rows(person: Person, path: str = "/billing/statement.csv") -> list[list[str]]:
    answer = person.client.get(path)
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.reader(io.StringIO(answer.text)))


def bought_and_used(app: Flask) -> Person:
    ann = sign_up(app)
    do(app, granting.grant, ann.account_id, 30, kind="purchase", source="charge:ch_1", note="Bought 30 credits")
    do(app, spending.spend, ann.account_id, 20, idempotency_key="a", reason="CV report, 20 pages")
    return ann


def test_every_movement_stands_there_with_its_reason_and_the_balance_it_left(app: Flask) -> None:
    ann = bought_and_used(app)
    page = words(ann)
    for said in ("+30", "Bought 30 credits", "33", "\N{MINUS SIGN}20", "CV report, 20 pages", "13", "Came in", "Used"):
        assert said in page, said


def test_a_debt_is_said_in_words(app: Flask) -> None:
    ann = bought_and_used(app)
    do(app, clawback.claw_to, ann.account_id, "charge:ch_1", 30, version=1)
    page = words(ann)
    assert "17 credits of these had been spent and are owed" in page
    assert "owe 17" in page
    do(app, adjusting.forgive, ann.account_id, 7, idempotency_key="f", reason="Our mistake", actor="staff")
    assert "7 credits no longer owed" in words(ann)


def test_set_aside_credits_are_told_from_used_ones(app: Flask) -> None:
    ann = bought_and_used(app)
    held = do(
        app, holds.reserve, ann.account_id, 6, idempotency_key="h", reason="A long report", lease=timedelta(hours=1)
    )
    do(app, holds.capture, held.hold_id, 5)
    page = words(ann)
    assert "Set aside" in page
    assert "5 credits of those set aside" in page
    assert "A long report" in words(ann, "/billing/statement?kind=held")
    assert "CV report, 20 pages" not in words(ann, "/billing/statement?kind=held")


def test_the_filters_choose_kind_and_month(app: Flask, clock: Clock) -> None:
    ann = sign_up(app)
    do(app, granting.grant, ann.account_id, 30, kind="purchase", source="charge:ch_1", note="An early purchase")
    clock.advance(days=40)
    do(app, spending.spend, ann.account_id, 2, idempotency_key="b", reason="A late report")
    with app.app_context():
        month = f"{ledger_statement.recent(db.session(), ann.account_id, 1)[0].at:%Y-%m}"
    log_in_again(ann)
    assert "An early purchase" not in words(ann, f"/billing/statement?month={month}")
    assert "A late report" in words(ann, f"/billing/statement?month={month}")
    assert "A late report" not in words(ann, "/billing/statement?kind=in")
    assert "Nothing of this kind" in words(ann, f"/billing/statement?month={month}&kind=refunds")
    assert [row[2] for row in rows(ann, f"/billing/statement.csv?month={month}&kind=used")] == [
        "reason",
        "A late report",
    ]
    assert [row[1] for row in rows(ann)] == ["kind", "grant", "grant", "expire", "spend"]


@pytest.mark.parametrize("query", ["kind=nonsense", "month=2026-13", "month=soon", "month=0000-01"])
def test_a_filter_that_does_not_exist_is_a_page_that_does_not_exist(app: Flask, query: str) -> None:
    assert sign_up(app).client.get(f"/billing/statement?{query}").status_code == 404


@pytest.mark.parametrize("before", ["0", "-1", "x", "9" * 40, ""])
def test_an_odd_page_number_does_no_harm(app: Flask, before: str) -> None:
    assert bought_and_used(app).client.get(f"/billing/statement?before={before}").status_code == 200


def test_pages_follow_one_another_and_miss_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "PAGE_SIZE", 3)
    ann = bought_and_used(app)
    for number in range(8):
        do(app, spending.spend, ann.account_id, 1, idempotency_key=f"n{number}", reason=f"Report number {number}")
    path, seen = "/billing/statement?kind=used", ""
    for _ in range(3):
        answer = ann.client.get(path)
        seen += answer.text
        older = [a.attrs["href"] for a in Document(answer.text).all("a") if a.attrs.get("rel") == "next"]
        path = older[0] if older else ""
    assert not path
    for number in range(8):
        assert seen.count(f"Report number {number}") == 1


def test_nobody_reads_the_statement_of_another(app: Flask) -> None:
    bought_and_used(app)
    ben = sign_up(app, "ben@example.com")
    assert "Bought 30 credits" not in words(ben)
    assert all("Bought 30 credits" not in row for row in rows(ben))


def test_no_cell_of_the_file_runs_as_a_formula(app: Flask) -> None:
    ann = sign_up(app)
    do(app, spending.spend, ann.account_id, 1, idempotency_key="a", reason="=HYPERLINK(1)", reference="@x")
    assert rows(ann)[-1][2] == "'=HYPERLINK(1)"
    assert rows(ann)[-1][-1] == "'@x"


def test_an_account_without_movements_is_told_the_next_step(app: Flask) -> None:
    ann = sign_up(app)
    with app.app_context():
        empty = database.write(_new_account)
        chart = ledger_statement.daily_balance(db.session(), empty, *statements.charted_days(None, None))
        assert ledger_statement.first_day(db.session(), empty) is None
    assert [day.credits for day in chart] == [0]
    assert "Nothing of this kind" in words(ann, "/billing/statement?kind=expired")


def _new_account(session: Session) -> int:
    account = Account(name="Nobody")
    session.add(account)
    session.flush()
    return account.id


def test_the_chart_carries_the_balance_over_quiet_days(app: Flask, clock: Clock) -> None:
    ann = bought_and_used(app)
    with app.app_context():
        first = ledger_statement.first_day(db.session(), ann.account_id)
    clock.advance(days=3)
    do(app, spending.spend, ann.account_id, 1, idempotency_key="b", reason="Later")
    clock.advance(days=1)
    with app.app_context():
        assert first is not None
        _, last = statements.charted_days(None, first)
        days = ledger_statement.daily_balance(db.session(), ann.account_id, first, last)
    assert [day.credits for day in days] == [13, 13, 13, 12, 12]
