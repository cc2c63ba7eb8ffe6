"""Hosted Checkout, as its page reads: what is bought, what is due, which field is wrong, which cards are offered."""

from __future__ import annotations

import re

import pytest

from stripe_sandbox import cards
from stripe_sandbox.testing import CheckoutRefused
from tests.sandbox import shop

CARD = {"card_number": "4242 4242 4242 4242", "card_expiry": "12 / 34", "card_cvc": "123", "billing_name": "Jenny"}


def words(answer) -> str:
    """Return what a page says, without its tags."""
    page = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))
    return " ".join(page.replace("&#39;", "'").replace("&#34;", '"').split())


def path_of(session) -> str:
    return "/checkout/c/pay/" + session.id


def test_a_trial_says_what_it_costs_and_when(sandbox, client, goods):
    sandbox.clock.freeze(1795219200)  # 21 November 2026
    session = shop.checkout(client, goods, "subscription", subscription_data={"trial_period_days": 14})
    said = words(sandbox.browser().get(path_of(session)))
    assert "Try Basic 14 days free Then $15.00 a month, starting 5 December 2026" in said
    assert "Total due today $0.00" in said
    assert "14 days free, then $15.00 a month until you cancel." in said


def test_a_code_that_lasts_lowers_what_follows(sandbox, client, goods):
    coupon = client.v1.coupons.create({"percent_off": 20, "duration": "repeating", "duration_in_months": 3})
    client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"})
    session = shop.checkout(client, goods, "subscription", allow_promotion_codes=True)
    browser = sandbox.browser()
    wrong = browser.post(path_of(session), data={"action": "apply_code", "promotion_code": "NOPE"})
    assert wrong.status_code == 422
    assert re.search(r'name="promotion_code"[^>]*aria-invalid="true"', wrong.get_data(as_text=True))
    browser.post(path_of(session), data={"action": "apply_code", "promotion_code": "spring"})
    said = words(browser.get(path_of(session)))
    assert "SPRING 20% off for 3 months -$3.00" in said
    assert "Total due today $12.00" in said
    assert "You pay $12.00 a month for 3 months, then $15.00 a month until you cancel." in said
    browser.post(path_of(session), data={"action": "remove_code"})
    assert "Total due today $15.00" in words(browser.get(path_of(session)))


@pytest.mark.parametrize(
    ("card", "field", "said"),
    [
        ("4000000000000002", "card_number", "Your card was declined."),
        ("4000000000009995", "card_number", "Your card has insufficient funds."),
        ("4000000000000127", "card_cvc", "Your card's security code is incorrect."),
        ("4000000000000069", "card_expiry", "Your card has expired."),
    ],
)
def test_a_refused_card_is_explained_beside_its_field(sandbox, client, goods, card, field, said):
    session = shop.checkout(client, goods)
    answer = sandbox.browser().post(path_of(session), data={**CARD, "card_number": card, "action": "pay"})
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert said in words(answer)
    assert page.count('role="alert"') == 1
    assert re.search(rf'name="{field}"[^>]*aria-invalid="true" aria-describedby="error"', page)
    assert "<title>Error: " in page


def test_a_test_card_fills_the_form_without_script_and_pays_nothing(sandbox, client, goods):
    session = shop.checkout(client, goods, customer=None, customer_email=None)
    pressed = {"test_card": "4000002500003155", "email": "kept@example.com", "action": "pay"}
    page = sandbox.browser().post(path_of(session), data=pressed).get_data(as_text=True)
    for value in ("4000 0025 0000 3155", "12 / 34", "123", "kept@example.com"):
        assert f'value="{value}"' in page
    assert client.v1.payment_intents.list().data == []


def test_every_test_card_is_offered_with_what_it_does(sandbox, client, goods):
    page = sandbox.browser().get(path_of(shop.checkout(client, goods))).get_data(as_text=True)
    for card in cards.CARDS:
        assert f'value="{card.number}"' in page
    assert "Declined: too many attempts" in page


def test_a_card_that_the_buyer_saves_is_offered_the_next_time(sandbox, client, goods):
    saving = {"saved_payment_method_options": {"payment_method_save": "enabled"}}
    sandbox.pay(shop.checkout(client, goods, **saving).url, save_card="1")
    session = shop.checkout(client, goods)
    browser = sandbox.browser()
    assert "Visa ending 4242" in words(browser.get(path_of(session)))
    method = client.v1.customers.payment_methods.list(goods.customer).data[0]
    assert method.allow_redisplay == "always"
    paid = browser.post(path_of(session), data={"saved_card": method.id, "action": "pay"})
    assert paid.status_code == 303
    assert client.v1.payment_intents.list().data[0].payment_method == method.id


def test_a_card_is_saved_after_its_challenge_too(sandbox, client, goods):
    saving = {"saved_payment_method_options": {"payment_method_save": "enabled"}}
    sandbox.pay(shop.checkout(client, goods, **saving).url, "4000002760003184", save_card="1")
    assert [one.card.last4 for one in client.v1.customers.payment_methods.list(goods.customer)] == ["3184"]


def test_cards_that_were_not_saved_for_it_are_not_shown(sandbox, client, goods):
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    assert "ending 4242" not in words(sandbox.browser().get(path_of(shop.checkout(client, goods))))
    more = {"saved_payment_method_options": {"allow_redisplay_filters": ["always", "limited"]}}
    assert "ending 4242" in words(sandbox.browser().get(path_of(shop.checkout(client, goods, **more))))


def test_somebody_elses_card_cannot_be_used(sandbox, client, goods):
    other = client.v1.customers.create({"email": "other@example.com"})
    theirs = client.v1.payment_methods.attach("pm_card_visa", {"customer": other.id})
    session = shop.checkout(client, goods)
    answer = sandbox.browser().post(path_of(session), data={"saved_card": theirs.id, "action": "pay"})
    assert answer.status_code == 422
    assert client.v1.charges.list().data == []


def test_questions_of_the_shop_are_asked_and_answered(sandbox, client, goods):
    fields = [
        {"key": "size", "label": {"type": "custom", "custom": "Size"}, "type": "numeric"},
        {"key": "note", "label": {"type": "custom", "custom": "Note"}, "type": "text", "optional": True},
    ]
    session = shop.checkout(client, goods, custom_fields=fields, consent_collection={"terms_of_service": "required"})
    for given, said in (
        ({}, "terms of service"),
        ({"terms": "1"}, "Size"),
        ({"terms": "1", "custom_size": "x"}, "Size"),
    ):
        with pytest.raises(CheckoutRefused, match=said):
            sandbox.pay(session.url, **given)
    sandbox.pay(session.url, terms="1", custom_size="42")
    kept = client.v1.checkout.sessions.retrieve(session.id).custom_fields
    assert [field[field["type"]]["value"] for field in kept] == ["42", None]


def test_a_tax_id_needs_its_kind(sandbox, client, goods):
    session = shop.checkout(client, goods, tax_id_collection={"enabled": True}, customer_update={"name": "auto"})
    with pytest.raises(CheckoutRefused, match="what kind of tax ID"):
        sandbox.pay(session.url, tax_id_value="DE123456789")
    sandbox.pay(session.url, tax_id_value="DE123456789", tax_id_type="eu_vat")
    assert client.v1.customers.tax_ids.list(goods.customer).data[0].value == "DE123456789"


def test_closed_sessions_say_why(sandbox, client, goods):
    paid, late = shop.checkout(client, goods), shop.checkout(client, goods)
    sandbox.pay(paid.url)
    browser = sandbox.browser()
    assert "already completed" in words(browser.get(path_of(paid)))
    sandbox.advance(days=2)
    answer = browser.post(path_of(late), data={**CARD, "action": "pay"})
    assert answer.status_code == 410
    assert "has expired" in words(answer)
    assert len(client.v1.charges.list().data) == 1


def test_a_setup_session_says_that_nothing_is_charged(sandbox, client, goods):
    session = shop.checkout(client, goods, "setup", currency="usd")
    said = words(sandbox.browser().get(path_of(session)))
    assert "Save a card for later Nothing is charged now." in said
    sandbox.pay(session.url)
    assert len(client.v1.customers.payment_methods.list(goods.customer).data) == 1
