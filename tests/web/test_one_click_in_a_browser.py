"""A card that declines, and the words to agree to: by click, without script, and accessible."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.billing.cards import DECLINES_LATER, charges, with_card
from tests.web.conftest import OpenPage
from tests.web.test_pages_in_a_browser import assert_accessible
from tests.worlds import Stripe

pytestmark = pytest.mark.browser


def test_a_decline_is_told_with_the_way_out(app: Flask, stripe: Stripe, open_page: OpenPage) -> None:
    ann = with_card(app, stripe, card=DECLINES_LATER)
    page = open_page("/billing", person=ann, script=False)
    page.get_by_role("button", name="Buy 30 credits - $20.00").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your bank declined the payment")
    words = page.get_by_role("main")
    expect(words).to_contain_text("No money has been taken")
    expect(words).to_contain_text("$20.00 could not be charged to Visa ending in 0341")
    assert page.get_by_role("button", name="Pay $20.00 with another card").is_visible()
    assert page.get_by_role("button", name="Change the saved card").is_visible()
    declined = page.url.partition("/billing")[2]
    assert ann.balance_of("purchase") == 5
    assert_accessible(open_page(f"/billing{declined}", person=ann), "a declined top-up")


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_the_browsers_back_and_the_same_click_again_buy_nothing_unasked(
    app: Flask, stripe: Stripe, open_page: OpenPage, *, script: bool
) -> None:
    ann = with_card(app, stripe)
    page = open_page("/billing", person=ann, script=script)
    page.get_by_role("button", name="Buy 30 credits - $20.00").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Billing")
    page.get_by_role("button", name="Buy 30 credits - $20.00").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    expect(page.get_by_role("status").first).to_contain_text(
        "You bought this a moment ago, so nothing more was charged"
    )
    assert charges(stripe) == [2000, 500]
    asked = page.url.partition("/billing")[2]
    assert_accessible(open_page(f"/billing{asked}", person=ann), "buying another one")
    page.get_by_role("button", name="Buy another 30 credits - $20.00").click()
    expect(page.get_by_role("main")).to_contain_text("30 credits bought")
    assert charges(stripe) == [2000, 2000, 500]
    page.go_back()
    page.get_by_role("button", name="Buy another 30 credits - $20.00").click()
    expect(page.get_by_role("status").first).to_contain_text("You bought this a moment ago")
    assert charges(stripe) == [2000, 2000, 500]


def test_the_words_to_agree_to_are_accessible(app: Flask, stripe: Stripe, open_page: OpenPage) -> None:
    ann = with_card(app, stripe)
    path = "/billing/auto-top-up?pack=credits_30&threshold=7&cap=60"
    assert_accessible(open_page(path, person=ann), path)
