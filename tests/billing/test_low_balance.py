"""Who runs low hears of it once for each time: with the spend that gets there, and again after a top-up."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from extensions import db
from ledger import granting, spending
from ledger.errors import NotEnoughCredits
from mail import outbox
from mail.models import Email
from tests.billing.test_notices import words
from tests.persons import Person, sign_up


def do(app: Flask, work: Any, *args: Any, **kwargs: Any) -> Any:
    with app.app_context():
        return database.write(work, *args, **kwargs)


def spend(ann: Person, credits: int, key: str) -> None:
    do(ann.app, spending.spend, ann.account_id, credits, idempotency_key=key, reason="Work")


def top_up(ann: Person, credits: int, source: str) -> None:
    do(ann.app, granting.grant, ann.account_id, credits, kind="promo", source=source)


def notices(ann: Person) -> list[str]:
    with ann.app.app_context():
        rows = db.session.scalars(select(Email).where(Email.template == "low_balance").order_by(Email.id))
        return [row.status for row in rows]


def test_the_spend_that_falls_below_the_threshold_sends_one_mail(app: Flask) -> None:
    ann = sign_up(app)
    top_up(ann, 7, "gift:1")
    spend(ann, 5, "a")
    assert notices(ann) == []
    spend(ann, 1, "b")
    spend(ann, 1, "c")
    spend(ann, 1, "c")
    assert notices(ann) == ["pending"]
    text = words(ann, "low_balance")
    assert text.startswith("3 credits left")
    assert "/billing/statement" in text


def test_a_top_up_arms_it_again(app: Flask) -> None:
    ann = sign_up(app)
    top_up(ann, 7, "gift:1")
    spend(ann, 6, "a")
    top_up(ann, 7, "gift:2")
    spend(ann, 7, "b")
    assert len(notices(ann)) == 2


def test_the_mail_stays_away_when_there_are_enough_again(app: Flask) -> None:
    ann = sign_up(app)
    top_up(ann, 7, "gift:1")
    spend(ann, 6, "a")
    top_up(ann, 10, "gift:2")
    with app.app_context():
        outbox.send_due()
    assert notices(ann) == ["cancelled"]


def test_a_spend_that_is_undone_promises_nothing(app: Flask) -> None:
    ann = sign_up(app)
    top_up(ann, 7, "gift:1")

    def fail(session: Session) -> None:
        spending.spend(session, ann.account_id, 6, idempotency_key="a", reason="Work")
        raise LookupError

    with pytest.raises(LookupError):
        do(app, fail)
    with pytest.raises(NotEnoughCredits):
        spend(ann, 100, "b")
    assert notices(ann) == []
