"""Auto top-up: agreed to in exact words, one purchase per crossing, within the cap, and stopped when it must be."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy.orm import Session

import database
from billing import auto_top_ups, card_charges, freezes
from billing.auto_top_ups import Agreement
from billing.purchase_tables import TopUp
from extensions import db
from ledger import granting, holds, invariants, spending
from ledger.errors import NotEnoughCredits
from mail.models import Email
from stripe_sandbox.faults import ApiFault
from tests.billing.cards import CHALLENGES_EVERY_PAYMENT, DECLINES_LATER, charges, use_card, with_card
from tests.billing.forms import hidden_fields, open_form, send, submit
from tests.persons import Person
from tests.worlds import Clock, Stripe

PAGE = "/billing/auto-top-up"
OFF = "/billing/auto-top-up/off"


def agree(person: Person, pack: str = "credits_12", threshold: int = 5, cap: int = 100) -> str:
    """Choose, read, tick, agree; return the sentence that was agreed to."""
    page = person.client.get(f"{PAGE}?pack={pack}&threshold={threshold}&cap={cap}")
    assert page.status_code == 200, page.get_data(as_text=True)
    text = page.get_data(as_text=True)
    assert send(person, PAGE, {**hidden_fields(text, PAGE), "agree": "yes"}).status_code == 303
    with person.app.app_context():
        row = auto_top_ups.find(db.session(), person.account_id)
        assert row is not None
        assert row.is_on
        assert row.consent in text
        return row.consent


def spend(person: Person, credits: int) -> None:
    with person.app.app_context():
        key = uuid.uuid4().hex
        database.write(spending.spend, person.account_id, credits, idempotency_key=key, reason="use")


def spend_down_to(person: Person, balance: int) -> None:
    spend(person, person.balance() - balance)


def work(app: Flask) -> None:
    with app.app_context():
        card_charges.buy_wanted()
        card_charges.resume_due()


def state(app: Flask, person: Person) -> Agreement:
    with app.app_context():
        row = auto_top_ups.find(db.session(), person.account_id)
        assert row is not None
        return row


def bought(app: Flask) -> list[str]:
    with app.app_context():
        return [row.status for row in db.session.query(TopUp).order_by(TopUp.id)]


def mails(app: Flask) -> list[str]:
    with app.app_context():
        made = db.session.query(Email.template).filter(Email.template.like("auto_top_up%")).order_by(Email.id)
        return [template for (template,) in made]


@pytest.fixture
def ann(app: Flask, stripe: Stripe) -> Iterator[Person]:
    """Ann has 8 credits, a saved card, and agreed to 12 credits for $10.00 below 5, at most $100.00 a month."""
    person = with_card(app, stripe)
    agree(person)
    yield person
    with app.app_context():
        assert invariants.violations(db.session()) == []


def test_the_sentence_that_is_agreed_to_names_every_amount(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    assert agree(ann, "credits_30", threshold=7, cap=60) == (
        "Whenever my balance falls below 7 credits, Tollgate may charge $20.00 to my saved card, at present Visa "
        "ending in 4242, and give me 30 credits for it: at most $60.00 in a calendar month, until I switch this off."
    )


def test_it_is_off_until_somebody_agrees(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    spend_down_to(ann, 0)
    work(app)
    assert charges(stripe) == [500]


def test_falling_below_buys_one_pack_and_says_so(app: Flask, stripe: Stripe, ann: Person) -> None:
    spend_down_to(ann, 5)
    work(app)
    assert charges(stripe) == [500]
    spend_down_to(ann, 4)
    work(app)
    work(app)
    stripe.settle(order="reversed")
    work(app)
    assert charges(stripe) == [1000, 500]
    assert ann.balance() == 16
    assert mails(app) == ["auto_top_up_bought"]
    page = ann.client.get(PAGE).get_data(as_text=True)
    assert "$10.00 of at most $100.00" in page
    assert "Bought" in page
    spend_down_to(ann, 3)
    work(app)
    assert charges(stripe) == [1000, 1000, 500]


def test_a_hold_calls_for_it_as_a_spend_does(app: Flask, stripe: Stripe, ann: Person) -> None:
    with app.app_context():
        database.write(
            holds.reserve, ann.account_id, 6, idempotency_key="job", reason="job", lease=timedelta(minutes=5)
        )
    work(app)
    assert charges(stripe) == [1000, 500]


def test_a_spend_that_is_undone_calls_for_nothing(app: Flask, stripe: Stripe, ann: Person) -> None:
    def fail(session: Session) -> None:
        spending.spend(session, ann.account_id, 7, idempotency_key="undone", reason="use")
        raise RuntimeError

    with app.app_context(), pytest.raises(RuntimeError):
        database.write(fail)
    work(app)
    assert charges(stripe) == [500]


def test_parallel_spends_and_workers_buy_once_per_crossing(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    agree(ann, "credits_30", threshold=20, cap=1000)
    with app.app_context():
        database.write(granting.grant, ann.account_id, 92, kind="promo", source="promo:test")
    assert ann.balance() == 100

    def errand(number: int) -> int:
        if number % 3 == 0:
            work(app)
            return 0
        for _ in range(10):
            with suppress(NotEnoughCredits):
                spend(ann, 2)
                return 2
            work(app)  # spends may be faster than the worker
        return 0

    spent = 0
    for _ in range(3):  # in one go everything might be spent before the first pack is there
        with ThreadPoolExecutor(8) as pool:
            spent += sum(pool.map(errand, range(60)))
        work(app)
        stripe.settle()
    packs, rest = divmod(ann.balance() + spent - 100, 30)
    assert rest == 0
    assert charges(stripe) == [2000] * packs + [500]
    assert packs >= 2
    # One purchase more than needed would leave the balance a pack above the threshold.
    assert 20 <= ann.balance() < 20 + 30


@pytest.mark.parametrize("fault", ["unreachable", "unreachable_after", "500_after"])
def test_whatever_happens_to_the_request_one_pack_is_bought(
    app: Flask, stripe: Stripe, clock: Clock, ann: Person, fault: str
) -> None:
    stripe.sandbox.faults.api.append(ApiFault(fault, remaining=3, path="/v1/payment_intents"))
    spend_down_to(ann, 2)
    stripe.discard_deliveries()
    for _ in range(5):
        work(app)
        clock.advance(minutes=2)
    assert charges(stripe) == [1000, 500]
    assert bought(app) == ["paid"]


def test_a_worker_killed_before_it_asked_is_followed_by_another(
    app: Flask, stripe: Stripe, clock: Clock, ann: Person
) -> None:
    spend_down_to(ann, 2)
    with app.app_context():
        assert database.write(auto_top_ups.take_up, ann.account_id) is not None
        assert database.write(auto_top_ups.take_up, ann.account_id) is None
    spend_down_to(ann, 1)
    work(app)
    assert charges(stripe) == [500]
    clock.advance(hours=5)
    work(app)
    work(app)
    assert charges(stripe) == [1000, 500]
    assert ann.balance() == 13


def test_the_months_cap_holds_until_the_next_month(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_card(app, stripe)
    agree(ann, cap=20)
    for _ in range(3):
        spend_down_to(ann, 1)
        work(app)
    assert charges(stripe) == [1000, 1000, 500]
    assert mails(app) == ["auto_top_up_bought", "auto_top_up_bought", "auto_top_up_capped"]
    assert "The next purchase can be made on" in ann.client.get(PAGE).get_data(as_text=True)
    clock.advance(days=31)
    work(app)
    assert charges(stripe) == [1000, 1000, 1000, 500]


def test_it_waits_while_spending_is_paused(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_card(app, stripe)
    agree(ann, cap=10)
    spend_down_to(ann, 3)
    work(app)
    spend_down_to(ann, 2)  # the cap is reached: it is wanted again, and waits for the next month
    work(app)
    with app.app_context():
        database.write(freezes.stop, ann.account_id, "dispute:ch_1", reason="A payment is disputed")
    clock.advance(days=32)
    work(app)
    with app.app_context():
        assert database.write(auto_top_ups.take_up, ann.account_id) is None
    assert charges(stripe) == [1000, 500]
    with app.app_context():
        database.write(freezes.let_go, ann.account_id, "dispute:ch_1", reason="The dispute is closed")
    work(app)
    assert charges(stripe) == [1000, 1000, 500]


def test_two_declines_stop_it_and_a_mail_says_so(app: Flask, stripe: Stripe, clock: Clock, ann: Person) -> None:
    use_card(ann, stripe, DECLINES_LATER)
    stripe.settle()
    spend_down_to(ann, 1)
    work(app)
    stripe.settle()
    assert (state(app, ann).is_on, state(app, ann).declines) == (True, 1)
    work(app)
    assert bought(app) == ["declined"]
    clock.advance(days=1)
    work(app)
    stripe.settle(order="reversed")
    assert bought(app) == ["declined", "declined"]
    assert (state(app, ann).is_on, state(app, ann).stop_reason) == (False, "declined")
    assert mails(app) == ["auto_top_up_stopped"]
    clock.advance(days=3)
    spend(ann, 1)
    work(app)
    assert len(bought(app)) == 2


def test_a_success_forgives_an_earlier_decline(app: Flask, stripe: Stripe, clock: Clock, ann: Person) -> None:
    use_card(ann, stripe, DECLINES_LATER)
    stripe.settle()
    spend_down_to(ann, 1)
    work(app)
    use_card(ann, stripe, "pm_card_visa")
    stripe.settle()
    clock.advance(days=1)
    work(app)
    assert bought(app) == ["declined", "paid"]
    assert (state(app, ann).is_on, state(app, ann).declines) == (True, 0)


def test_a_bank_that_wants_to_see_its_customer_stops_it(app: Flask, stripe: Stripe, ann: Person) -> None:
    use_card(ann, stripe, CHALLENGES_EVERY_PAYMENT)
    stripe.settle()
    spend_down_to(ann, 1)
    work(app)
    assert (state(app, ann).is_on, state(app, ann).stop_reason) == (False, "challenged")
    assert "confirm payments in person" in ann.client.get(PAGE).get_data(as_text=True)


def test_another_price_than_the_agreed_one_is_never_charged(
    app: Flask, stripe: Stripe, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold = app.extensions["catalog"]
    dearer = [dataclasses.replace(p, price=dataclasses.replace(p.price, amount_cents=1100)) for p in sold.packs]
    monkeypatch.setitem(app.extensions, "catalog", dataclasses.replace(sold, packs=tuple(dearer)))
    spend_down_to(ann, 1)
    work(app)
    assert state(app, ann).stop_reason == "price_changed"
    assert charges(stripe) == [500]


def test_without_a_card_it_stops(app: Flask, stripe: Stripe, ann: Person) -> None:
    fields = open_form(ann, "/billing", "/billing/top-up/credits_30")
    stripe.api.v1.payment_methods.detach(fields["card"])
    stripe.settle()
    spend_down_to(ann, 1)
    work(app)
    assert state(app, ann).stop_reason == "no_card"
    assert "First, a saved card" in ann.client.get(PAGE).get_data(as_text=True)


def test_one_click_switches_it_off(app: Flask, stripe: Stripe, ann: Person) -> None:
    spend_down_to(ann, 2)
    assert submit(ann, "/billing", OFF).status_code == 303
    work(app)
    assert charges(stripe) == [500]
    assert not state(app, ann).is_on


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("pack=credits_12&threshold=13&cap=100", "Use at most 12"),
        ("pack=credits_12&threshold=0&cap=100", "at least 1 credit"),
        ("pack=credits_12&threshold=5&cap=9", "One pack costs $10.00"),
        ("pack=credits_99&threshold=5&cap=9", "Not a valid choice"),
        ("pack=credits_12&threshold=many&cap=", "Say how much at most"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_with_the_reason(app: Flask, stripe: Stripe, query: str, words: str) -> None:
    answer = with_card(app, stripe).client.get(f"{PAGE}?{query}")
    assert answer.status_code == 422
    assert words in answer.get_data(as_text=True)
    assert 'name="terms"' not in answer.get_data(as_text=True)


def test_nothing_is_switched_on_without_the_tick_or_with_other_terms(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    path = f"{PAGE}?pack=credits_12&threshold=5&cap=100"
    fields = open_form(ann, path, PAGE)
    assert "pack=credits_12" in send(ann, PAGE, fields).location
    forged = {**fields, "agree": "yes", "terms": fields["terms"][:-2] + "AA"}
    assert send(ann, PAGE, forged).status_code == 400
    use_card(ann, stripe, DECLINES_LATER)
    stripe.settle()
    assert send(ann, PAGE, {**fields, "agree": "yes"}).status_code == 303
    with app.app_context():
        assert auto_top_ups.find(db.session(), ann.account_id) is None
