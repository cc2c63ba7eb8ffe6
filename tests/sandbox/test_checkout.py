"""Hosted Checkout: what exists before and after somebody pays, and what a refused card leaves."""

import contextlib
import threading

import pytest
import stripe

from stripe_sandbox.testing import CheckoutRefused, Sandbox
from tests.sandbox import shop


def test_a_paid_session_has_its_intent_charge_and_redirect(sandbox: Sandbox, client: stripe.StripeClient, goods):
    session = shop.checkout(client, goods, metadata={"intent": "7"}, client_reference_id="acc_1")
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert session.amount_total == 500

    went_to = sandbox.pay(session.url)

    assert went_to == f"https://shop.example/ok?session_id={session.id}"
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge", "line_items"]})
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.metadata["intent"] == "7"
    assert paid.client_reference_id == "acc_1"
    assert paid.payment_intent.amount_received == 500
    assert paid.payment_intent.latest_charge.paid is True
    assert paid.line_items.data[0].price.id == goods.pack


def test_metadata_stays_where_it_was_put(sandbox, client, goods):
    session = shop.checkout(
        client, goods, metadata={"on": "session"}, payment_intent_data={"metadata": {"on": "intent"}}
    )
    sandbox.pay(session.url)
    paid = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert paid.metadata.to_dict() == {"on": "session"}
    assert paid.payment_intent.metadata.to_dict() == {"on": "intent"}
    assert paid.payment_intent.latest_charge.metadata.to_dict() == {"on": "intent"}


def test_a_declined_card_can_be_followed_by_a_good_one(sandbox, client, goods):
    session = shop.checkout(client, goods)
    with pytest.raises(CheckoutRefused, match=r"Your card was declined\."):
        sandbox.pay(session.url, "4000 0000 0000 0002")
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"

    sandbox.pay(session.url)

    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert [event["type"] for event in sandbox.events("charge.failed", "charge.succeeded")] == [
        "charge.failed",
        "charge.succeeded",
    ]
    assert len(client.v1.payment_intents.list({"customer": goods.customer}).data) == 1


@pytest.mark.parametrize("card", ["4000002500003155", "4000002760003184", "4000000000003220"])
def test_a_challenged_card_pays_once_the_challenge_is_completed(sandbox, client, goods, card):
    session = shop.checkout(client, goods)
    with pytest.raises(CheckoutRefused, match="unable to authenticate"):
        sandbox.pay(session.url, card, challenge="fail")
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "unpaid"
    sandbox.pay(session.url, card)
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_subscription_exists_only_once_its_session_is_complete(sandbox, client, goods):
    session = shop.checkout(client, goods, "subscription", subscription_data={"metadata": {"account": "7"}})
    with pytest.raises(CheckoutRefused):
        sandbox.pay(session.url, "4000000000000002")
    assert client.v1.subscriptions.list({"customer": goods.customer, "status": "all"}).data == []

    sandbox.pay(session.url)

    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice.payments"]})
    subscription, invoice = done.subscription, done.invoice
    assert (done.payment_intent, done.payment_status) == (None, "paid")
    assert subscription.status == "active"
    assert subscription.billing_mode.type == "flexible"
    assert subscription.metadata["account"] == "7"
    assert not hasattr(subscription, "current_period_end")
    item = subscription.items.data[0]
    assert item.current_period_end > item.current_period_start == subscription.start_date
    assert invoice.billing_reason == "subscription_create"
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata["account"] == "7"
    line = invoice.lines.data[0]
    assert line.pricing.price_details.price == goods.plan
    assert line.parent.subscription_item_details.subscription_item == item.id
    assert (line.period.start, line.period.end) == (item.current_period_start, item.current_period_end)
    assert invoice.payments.data[0].status == "paid"
    intent = client.v1.payment_intents.retrieve(invoice.payments.data[0].payment.payment_intent)
    assert (intent.status, intent.amount_received, intent.customer) == ("succeeded", 1500, goods.customer)


def test_a_trial_takes_the_card_and_no_money(sandbox, client, goods):
    session = shop.checkout(client, goods, "subscription", subscription_data={"trial_period_days": 14})
    assert session.amount_total == 0
    sandbox.pay(session.url)
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice"]})
    assert (done.payment_status, done.subscription.status) == ("no_payment_required", "trialing")
    assert done.subscription.trial_end == done.subscription.items.data[0].current_period_end
    assert (done.invoice.amount_due, done.invoice.status) == (0, "paid")
    assert done.subscription.default_payment_method is not None
    assert client.v1.charges.list({"customer": goods.customer}).data == []


def test_a_promotion_code_lowers_what_is_paid(sandbox, client, goods):
    coupon = client.v1.coupons.create({"percent_off": 20, "duration": "once"})
    client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "TWENTY"})
    session = shop.checkout(client, goods, allow_promotion_codes=True)
    with pytest.raises(CheckoutRefused, match="invalid"):
        sandbox.pay(session.url, promotion_code="NOSUCH")
    sandbox.pay(session.url, promotion_code="twenty")
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.amount_subtotal, done.amount_total, done.payment_intent.amount) == (500, 400, 400)
    assert done.total_details.amount_discount == 100
    assert client.v1.coupons.retrieve(coupon.id).times_redeemed == 1


def test_setup_mode_saves_the_card(sandbox, client, goods):
    session = shop.checkout(client, goods, "setup", currency="usd")
    sandbox.pay(session.url)
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    assert done.setup_intent.status == "succeeded"
    assert done.setup_intent.payment_method.customer == goods.customer


def test_a_guest_becomes_a_customer_only_when_one_is_needed(sandbox, client, goods):
    guest = shop.checkout(client, goods, customer=None)
    sandbox.pay(guest.url, email="guest@example.com")
    done = client.v1.checkout.sessions.retrieve(guest.id)
    assert (done.customer, done.customer_details.email) == (None, "guest@example.com")
    subscriber = shop.checkout(client, goods, "subscription", customer=None)
    sandbox.pay(subscriber.url, email="new@example.com")
    made = client.v1.checkout.sessions.retrieve(subscriber.id, {"expand": ["customer"]}).customer
    assert made.email == "new@example.com"


def test_an_expired_session_takes_no_money(sandbox, client, goods):
    session = shop.checkout(client, goods)
    sandbox.advance(days=2)
    assert client.v1.checkout.sessions.retrieve(session.id).status == "expired"
    with pytest.raises(CheckoutRefused):
        sandbox.pay(session.url)
    assert len(sandbox.events("checkout.session.expired")) == 1
    other = shop.checkout(client, goods)
    assert client.v1.checkout.sessions.expire(other.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="Only Checkout Sessions with a status in"):
        client.v1.checkout.sessions.expire(other.id)


def test_sessions_are_found_by_what_they_made(sandbox, client, goods):
    session = shop.checkout(client, goods)
    sandbox.pay(session.url)
    intent = client.v1.checkout.sessions.retrieve(session.id).payment_intent
    assert [one.id for one in client.v1.checkout.sessions.list({"payment_intent": intent})] == [session.id]
    plan = shop.checkout(client, goods, "subscription")
    sandbox.pay(plan.url)
    subscription = client.v1.checkout.sessions.retrieve(plan.id).subscription
    assert [one.id for one in client.v1.checkout.sessions.list({"subscription": subscription})] == [plan.id]
    open_ones = client.v1.checkout.sessions.list({"customer": goods.customer, "status": "open"})
    assert open_ones.data == []


def test_no_card_number_is_kept_anywhere(sandbox, client, goods):
    session = shop.checkout(client, goods)
    with pytest.raises(CheckoutRefused):
        sandbox.pay(session.url, "4000000000000002")
    sandbox.pay(session.url)
    client.v1.payment_methods.create(
        {"type": "card", "card": {"number": "5555555555554444", "exp_month": 12, "exp_year": 2034, "cvc": "123"}}
    )
    dump = "\n".join(sandbox.store._db.iterdump())
    for number in ("4242424242424242", "4000000000000002", "5555555555554444"):
        assert number not in dump


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"card": "4242"}, "Your card number is incomplete."),
        ({"card": "4242424242424241"}, "Your card number is invalid."),
        ({"expiry": "13 / 34"}, "Your card's expiration month is invalid."),
        ({"expiry": "01 / 20"}, "Your card's expiration date is in the past."),
        ({"expiry": ""}, "Your card's expiration date is incomplete."),
        ({"cvc": "1"}, "Your card's security code is incomplete."),
    ],
)
def test_a_mistyped_card_is_explained_and_costs_nothing(sandbox, client, goods, fields, words):
    session = shop.checkout(client, goods)
    with pytest.raises(CheckoutRefused) as refused:
        sandbox.pay(session.url, **fields)
    assert str(refused.value) == words
    assert client.v1.charges.list().data == []


def test_a_trial_with_a_challenged_card_renews_without_its_holder(sandbox, client, goods):
    session = shop.checkout(client, goods, "subscription", subscription_data={"trial_period_days": 14})
    with pytest.raises(CheckoutRefused, match="unable to authenticate"):
        sandbox.pay(session.url, "4000002500003155", challenge="fail")
    sandbox.pay(session.url, "4000002500003155")
    subscription = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]}).subscription
    assert subscription.status == "trialing"
    sandbox.advance(days=15)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert [charge.amount for charge in client.v1.charges.list({"customer": goods.customer})] == [1500]


@pytest.mark.parametrize("card", ["4000000000000002", "4000000000000341"])
def test_a_card_that_will_be_declined_starts_a_trial_only_if_it_can_be_saved(sandbox, client, goods, card):
    session = shop.checkout(client, goods, "subscription", subscription_data={"trial_period_days": 14})
    if card.endswith("0002"):
        with pytest.raises(CheckoutRefused, match=r"Your card was declined\."):
            sandbox.pay(session.url, card)
        assert client.v1.subscriptions.list({"status": "all"}).data == []
        return
    sandbox.pay(session.url, card)
    sandbox.advance(days=15)
    assert client.v1.subscriptions.list({"customer": goods.customer}).data[0].status == "past_due"
    assert sandbox.events("invoice.payment_failed")


def test_paying_the_same_session_twice_takes_the_money_once(sandbox, client, goods):
    session = shop.checkout(client, goods)
    sandbox.pay(session.id)
    with pytest.raises(CheckoutRefused):
        sandbox.pay(session.id)
    assert len(client.v1.charges.list().data) == 1


def test_a_challenge_cannot_be_answered_twice(sandbox, client, goods):
    session = shop.checkout(client, goods)
    browser = sandbox.browser()
    card = {"card_number": "4000002760003184", "card_expiry": "12/34", "card_cvc": "123", "action": "pay"}
    path = f"/checkout/c/pay/{session.id}"
    challenge = browser.post(path, data=card).location
    answers = [browser.post(challenge, data={"action": "complete"}).status_code for _ in range(2)]
    assert answers == [303, 303]
    assert len(client.v1.charges.list().data) == 1


def test_two_presses_of_the_button_at_once_take_the_money_once(sandbox, client, goods):
    session = shop.checkout(client, goods)
    threads = [threading.Thread(target=_pay_quietly, args=(sandbox, session.id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [charge.amount for charge in client.v1.charges.list()] == [500]
    assert len(sandbox.events("checkout.session.completed")) == 1


def _pay_quietly(sandbox, session):
    with contextlib.suppress(CheckoutRefused):
        sandbox.pay(session)
