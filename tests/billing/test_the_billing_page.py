"""The billing page in every state: the sentence, the badge, and exactly the ways out that the table promises."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

import clock as app_clock
import database
from accounts.models import Account
from billing import standing
from billing.models import Invoice, Subscription
from billing.states import RULES, State, Way
from tests.billing import subscribers
from tests.billing.forms import submit
from tests.billing.subscribers import billing_page, open_portal, plan, put_card, state, subscriber, subscription
from tests.persons import Person, sign_up
from tests.web.documents import Document
from tests.worlds import Clock, Stripe
from web import filters

# By what a way out is known on the page: an address of a link or a form.
MARKS = {
    Way.CHOOSE: ">Compare plans<",
    Way.CHANGE: 'href="/billing/change"',
    Way.PAUSE: 'href="/billing/pause"',
    Way.GO_ON: 'href="/billing/unpause"',
    Way.CANCEL: 'href="/billing/cancel"',
    Way.RESUME: 'action="/billing/resume"',
    Way.PAY: 'href="http://127.0.0.1:12111/invoice/',
    Way.CARD: 'value="payment_method_update"',
}
FACTS: dict[State, dict[str, Any]] = {
    State.INCOMPLETE: {"stripe_status": "incomplete"},
    State.TRIALING: {"stripe_status": "trialing", "trial_ends_at": 9},
    State.ACTIVE: {},
    State.ENDING: {"cancels_at": 9},
    State.PAST_DUE: {"stripe_status": "past_due", "past_due_since": -1},
    State.UNPAID: {"stripe_status": "unpaid"},
    State.PAUSED: {"stripe_status": "paused", "open_until": 9},
    State.ENDED: {"stripe_status": "canceled", "ended_at": -1, "is_primary": False},
}
SENTENCES = {
    State.FREE: "You are on the Free plan.",
    State.INCOMPLETE: "Pro, monthly, waits for its first payment.",
    State.TRIALING: "Pro, monthly, on trial until {soon}.",
    State.ACTIVE: "Pro, monthly, renews on {soon} for $30.00.",
    State.ENDING: "Pro, monthly, ends on {soon}.",
    State.PAST_DUE: "Pro, monthly, waits for a payment.",
    State.UNPAID: "Pro, monthly, waits for a payment.",
    State.PAUSED: "Pro, monthly, is paused and open until {soon}.",
    State.ENDED: "Pro ended on {yesterday}. You are on the Free plan.",
}
OWING = {State.PAST_DUE, State.UNPAID, State.INCOMPLETE}


def live_in(session: Session, person: Person, where: State) -> None:
    now = app_clock.now()
    facts = {k: now + timedelta(days=v) if type(v) is int else v for k, v in FACTS[where].items()}
    session.get_one(Account, person.account_id).stripe_customer_id = "cus_1"
    session.add(
        Subscription(
            **{
                "stripe_id": "sub_1",
                "account_id": person.account_id,
                "stripe_status": "active",
                "price_key": "pro_monthly",
                "plan_key": "pro",
                "stripe_price_id": "price_1",
                "amount_cents": 3000,
                "currency": "usd",
                "quantity": 1,
                "period_starts_at": now,
                "period_ends_at": now + timedelta(days=9),
                "is_primary": True,
                "started_at": now - timedelta(days=5),
                "synced_at": now,
                **facts,
            }
        )
    )
    if where in OWING:
        session.add(an_open_invoice(person))
    session.flush()
    standing.refresh(session, person.account_id)


def an_open_invoice(person: Person) -> Invoice:
    cents = {"subtotal_cents": 3000, "tax_cents": 0, "total_cents": 3000, "paid_cents": 0, "remaining_cents": 3000}
    return Invoice(
        stripe_id="in_1",
        account_id=person.account_id,
        stripe_subscription_id="sub_1",
        status="open",
        reason="subscription_cycle",
        description="Pro, monthly",
        currency="usd",
        attempts=1,
        wants_customer=False,
        hosted_url="http://127.0.0.1:12111/invoice/1",
        issued_at=app_clock.now(),
        synced_at=app_clock.now(),
        **cents,
    )


@pytest.mark.parametrize("where", list(State))
def test_the_page_of_a_state_says_it_and_has_exactly_its_ways_out(app: Flask, where: State) -> None:
    ann = sign_up(app)
    if where is not State.FREE:
        with app.app_context():
            database.write(live_in, ann, where)
    page = Document(ann.client.get("/billing").text).all("main")[0]
    raw = ann.client.get("/billing").text.partition('<main id="main"')[2]
    now = app_clock.now()
    days = {"soon": filters.day(now + timedelta(days=9)), "yesterday": filters.day(now - timedelta(days=1))}
    assert SENTENCES[where].format(**days) in page.words
    # What can be bought, and the card, are there for everybody who has ever paid.
    offered = {way for way, mark in MARKS.items() if mark in raw} - {Way.CARD}
    promised = set(RULES[where].ways) - {Way.CARD}
    assert offered == promised - {Way.CANCEL_NOW}
    can_end_here = 'href="/billing/cancel/now"' in raw
    assert can_end_here == (Way.CANCEL_NOW in promised and Way.CANCEL not in promised)
    if Way.CARD in RULES[where].ways:
        assert MARKS[Way.CARD] in raw
    if Way.CANCEL_NOW in promised:
        assert ann.client.get("/billing/cancel/now").status_code == 200
    if Way.CANCEL in promised:
        assert 'href="/billing/cancel/now"' in ann.client.get("/billing/cancel").text


def test_a_trial_shows_how_far_it_is_and_exactly_what_happens_at_its_end(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop)
    ends = subscription(ann).trial_ends_at
    assert ends is not None
    page = billing_page(ann)
    assert "14 days left" in page
    assert f"On {filters.weekday(ends)} your card is charged $49.00, and $49.00 each month from then on" in page
    subscribers.pass_time(shop, clock, ann, days=5, hours=1)
    page = billing_page(ann)
    assert "9 days left" in page
    assert '<progress id="trial" max="14" value="5">' in page or '<progress id="trial" value="5" max="14">' in page
    assert "9 days left" in billing_page(ann, "/dashboard")
    submit(ann, "/billing/cancel", "/billing/cancel")
    assert f"Nothing is charged: on {filters.weekday(ends)} the trial ends and Free takes over." in billing_page(ann)


def test_a_trial_that_lost_its_card_says_so_and_ends_without_a_charge(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop)
    shop.api.v1.payment_methods.detach(subscription(ann).payment_method_id or "")
    shop.settle()
    assert "No card is on file. Without one Free takes over on" in billing_page(ann)
    subscribers.pass_time(shop, clock, ann, days=15)
    assert (state(ann), plan(ann)) == ("ended", "free")
    assert shop.sandbox.events("charge.succeeded", "charge.failed") == []
    assert "Pro ended on" in billing_page(ann)


def test_a_card_put_in_during_the_trial_lets_it_go_on(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop)
    shop.api.v1.payment_methods.detach(subscription(ann).payment_method_id or "")
    shop.settle()
    put_card(shop, subscribers.GOOD)
    subscribers.pass_time(shop, clock, ann, days=14, hours=2)
    assert (state(ann), plan(ann), ann.balance_of("plan")) == ("active", "pro", 3 + 100)


def test_the_portal_opens_on_the_page_that_was_asked_for_and_comes_back(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    for flow, leads_to in (("payment_method_update", "/cards/add"), ("subscription_cancel", "/cancel"), (None, "")):
        address = open_portal(ann, flow) if flow != "subscription_cancel" else ask_portal(ann, flow)
        browser = stripe.sandbox.browser()
        entered = browser.get(address.replace("http://stripe.test", ""))
        assert (entered.location or "").endswith(leads_to), (flow, entered.location)
    assert ask_portal(ann, "subscription_update") == "/billing/change"  # the portal is told to leave plans alone
    stripe.expect_violation("portal configuration is disabled")
    assert ask_portal(ann, "made_up").startswith("http://stripe.test/p/session/")


def test_a_cancellation_in_the_portal_is_known_when_one_comes_back(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe)
    address = ask_portal(ann, "subscription_cancel").replace("http://stripe.test", "")
    browser = stripe.sandbox.browser()
    back = browser.post(browser.get(address).location, data={"feedback": "unused"})
    assert back.location == "http://127.0.0.1:5000/billing/portal/return"
    ann.client.get("/billing/portal/return")
    at_stripe = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id)
    assert (at_stripe.cancel_at_period_end, state(ann)) == (False, "ending")
    assert "Resume Pro" in billing_page(ann)


def ask_portal(ann: Person, flow: str) -> str:
    return str(submit(ann, "/billing", "/billing/portal", flow=flow).location)
