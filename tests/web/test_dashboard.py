"""The dashboard tells the truth about credits and plan, and what to do next."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import clock
import database
from billing.models import Subscription
from extensions import db
from ledger import freezing, granting, holds, spending
from tests.persons import Person, sign_up
from tests.web.busy_account import busy_person
from tests.web.documents import Document
from tests.worlds import Stripe
from web import filters

# Five of the dashboard, three that find the visitor.
MOST_QUERIES = 8


def dashboard(person: Person) -> str:
    """Return the words on the person's dashboard."""
    answer = person.client.get("/dashboard")
    assert answer.status_code == 200
    return Document(answer.text).all("main")[0].words


def change(app: Flask, *work: object) -> None:
    with app.app_context():
        database.write(*work)


def subscribe(session: Session, account_id: int, **facts: object) -> None:
    now = clock.now()
    session.add(
        Subscription(
            **{
                "stripe_id": "sub_1",
                "account_id": account_id,
                "stripe_status": "active",
                "price_key": "pro_monthly",
                "plan_key": "pro",
                "stripe_price_id": "price_1",
                "amount_cents": 3000,
                "currency": "usd",
                "quantity": 1,
                "period_starts_at": now,
                "period_ends_at": now + timedelta(days=30),
                "is_primary": True,
                "started_at": now,
                "synced_at": now,
                **facts,
            }
        )
    )


def spend(session: Session, account_id: int, credits: int) -> None:
    spending.spend(
        session, account_id, credits, idempotency_key=f"spend-{credits}", reason=f"CV report, {credits} pages"
    )


def test_a_new_account_sees_its_allowance_and_the_first_step(app: Flask) -> None:
    words = dashboard(sign_up(app))
    assert "Credits 3 about 3 CV pages" in words
    assert "Plan credits 3 of 3" in words
    assert "Nothing used yet" in words
    assert "Check your first CV" in words
    assert "Running low" not in words


def test_the_balance_is_split_by_source_with_its_expiry(app: Flask) -> None:
    person = sign_up(app)
    expires_at = clock.now() + timedelta(days=12)

    def grant(session: Session) -> None:
        granting.grant(session, person.account_id, 50, kind="plan", source="invoice:in_1", expires_at=expires_at)
        granting.grant(session, person.account_id, 30, kind="purchase", source="charge:ch_1")
        spend(session, person.account_id, 5)

    change(app, grant)
    words = dashboard(person)
    assert "Credits 78" in words
    assert "Plan credits 45 of 50" in words
    assert "in 12 days" in words
    assert "Purchased credits 30 of 30 never expires" in words
    assert "CV report, 5 pages" in words
    assert "78 left" in words


def test_two_sources_of_one_kind_can_be_told_apart_in_the_meter(app: Flask) -> None:
    person = sign_up(app)
    changes = [("plan", "invoice:in_1"), ("purchase", "charge:ch_1"), ("purchase", "charge:ch_2")]

    def grant(session: Session) -> None:
        for kind, source in changes:
            granting.grant(session, person.account_id, 10, kind=kind, source=source)

    change(app, grant)
    page = Document(person.client.get("/dashboard").text)
    classes = [e.attrs.get("class", "") for e in page.all("rect")]
    colours = [name.removeprefix("credit-meter-part ") for name in classes if "source-" in name]
    in_bar, in_legend = colours[:4], colours[4:]
    assert in_bar == in_legend
    assert sorted(in_bar) == ["source-plan", "source-plan shade-1", "source-purchase", "source-purchase shade-1"]


def test_a_low_balance_names_the_next_step(app: Flask) -> None:
    person = sign_up(app)
    change(app, spend, person.account_id, 1)
    words = dashboard(person)
    assert "Running low: 2 credits left." in words
    assert "Get more credits" in words


def test_an_empty_balance_leads_to_the_prices_and_not_to_the_check(app: Flask) -> None:
    person = sign_up(app)
    change(app, spend, person.account_id, 3)
    page = Document(person.client.get("/dashboard").text)
    assert "No credits left. Free brings 3 each month." in page.all("main")[0].words
    button = next(e for e in page.all("a") if "button-primary" in e.attrs.get("class", ""))
    assert (button.words, button.attrs["href"]) == ("Get credits", "/pricing")


def test_credits_about_to_expire_are_announced(app: Flask) -> None:
    person = sign_up(app)
    soon = clock.now() + timedelta(days=3)

    def grant(session: Session) -> None:
        granting.grant(session, person.account_id, 20, kind="promo", source="promo:1", expires_at=soon)

    change(app, grant)
    assert "20 credits expire in 3 days. They are spent first." in dashboard(person)


def test_credits_that_expire_on_one_day_are_announced_together(app: Flask) -> None:
    person = sign_up(app)
    noon = clock.now().replace(hour=12, minute=0, second=0) + timedelta(days=3)

    def grant(session: Session) -> None:
        for number, seconds in enumerate((0, 177)):
            at = noon + timedelta(seconds=seconds)
            granting.grant(session, person.account_id, 20, kind="promo", source=f"promo:{number}", expires_at=at)
        granting.grant(session, person.account_id, 7, kind="promo", source="x", expires_at=noon + timedelta(days=1))

    change(app, grant)
    assert "40 credits expire in 3 days. They are spent first." in dashboard(person)


def test_credits_set_aside_and_paused_credits_are_explained(app: Flask) -> None:
    person = sign_up(app)

    def set_aside(session: Session) -> None:
        granting.grant(session, person.account_id, 20, kind="purchase", source="charge:ch_1")
        holds.reserve(session, person.account_id, 4, idempotency_key="job", reason="CV check", lease=timedelta(hours=1))
        freezing.freeze(session, person.account_id, "dispute:dp_1", reason="A payment is disputed")

    change(app, set_aside)
    words = dashboard(person)
    assert "Credits 19" in words
    assert "4 credits more are set aside for work under way." in words
    assert "Your credits are paused" in words
    assert "A payment is disputed. Nothing is lost" in words


@pytest.mark.parametrize(
    ("facts", "said", "unsaid"),
    [
        ({}, "Renews on", "Ends on"),
        ({"cancels_at": "soon"}, "Ends on", "Renews on"),
        ({"stripe_status": "trialing", "trial_ends_at": "soon"}, "Trial ends on", "Renews on"),
        ({"stripe_status": "past_due", "past_due_since": "now"}, "Payment failed Pro", "Compare plans"),
        ({"quantity": 3, "amount_cents": 9000}, "$90.00 a month", "$30.00"),
        ({"stripe_status": "unpaid"}, "Unpaid Free", "Pro"),
    ],
)
def test_the_plan_card_says_what_happens_next(app: Flask, facts: dict[str, object], said: str, unsaid: str) -> None:
    person = sign_up(app)
    moments = {"soon": clock.now() + timedelta(days=9), "now": clock.now()}
    known = {name: moments.get(str(value), value) for name, value in facts.items()}
    with app.app_context():
        database.write(lambda session: subscribe(session, person.account_id, **known))
    words = dashboard(person)
    assert said in words
    assert unsaid not in words


def test_the_dashboard_asks_the_database_a_few_times_only(app: Flask) -> None:
    person = busy_person(app)
    asked: list[str] = []
    with app.app_context():
        engine = db.engine

    def remember(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", remember)
    try:
        person.client.get("/dashboard")
    finally:
        sa.event.remove(engine, "before_cursor_execute", remember)
    assert 0 < len(asked) <= MOST_QUERIES, "\n".join(asked)


def test_credits_of_two_plans_are_told_apart(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    assert "Plan credits" in dashboard(ann)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    words = dashboard(ann)
    day = filters.short_day(clock.now())
    assert f"Free plan, from {day}" in words
    assert f"Pro plan, from {day}" in words
