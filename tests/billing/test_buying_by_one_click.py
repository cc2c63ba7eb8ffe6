"""Buying a pack with the saved card: one click, one charge, and the truth about what became of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from werkzeug.test import TestResponse

import database
from billing import card_charges, errors, saved_cards, top_ups
from billing.purchase_tables import TopUp
from extensions import db
from ledger import invariants, spending
from ledger.errors import NotEnoughCredits
from stripe_sandbox.faults import ApiFault
from tests.billing.cards import CHALLENGES_EVERY_PAYMENT, DECLINES_LATER, charges, with_card
from tests.billing.forms import open_form, send, submit
from tests.checker.samples import cv
from tests.persons import Person, post, sign_up
from tests.reports import buying
from tests.worlds import Clock, Stripe
from web import gates

BUY_30 = "/billing/top-up/credits_30"


def follow(person: Person, answer: TestResponse) -> str:
    assert answer.status_code == 303, answer.get_data(as_text=True)
    page = person.client.get(answer.location)
    assert page.status_code == 200
    return page.get_data(as_text=True)


def last(app: Flask) -> TopUp:
    with app.app_context():
        row = db.session.query(TopUp).order_by(TopUp.id.desc()).first()
        assert row is not None
        return row


def test_a_checkout_saves_the_card_and_the_next_pack_is_one_click(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    before = ann.balance()
    page = ann.client.get("/billing").get_data(as_text=True)
    assert "Buy 30 credits - $20.00" in page
    assert "Visa ending in 4242" in page
    said = follow(ann, submit(ann, "/billing", BUY_30))
    assert "30 credits bought" in said
    assert ann.balance() == before + 30
    stripe.settle()
    stripe.settle(order="reversed")
    assert ann.balance() == before + 30
    assert charges(stripe) == [2000, 500]
    assert "$20.00" in ann.client.get("/billing").get_data(as_text=True)


def test_a_subscription_saves_its_card_too(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.settle()
    assert "30 credits bought" in follow(ann, submit(ann, "/pricing", BUY_30))
    assert ann.balance_of("purchase") == 30


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_webhooks_alone_bring_the_credits_in_any_order(app: Flask, stripe: Stripe, order: str) -> None:
    ann = with_card(app, stripe)
    # The answer of Stripe is lost and nobody asks again: only webhooks tell.
    stripe.sandbox.faults.api.append(ApiFault("unreachable_after", remaining=3, path="/v1/payment_intents"))
    said = follow(ann, submit(ann, "/billing", BUY_30))
    assert "Confirming your payment" in said
    assert ann.balance_of("purchase") == 5
    stripe.settle(order=order, times=2, seed=7)
    assert ann.balance_of("purchase") == 35
    assert last(app).status == "paid"
    assert charges(stripe) == [2000, 500]


def test_a_form_sent_twice_buys_once(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    fields = open_form(ann, "/billing", BUY_30)
    first, second = send(ann, BUY_30, fields), send(ann, BUY_30, fields)
    assert first.location == second.location
    assert ann.balance_of("purchase") == 35
    assert send(ann, "/billing/top-up/credits_12", {**fields, "amount_cents": "1000"}).status_code == 409
    assert charges(stripe) == [2000, 500]


def test_another_rendering_of_the_page_asks_before_it_buys_the_same_again(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = with_card(app, stripe)
    follow(ann, submit(ann, "/billing", BUY_30))
    bought = last(app).public_id
    asked = submit(ann, "/billing", BUY_30)
    assert f"/billing/top-up/{bought}" in asked.location
    assert charges(stripe) == [2000, 500]
    fields = open_form(ann, asked.location, BUY_30)
    assert fields["another_than"] == bought
    assert "30 credits bought" in follow(ann, send(ann, BUY_30, fields))
    assert "30 credits bought" in follow(ann, send(ann, BUY_30, fields)), "the same form again is the same purchase"
    assert charges(stripe) == [2000, 2000, 500]
    assert "12 credits bought" in follow(ann, submit(ann, "/billing", "/billing/top-up/credits_12"))
    clock.advance(minutes=10)
    assert "30 credits bought" in follow(ann, submit(ann, "/billing", BUY_30)), "later nobody asks"
    assert charges(stripe) == [2000, 1000, 2000, 2000, 500]


def test_two_tabs_that_buy_the_same_at_once_buy_it_once(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    tabs = [open_form(ann, "/billing", BUY_30) for _ in range(6)]
    with app.app_context():
        card = saved_cards.find(db.session(), ann.account_id)
        assert card is not None
        card_id = card.stripe_payment_method_id
    assert len({tab["_idem"] for tab in tabs}) == 6

    def click(number: int) -> str:
        with app.app_context():
            try:
                return card_charges.start(
                    ann.account_id, "credits_30", card_id=card_id, amount_cents=2000, form_key=f"form:buy:{number}"
                ).public_id
            except errors.BoughtJustNow as bought:
                return bought.top_up_id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(click, range(6)))) == 1
    stripe.settle()
    assert charges(stripe) == [2000, 500]


def test_twenty_clicks_of_one_form_at_once_buy_once(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    with app.app_context():
        card = saved_cards.find(db.session(), ann.account_id)
        assert card is not None
        card_id = card.stripe_payment_method_id

    def click(_: int) -> str:
        with app.app_context():
            row = card_charges.start(
                ann.account_id, "credits_30", card_id=card_id, amount_cents=2000, form_key="form:buy:1"
            )
            return row.public_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(click, range(20)))) == 1
    stripe.settle()
    assert ann.balance_of("purchase") == 35
    assert charges(stripe) == [2000, 500]


def test_a_decline_is_told_with_the_way_out_and_a_new_click_is_a_new_attempt(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, card=DECLINES_LATER)
    said = follow(ann, submit(ann, "/billing", BUY_30))
    assert "No money has been taken" in said
    assert "Your card was declined." in said
    assert "Pay $20.00 with another card" in said
    assert "Change the saved card" in said
    stripe.settle()
    assert ann.balance_of("purchase") == 5
    (declining,) = [m["id"] for m in all_cards(stripe) if m["card"]["last4"] == "0341"]
    stripe.api.v1.payment_methods.detach(declining)
    stripe.settle()
    assert "30 credits bought" in follow(ann, submit(ann, "/billing", BUY_30))


def all_cards(stripe: Stripe) -> list[dict]:  # type: ignore[type-arg]
    with stripe.sandbox.world() as world:
        return [m for m in world.select("payment_method") if m["customer"]]


def test_a_bank_that_wants_to_see_its_customer_gets_to(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe, card=CHALLENGES_EVERY_PAYMENT)
    answer = submit(ann, "/billing", BUY_30)
    assert answer.status_code == 303
    assert answer.location.startswith("http://stripe.test/checkout/c/pay/")
    assert last(app).status == "challenged"
    stripe.settle(order="reversed")  # clicked in order in tests/journey
    assert ann.balance_of("purchase") == 5
    stripe.pay(answer.location)
    stripe.settle(order="reversed")
    assert ann.balance_of("purchase") == 35


def test_what_is_not_what_the_button_said_is_not_charged(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    fields = open_form(ann, "/billing", BUY_30)
    for wrong in ({"amount_cents": "1"}, {"card": "pm_other"}, {"card": ""}, {"amount_cents": "many"}):
        answer = send(ann, BUY_30, {**fields, **wrong})
        assert answer.location == "/pricing/checkout/credits_30"
    assert "Nothing was charged" in ann.client.get("/pricing/checkout/credits_30").get_data(as_text=True)
    assert send(ann, "/billing/top-up/pro_monthly", fields).status_code == 404
    assert send(ann, BUY_30, {**fields, "_idem": ""}).status_code == 400
    assert charges(stripe) == [500]


def test_a_card_that_was_removed_is_not_offered_any_more(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    fields = open_form(ann, "/billing", BUY_30)
    stripe.api.v1.payment_methods.detach(fields["card"])
    stripe.expect_violation("payment_method")
    assert "Nothing was bought" in follow(ann, send(ann, BUY_30, fields))
    stripe.settle()
    assert BUY_30 not in ann.client.get("/billing").get_data(as_text=True)
    assert charges(stripe) == [500]


def test_an_expired_card_is_not_offered(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = with_card(app, stripe)
    with app.app_context():
        assert saved_cards.find(db.session(), ann.account_id) is not None
        clock.advance(days=366 * 9)
        assert saved_cards.find(db.session(), ann.account_id) is None


@pytest.mark.parametrize("fault", ["unreachable", "unreachable_after", "500", "500_after", "429"])
def test_whatever_happens_to_the_request_the_worker_finishes_it_once(
    app: Flask, stripe: Stripe, clock: Clock, fault: str
) -> None:
    ann = with_card(app, stripe)
    stripe.sandbox.faults.api.append(ApiFault(fault, remaining=3, path="/v1/payment_intents"))
    submit(ann, "/billing", BUY_30)
    stripe.discard_deliveries()
    for _ in range(15):
        clock.advance(minutes=1)
        with app.app_context():
            card_charges.resume_due()
    assert last(app).status == "paid"
    assert charges(stripe) == [2000, 500]
    assert ann.balance_of("purchase") == 35


def test_a_click_whose_process_died_before_stripe_was_asked_is_finished_or_given_up(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann, ben = with_card(app, stripe), with_card(app, stripe, "ben@example.com")

    def intend(person: Person) -> None:
        with app.app_context():
            card = saved_cards.find(db.session(), person.account_id)
            assert card is not None
            card_id = card.stripe_payment_method_id
            database.write(
                top_ups.intend, person.account_id, "credits_30", card_id=card_id, amount_cents=2000, form_key="f"
            )

    intend(ann)
    clock.advance(minutes=2)
    with app.app_context():
        assert card_charges.resume_due() == 1
    assert ann.balance_of("purchase") == 35
    intend(ben)
    clock.advance(hours=1)
    with app.app_context():
        assert card_charges.resume_due() == 1
    assert ben.balance_of("purchase") == 5
    assert last(app).status == "failed"


def test_a_refund_of_a_top_up_takes_its_credits_back(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    submit(ann, "/billing", BUY_30)
    stripe.api.v1.refunds.create({"payment_intent": str(last(app).stripe_payment_intent_id)})
    stripe.settle(order="reversed")
    assert ann.balance_of("purchase") == 5
    with app.app_context():
        assert invariants.violations(db.session()) == []


def test_a_top_up_of_another_account_does_not_exist(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    answer = submit(ann, "/billing", BUY_30)
    assert sign_up(app, "ben@example.com").client.get(answer.location).status_code == 404


def test_whoever_lacks_credits_is_offered_the_smallest_pack_that_is_enough(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    with app.app_context():
        database.write(spending.spend, ann.account_id, ann.balance(), idempotency_key="all", reason="use")
    page = buying.ask_price(ann, cv("developer")).get_data(as_text=True)
    assert "Your text stays here" in page
    assert "Buy 5 credits - $5.00" in page
    assert "/billing/top-up/credits_12" not in page


def test_the_page_of_a_refused_spend_sells_what_is_missing(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spend() -> str:
        raise NotEnoughCredits(20, 3)

    ann = with_card(app, stripe)
    monkeypatch.setitem(app.view_functions, "pages.theme", gates.public(spend))
    refused = post(ann.client, "/theme")
    assert refused.status_code == 402
    assert "Buy 30 credits - $20.00" in refused.text
    assert "Charged at once to Visa ending in 4242." in refused.text
