"""The back office in Chromium: a refund with its preview, evidence, accessible pages, nothing wider than the screen."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.admin.office import Office
from tests.admin.test_disputes import disputed
from tests.web.conftest import OpenPage, open_page, site

__all__ = ["open_page", "site"]

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]


def assert_accessible(page: Page, path: str) -> None:
    page.wait_for_load_state()
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": RULES}).response["violations"]
    assert found == [], f"{path}: {[(v['id'], [n['target'] for n in v['nodes']]) for v in found]}"


def test_a_refund_with_its_preview(office: Office, open_page: OpenPage) -> None:
    ann = office.customer()
    office.spend(ann, 13)
    page = open_page("/admin", person=office.staff)
    page.get_by_role("searchbox", name="Find a customer").fill("ann@")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="ann@example.com").click()
    page.get_by_role("link", name="Refund 30 credits").click()
    page.get_by_label("The customer asked for it").check()
    page.get_by_label("Note").fill("Could not use it")
    page.get_by_role("button", name="See what it does").click()
    expect(page.get_by_role("heading", name="Refund $20.00?")).to_be_visible()
    expect(page.get_by_text("10 credits were spent already")).to_be_visible()
    assert_accessible(page, "refund preview")
    assert office.payment(ann).refunded_cents == 0
    page.get_by_role("button", name="Refund $20.00").click()
    expect(page.get_by_role("status")).to_contain_text("$20.00 refunded.")
    expect(page.get_by_text("Refunded $20.00").first).to_be_visible()
    assert office.balance(ann).debt == 10


def test_evidence_is_saved_and_sent(office: Office, open_page: OpenPage) -> None:
    disputed(office, spent=13)
    page = open_page("/admin/disputes", person=office.staff, script=False)
    page.locator("main tbody th a").first.click()
    expect(page.get_by_label("Log of use")).to_have_value(re.compile("used 13 credits"))
    page.get_by_label("Anything else").fill("They wrote to us on Monday")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_role("status")).to_contain_text("Saved at Stripe.")
    expect(page.get_by_label("Anything else")).to_have_value("They wrote to us on Monday")
    page.get_by_role("button", name="Send to the bank").click()
    expect(page.get_by_text("The bank has it")).to_be_visible()
    expect(page.get_by_text("They wrote to us on Monday")).to_be_visible()
    assert office.dispute().stripe_status == "under_review"


def test_every_page_is_accessible_and_fits_the_screen(office: Office, open_page: OpenPage) -> None:
    ann = disputed(office, spent=13)
    office.act(office.path(ann), f"{office.path(ann)}/credits", **{"adjust-credits": "5", "adjust-reason": "A gift"})
    dispute = f"/admin/disputes/{office.dispute().stripe_id}"
    pages = ("/admin", "/admin/customers", office.path(ann), "/admin/disputes", dispute)
    pages += ("/admin/sync", "/admin/mails", "/admin/audit")
    for width, dark in LOOKS:
        page = open_page("/admin", width=width, dark=dark, person=office.staff)
        for path in pages:
            page.goto(path)
            needed = page.evaluate("document.documentElement.scrollWidth")
            assert needed <= width, f"{path} needs {needed} px of {width}"
            if width == 1280 and not dark:
                assert_accessible(page, path)
