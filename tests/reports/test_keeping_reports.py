"""The archive: debit and report together, whatever the gate saw before."""

from __future__ import annotations

import pytest
from flask import Flask

import database
from checker import archive, report
from checker.models import Report
from extensions import db
from ledger import freezing, invariants
from ledger.errors import IdempotencyConflict, NotEnoughCredits, WalletFrozen
from tests.persons import Person, sign_up
from tests.reports.buying import ONE_PAGE, call_api, check

FINDINGS = report.check(ONE_PAGE)


def keep(person: Person, credits: int, *, key: str = "form:one", request_hash: str = "a") -> Report:
    with person.app.app_context():
        return database.write(
            archive.keep,
            person.account_id,
            FINDINGS,
            user_id=person.user_id,
            credits=credits,
            idempotency_key=key,
            request_hash=request_hash,
        )


def kept(app: Flask) -> int:
    with app.app_context():
        assert invariants.violations(db.session()) == []
        return db.session.query(Report).count()


def test_a_gate_that_looked_too_early_gives_nothing_away(app: Flask) -> None:
    # Defect class 7 of other starters: credits looked at before the work and taken after it, so that two calls at once
    # get two results for one credit and the balance falls below zero.
    ann = sign_up(app)
    with pytest.raises(NotEnoughCredits) as refused:
        keep(ann, 4)
    assert (refused.value.needed, refused.value.balance) == (4, 3)
    assert (ann.balance(), kept(app)) == (3, 0)


def test_the_same_key_keeps_one_report(app: Flask) -> None:
    ann = sign_up(app)
    assert keep(ann, 2).public_id == keep(ann, 2).public_id
    assert (ann.balance(), kept(app)) == (1, 1)


def test_the_same_key_for_something_else_is_refused(app: Flask) -> None:
    ann = sign_up(app)
    keep(ann, 1)
    with pytest.raises(IdempotencyConflict):
        keep(ann, 1, request_hash="b")
    assert (ann.balance(), kept(app)) == (2, 1)


def test_two_accounts_may_use_the_same_key(app: Flask) -> None:
    ann, bob = sign_up(app, "ann@example.com"), sign_up(app, "bob@example.com")
    assert keep(ann, 1).public_id != keep(bob, 1).public_id
    assert (ann.balance(), bob.balance(), kept(app)) == (2, 2, 2)


def test_a_report_that_cannot_be_kept_is_not_charged(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = sign_up(app)
    taken = keep(ann, 1, key="form:first").public_id
    monkeypatch.setattr(archive, "new_public_id", lambda: taken)
    with pytest.raises(Exception, match=r"(?i)unique"):
        keep(ann, 1, key="form:second")
    assert (ann.balance(), kept(app)) == (2, 1)


def test_a_disputed_payment_pauses_spending_and_says_so(app: Flask) -> None:
    ann = sign_up(app)
    with app.app_context():
        database.write(freezing.freeze, ann.account_id, "dispute:du_1", reason="A payment is disputed")
    with pytest.raises(WalletFrozen):
        keep(ann, 1)
    page = check(ann)
    assert page.status_code == 403
    assert "Your credits are paused" in page.get_data(as_text=True)
    assert "A payment is disputed. Nothing was charged." in page.get_data(as_text=True)
    problem = call_api(ann, {"text": ONE_PAGE})
    assert problem.get_json()["type"].endswith("/problems/spending-paused")
    assert (ann.balance(), kept(app)) == (3, 0)
