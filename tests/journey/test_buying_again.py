"""Buying after the first time, by a person with a browser: one click, a bank that asks, by itself, by link, by code."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journey.conftest import Site
from tests.journey.test_the_main_job import balance, pay, sign_up

pytestmark = pytest.mark.browser


@pytest.fixture
def page(chromium: Browser, running: Site) -> Iterator[Page]:
    context = chromium.new_context(base_url=running.url)
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def heading(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(words)


def wait_for_card(page: Page, last4: str) -> None:
    """Open the billing page until the worker has heard of a saved card."""
    for _ in range(60):
        page.goto("/billing")
        if f"ending in {last4}" in page.get_by_role("main").inner_text():
            return
        time.sleep(0.25)
    pytest.fail(f"no card ending in {last4} is offered")


def test_one_click_a_bank_that_asks_and_an_agreement(page: Page) -> None:
    page.goto("/pricing")
    page.get_by_role("button", name="Buy 5 credits").click()
    sign_up(page, "again@example.com")
    page.get_by_role("button", name="Pay $5.00").click()
    pay(page, "4000 0027 6000 3184", r"Pay")
    page.get_by_role("button", name="Complete").click()
    heading(page, "Thank you")

    # This card's bank asks for its holder at every payment: one click is not enough, and Stripe's page opens.
    wait_for_card(page, "3184")
    page.get_by_role("button", name="Buy 30 credits - $20.00").click()
    expect(page).to_have_url(re.compile(r"/c/pay/cs_test_"))
    page.get_by_label("Another card").check()
    pay(page, "4242 4242 4242 4242", r"Pay")
    heading(page, "Thank you")
    assert balance(page) == 38

    # And this one's does not.
    wait_for_card(page, "4242")
    page.get_by_role("button", name="Buy 12 credits - $10.00").click()
    heading(page, "Thank you")
    expect(page.get_by_role("main")).to_contain_text("12 credits bought")
    expect(page.get_by_role("main")).to_contain_text("Visa ending in 4242")
    assert balance(page) == 50

    page.goto("/billing")
    page.get_by_role("link", name="Buy by itself when credits run low").click()
    page.get_by_label("When the balance falls below").fill("40")
    page.get_by_role("combobox").select_option(label="30 credits for $20.00")
    page.get_by_role("button", name="See the exact words").click()
    expect(page.get_by_role("alert")).to_contain_text("Use at most 30")
    page.get_by_label("When the balance falls below").fill("10")
    page.get_by_label("At most in a calendar month").fill("60")
    page.get_by_role("button", name="See the exact words").click()
    page.get_by_label(re.compile(r"Whenever my balance falls below 10 credits.*at most \$60\.00")).check()
    page.get_by_role("button", name="Agree and switch on").click()
    expect(page.get_by_role("main")).to_contain_text("$0.00 of at most $60.00")
    page.get_by_role("button", name="Switch it off").click()
    expect(page.get_by_role("status").first).to_contain_text("Auto top-up is off")


def test_a_link_then_a_sign_up_then_a_code(page: Page, running: Site) -> None:
    link = running.flask("catalog", "payment-link", "credits_30")
    code = running.flask("credits", "code", "create", "--credits", "7", "--max-uses", "1")
    page.goto(link)
    page.get_by_role("button", name="Continue to checkout").click()
    page.get_by_label("E-mail").fill("linked@example.com")
    pay(page, "4242 4242 4242 4242", r"Pay")
    heading(page, "Thank you")
    expect(page.get_by_role("main")).to_contain_text("Sign up with that very address")
    page.get_by_role("main").get_by_role("link", name="Sign up").click()
    sign_up(page, "linked@example.com")
    for _ in range(60):
        if balance(page) == 33:
            break
        time.sleep(0.25)
    assert balance(page) == 33

    page.goto("/billing")
    page.get_by_role("link", name="Redeem a code").click()
    page.get_by_label("Code").fill("WRONG-CODE")
    page.get_by_role("button", name="Add the credits").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no such code")
    page.get_by_label("Code").fill(code.lower())
    page.get_by_role("button", name="Add the credits").click()
    expect(page.get_by_role("status").first).to_contain_text("7 credits added")
    assert balance(page) == 40
