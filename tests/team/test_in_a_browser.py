"""A team in Chromium: from the invitation to the last click of somebody who was removed, accessible on the way."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import expect

from tests.auth import mailbox
from tests.reports.buying import ONE_PAGE, give_credits
from tests.team import teams
from tests.web.conftest import OpenPage, open_page, site
from tests.web.test_pages_in_a_browser import assert_accessible

__all__ = ["open_page", "site"]

pytestmark = pytest.mark.browser

PASSWORD = "six random words for a gate"


def test_a_stranger_is_invited_signs_up_spends_the_teams_credits_and_is_removed(
    app: Flask, open_page: OpenPage
) -> None:
    ann = teams.owner(app)
    give_credits(app, ann, 20)
    boss = open_page("/team", person=ann)
    boss.get_by_label("E-mail address").fill("bob@example.com")
    boss.get_by_role("button", name="Send the invitation").click()
    expect(boss.get_by_role("status")).to_contain_text("The invitation for bob@example.com is on its way")

    page = open_page(mailbox.link(app, "/invitations/"), width=390)
    expect(page.get_by_role("heading", level=1)).to_have_text("Join the team of ann")
    assert_accessible(page, "/invitations/...")
    page.get_by_role("main").get_by_role("link", name="Sign up").click()
    expect(page.get_by_label("E-mail")).to_have_value("bob@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check your mail")
    page.goto(mailbox.link(app, "/verify/"))
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_role("heading", name="ann@example.com invites you")).to_be_visible()
    assert_accessible(page, "/accounts")
    page.get_by_role("button", name="Join ann").click()
    expect(page.get_by_role("status")).to_contain_text("You act for ann now")

    page.goto("/cv")
    page.get_by_label("CV").first.fill(ONE_PAGE)
    page.get_by_role("button", name="See the price").click()
    page.get_by_role("button", name="Check this CV").click()
    page.wait_for_url("**/cv/*")
    assert ann.balance() == 19
    page.goto("/billing")
    expect(page.get_by_role("heading", level=1)).to_have_text("The owner takes care of this")

    boss.goto("/team")
    assert_accessible(boss, "/team")
    for width in (390, 320):
        boss.set_viewport_size({"width": width, "height": 900})
        assert boss.evaluate("document.documentElement.scrollWidth") <= width
    boss.get_by_role("button", name="Remove bob@example.com").click()
    expect(boss.get_by_role("status")).to_contain_text("bob@example.com is no longer in the team")
    page.goto("/dashboard")
    expect(page.get_by_role("status")).to_contain_text("You no longer belong to the team")
    assert ann.balance() == 19


def test_an_owner_makes_an_admin_renames_the_account_and_hands_it_over(app: Flask, open_page: OpenPage) -> None:
    ann = teams.owner(app)
    bob = teams.joined(ann)
    boss = open_page("/team", person=ann, script=False)
    boss.get_by_role("button", name="Make bob@example.com an admin").click()
    expect(boss.get_by_role("status")).to_contain_text("bob@example.com is an admin now")
    boss.get_by_role("link", name="Rename it").click()
    boss.get_by_label("Name").fill("Gate Keepers")
    boss.get_by_role("button", name="Save the name").click()
    boss.get_by_role("link", name="Hand it over").click()
    expect(boss.get_by_role("heading", level=1)).to_have_text("Hand Gate Keepers over")
    boss.get_by_label("bob@example.com").check()
    boss.get_by_role("button", name="Hand the account over").click()
    expect(boss.get_by_role("status")).to_contain_text("Gate Keepers belongs to bob@example.com now")
    expect(boss.get_by_role("link", name="Hand it over")).to_have_count(0)

    for path in ("/team", "/team/name", "/team/owner"):
        page = open_page(path, person=bob, width=390)
        assert_accessible(page, path)
        for width in (390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
