"""The main job in a real browser, through both hosted pages: sign up, buy, get credits by webhook, spend them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import browsers
from tests.journey.conftest import Site

pytestmark = pytest.mark.browser

PASSWORD = "six random words for a gate"
CV = (
    """Ann Example
ann@example.com - +44 20 7946 0000 - London

Summary
Engineer who builds billing systems that people trust.

Experience
Senior Engineer, Payments Ltd, 2019 to 2026
Led a team of four that rebuilt the invoicing of 40,000 customers and cut failed renewals by 23 %.
Designed the ledger, wrote its tests, and moved it without an hour of downtime.

Engineer, Shop Ltd, 2015 to 2019
Built the checkout, measured it, and raised completed orders by 11 %.

Education
BSc Computer Science, University of Example, 2015

Skills
Python, Flask, SQL, PostgreSQL, testing, mentoring
"""
    * 2
)


@pytest.fixture(params=[True, False], ids=["with script", "without script"])
def page(chromium: Browser, running: Site, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = chromium.new_context(base_url=running.url, java_script_enabled=request.param)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def sign_up(page: Page, email: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign up")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check your mail")
    page.goto("/dev/mail")
    browsers.go(page, page.get_by_role("link").filter(has_text=re.compile("confirm", re.IGNORECASE)).first)
    link = re.search(r"https?://\S+/verify/\S+", page.get_by_role("main").inner_text())
    assert link, "the mail has no link"
    page.goto(link.group(0))
    page.get_by_role("button", name="Confirm and go on").click()


def pay(page: Page, number: str, button: str) -> None:
    another = page.get_by_label("Another card")  # offered beside the card of the purchase before
    if another.count():
        another.check()
    page.get_by_label("Card number").fill(number)
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("CVC").fill("123")
    page.get_by_label("Name on card").fill("Ann Example")
    page.get_by_role("button", name=re.compile(button)).click()


def balance(page: Page) -> int:
    page.goto("/dashboard")
    figure = page.locator(".stat-large .stat-value").first.inner_text()
    return int(re.sub(r"\D", "", figure))


def test_a_stranger_signs_up_buys_and_spends(page: Page, request: pytest.FixtureRequest) -> None:
    email = f"ann-{'script' if 'without' not in request.node.name else 'plain'}@example.com"

    page.goto("/pricing")
    page.get_by_role("button", name=re.compile("Buy 30 credits")).click()
    sign_up(page, email)
    expect(page.get_by_role("heading", level=1)).to_contain_text("30 credits")
    page.get_by_role("button", name="Pay $20.00").click()

    page.wait_for_url(re.compile(r"/c/pay/cs_test_"))
    pay(page, "4000 0000 0000 0002", r"Pay")
    expect(page.get_by_role("alert")).to_contain_text("Your card was declined.")
    pay(page, "4242 4242 4242 4242", r"Pay")
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    assert balance(page) == 33

    page.goto("/cv")
    page.get_by_label(re.compile("CV")).first.fill(CV)
    page.get_by_role("button", name="See the price").click()
    quote = page.locator(".cv-quote").inner_text()
    pages = int(re.search(r"(\d+) pages?", quote).group(1))  # type: ignore[union-attr]
    page.get_by_role("button", name=re.compile("Check this CV")).click()
    expect(page).to_have_url(re.compile(r"/cv/[0-9a-f]{16,}"))
    assert balance(page) == 33 - pages

    page.goto("/pricing")
    browsers.go(page, page.get_by_role("button", name="Choose Pro"))
    pay(page, "4000 0025 0000 3155", r"Subscribe")
    page.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    assert balance(page) == 33 - pages + 50
    expect(page.get_by_role("main")).to_contain_text("Pro plan, from")
    expect(page.get_by_role("main")).to_contain_text("Purchased credits")
    page.goto("/billing")
    expect(page.get_by_role("main")).to_contain_text("Pro, monthly, renews on")

    page.goto("/dashboard")
    leave = page.get_by_role("button", name="Log out")
    if not leave.is_visible():
        page.locator("summary").filter(has_text=re.compile("account|@", re.IGNORECASE)).first.click()
    browsers.go(page, leave)
    page.goto("/dashboard")
    expect(page).to_have_url(re.compile(r"/login"))
