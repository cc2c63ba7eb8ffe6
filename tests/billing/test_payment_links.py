"""Payment links: bought by anybody, granted once to whoever shows that the address is theirs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy.orm import Session

import database
from accounts import people
from billing import freezes, link_purchases
from billing.purchase_tables import LinkPurchase
from extensions import db
from ledger import invariants
from mail import outbox
from mail.models import Email
from stripe_sandbox.engine.fraud_warnings import raise_warning
from tests.persons import Person, sign_up
from tests.worlds import Stripe

LEA = "lea@example.com"


def link(app: Flask, pack: str = "credits_30") -> str:
    answer = app.test_cli_runner().invoke(args=["catalog", "payment-link", pack])
    assert answer.exit_code == 0, answer.output
    return str(answer.output.strip().splitlines()[-1])


def buy(app: Flask, stripe: Stripe, email: str = LEA) -> str:
    """Pay through the link's hosted page; return where it sends the browser."""
    url = link(app)
    opened = stripe.sandbox.browser().post("/b/" + url.rsplit("/", 1)[-1])
    return stripe.pay(opened.location, email=email)


def purchase(app: Flask) -> LinkPurchase:
    with app.app_context():
        return db.session.query(LinkPurchase).one()


def paused_for(person: Person) -> list[str]:
    with person.app.app_context():
        return [freeze.cause for freeze in freezes.causes(db.session(), person.account_id)]


@pytest.fixture(autouse=True)
def sound(app: Flask) -> object:
    """The books agree after each of these stories."""
    yield
    with app.app_context():
        assert invariants.violations(db.session()) == []


def test_the_command_makes_one_link_however_often_it_is_called(app: Flask, stripe: Stripe) -> None:
    assert link(app) == link(app)
    assert link(app, "credits_5") != link(app)
    assert len(stripe.api.v1.payment_links.list({"active": True}).data) == 2


def test_a_link_that_sells_at_an_old_price_is_closed(app: Flask, stripe: Stripe) -> None:
    old = link(app)
    (found,) = stripe.api.v1.payment_links.list({"active": True}).data
    stripe.api.v1.payment_links.update(found.id, {"metadata": {"price": "price_of_yesterday"}})
    assert link(app) != old
    assert [made.url for made in stripe.api.v1.payment_links.list({"active": True}).data] == [link(app)]


def test_what_is_no_pack_gets_no_link(app: Flask, stripe: Stripe) -> None:
    for key in ("pro_monthly", "credits_99"):
        answer = app.test_cli_runner().invoke(args=["catalog", "payment-link", key])
        assert answer.exit_code == 1
        assert "is sold" in answer.output


@pytest.mark.parametrize("order", ["as_is", "reversed"])
def test_credits_wait_for_the_sign_up_with_that_address(app: Flask, stripe: Stripe, order: str) -> None:
    assert buy(app, stripe) == "http://127.0.0.1:5000/pricing/paid"
    stripe.settle(order=order)
    assert purchase(app).account_id is None
    stranger = sign_up(app, "other@example.com")
    lea = sign_up(app, LEA.upper())
    assert (stranger.balance_of("purchase"), lea.balance_of("purchase")) == (0, 30)
    stripe.settle(order=order)
    assert lea.balance_of("purchase") == 30
    assert "$20.00" in lea.client.get("/billing").get_data(as_text=True)


def test_an_account_with_the_verified_address_gets_them_at_once(app: Flask, stripe: Stripe) -> None:
    lea = sign_up(app, LEA)
    buy(app, stripe)
    stripe.settle(order="reversed")
    stripe.settle()
    assert lea.balance_of("purchase") == 30


def test_an_address_that_is_not_verified_gets_nothing_until_it_is(app: Flask, stripe: Stripe) -> None:
    lea = sign_up(app, LEA, verified=False)
    buy(app, stripe)
    stripe.settle()
    assert lea.balance_of("purchase") == 0

    def verify(session: Session) -> None:
        user = people.find_user(session, LEA)
        assert user is not None
        people.verify(session, user)

    with app.app_context():
        database.write(verify)
        database.write(verify)
    assert lea.balance_of("purchase") == 30


def test_what_was_refunded_before_the_claim_is_not_there_to_spend(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    stripe.settle()
    stripe.api.v1.refunds.create({"charge": str(purchase(app).stripe_charge_id), "amount": 1000})
    stripe.settle()
    assert sign_up(app, LEA).balance_of("purchase") == 15


def test_a_refund_after_the_claim_takes_the_credits_back(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    stripe.settle()
    lea = sign_up(app, LEA)
    stripe.api.v1.refunds.create({"charge": str(purchase(app).stripe_charge_id)})
    stripe.settle(order="reversed")
    assert lea.balance_of("purchase") == 0


def test_a_refund_that_is_heard_of_first_changes_nothing(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    charge = stripe.api.v1.charges.list({"limit": 1}).data[0]
    stripe.api.v1.refunds.create({"charge": charge.id})
    stripe.settle(order="reversed")
    assert sign_up(app, LEA).balance_of("purchase") == 0


@pytest.mark.parametrize("is_claimed_first", [True, False])
def test_a_bank_that_warns_of_fraud_pauses_spending(app: Flask, stripe: Stripe, is_claimed_first: bool) -> None:
    buy(app, stripe)
    stripe.settle()
    lea = sign_up(app, LEA) if is_claimed_first else None
    charge = stripe.sandbox_object("charge")
    with stripe.sandbox.world() as world:
        raise_warning(world, charge)
    stripe.settle()
    lea = lea or sign_up(app, LEA)
    assert paused_for(lea) == [f"fraud:{charge['id']}"]
    stripe.api.v1.refunds.create({"charge": charge["id"]})
    stripe.settle(order="reversed")
    assert (paused_for(lea), lea.balance_of("purchase")) == ([], 0)


def test_many_claims_at_once_grant_once(app: Flask, stripe: Stripe) -> None:
    lea = sign_up(app, LEA, verified=False)
    buy(app, stripe)
    stripe.settle()

    def verify(session: Session) -> None:
        user = people.find_user(session, LEA)
        assert user is not None
        link_purchases.claim(session, user)

    def claim(_: int) -> None:
        with app.app_context():
            database.write(verify)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(claim, range(24)))
    assert lea.balance_of("purchase") == 30


def test_a_purchase_that_missed_the_verification_is_found_by_the_worker(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    stripe.settle()
    lea = sign_up(app, "lea.other@example.com")

    def take_address(session: Session) -> None:
        session.query(LinkPurchase).one().email_key = "lea.other@example.com"

    with app.app_context():
        database.write(take_address)
        assert database.write(link_purchases.claim_waiting) == 1
        assert database.write(link_purchases.claim_waiting) == 0
    assert lea.balance_of("purchase") == 30


def test_the_buyer_is_written_to_unless_the_credits_are_claimed(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    stripe.settle()
    stripe.settle()
    buy(app, stripe, "max@example.com")
    stripe.settle()
    sign_up(app, "max@example.com")
    with app.app_context():
        outbox.send_due()
        states = db.session.query(Email.to_address, Email.status).filter(Email.template == "credits_waiting")
        assert dict(states.all()) == {LEA: "kept", "max@example.com": "cancelled"}


def test_a_purchase_is_never_a_second_persons(app: Flask, stripe: Stripe) -> None:
    buy(app, stripe)
    stripe.settle()
    lea = sign_up(app, LEA)

    def change_address(session: Session) -> None:
        user = people.find_user(session, LEA)
        assert user is not None
        user.email, user.email_key = "lea@elsewhere.example", "lea@elsewhere.example"

    with app.app_context():
        database.write(change_address)
    second: Person = sign_up(app, LEA)
    stripe.settle(times=3)
    assert (lea.balance_of("purchase"), second.balance_of("purchase")) == (30, 0)
