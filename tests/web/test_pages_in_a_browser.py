"""Pages in Chromium: accessible, within the screen, complete without script, and helpful with it."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Page, expect

from tests import browsers
from tests.persons import sign_up
from tests.web.busy_account import busy_person
from tests.web.conftest import OpenPage

pytestmark = pytest.mark.browser

PUBLIC = (
    *("/", "/pricing", "/login", "/register", "/password/forgot"),
    *("/terms", "/privacy", "/dev/gallery", "/no-such-page", "/pricing/paid"),
)
SIGNED_IN = (
    *("/dashboard", "/billing", "/billing/statement", "/billing/auto-top-up", "/billing/redeem"),
    *("/cv", "/cv/history", "/pricing", "/password/change"),
)
LOOKS = tuple((width, theme) for width in (1280, 390) for theme in ("light", "dark"))
EVERYTHING = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# What depends on the theme and the width; the rest is the same in all of them.
APPEARANCE = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": ["color-contrast", "target-size"]}}


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages_are_accessible(open_page: OpenPage, path: str) -> None:
    assert_accessible(open_page(path), path)


@pytest.mark.parametrize("path", SIGNED_IN)
def test_the_pages_of_an_account_are_accessible(app: Flask, open_page: OpenPage, path: str) -> None:
    for person in (sign_up(app), busy_person(app)):
        assert_accessible(open_page(path, person=person), path)


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_no_page_is_wider_than_the_screen(app: Flask, open_page: OpenPage, width: int) -> None:
    busy = busy_person(app)
    for person, paths in ((None, PUBLIC), (busy, SIGNED_IN)):
        page = open_page("/", width=width, person=person)
        for path in paths:
            page.goto(path)
            needed = page.evaluate("document.documentElement.scrollWidth")
            assert needed <= width, f"{path} needs {needed} px of {width}"


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_the_theme_changes_and_stays(open_page: OpenPage, script: bool) -> None:
    page = open_page("/terms", script=script)
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.url.endswith("/terms")
    page.goto("/privacy")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Auto").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")


def test_a_password_can_be_shown_and_is_sent_as_one(open_page: OpenPage) -> None:
    page = open_page("/login")
    password = page.get_by_label("Password", exact=True)
    password.fill("correct horse")
    page.get_by_role("button", name="Show the password").click()
    expect(password).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide the password").click()
    expect(password).to_have_attribute("type", "password")


def test_a_form_under_way_says_so_and_is_sent_once(open_page: OpenPage) -> None:
    page = open_page("/login")
    # Counts what would leave the page, and keeps it here.
    page.evaluate("""() => {
        window.sent = 0;
        addEventListener("submit", (event) => {
            window.sent += event.defaultPrevented ? 0 : 1;
            event.preventDefault();
        });
    }""")
    button = page.locator("main form button[type=submit]")
    button.click()
    expect(button).to_have_text("Logging you in")
    expect(button).to_have_attribute("aria-busy", "true")
    button.click()
    assert page.evaluate("window.sent") == 1


def test_a_value_can_be_copied(open_page: OpenPage) -> None:
    page = open_page("/dev/gallery")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("[data-copy=key]")
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.get_by_label("API key").input_value()


def test_a_form_that_is_refused_leads_to_its_fields(open_page: OpenPage) -> None:
    page = open_page("/login", script=False)
    page.locator("main form").get_by_role("button", name="Log in").click()
    expect(page).to_have_title("Error: Log in - Tollgate")
    summary = page.get_by_role("alert")
    summary.get_by_role("link").first.click()
    expect(page.locator("input[aria-invalid]").first).to_be_focused()


def test_the_account_menu_opens_without_script_and_logs_out(app: Flask, open_page: OpenPage) -> None:
    page = open_page("/dashboard", script=False, person=sign_up(app))
    page.locator(".menu summary").click()
    browsers.go(page, page.get_by_role("button", name="Log out"))
    page.goto("/dashboard")
    assert "/login" in page.url


def test_a_dialog_opens_in_place_and_returns_the_focus(open_page: OpenPage) -> None:
    page = open_page("/dev/gallery")
    opener = page.get_by_role("link", name="Cancel the plan")
    opener.click()
    dialog = page.get_by_role("dialog", name="Cancel Pro on 21 December?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Keep Pro").click()
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_file_is_checked_before_it_travels(open_page: OpenPage) -> None:
    page = open_page("/dev/gallery")
    field = page.locator("input[type=file]")
    status = page.locator("[data-dropzone-status]")
    field.set_input_files({"name": "cv.pdf", "mimeType": "application/pdf", "buffer": b"x" * 2500})
    expect(status).to_have_text("cv.pdf, 3 kB")
    field.set_input_files({"name": "cv.exe", "mimeType": "application/octet-stream", "buffer": b"x"})
    expect(status).to_contain_text("cv.exe is not a kind of file that can be read here")
    assert field.evaluate("input => input.files.length") == 0
    field.set_input_files({"name": "cv.pdf", "mimeType": "application/pdf", "buffer": b"x" * 1_200_000})
    expect(status).to_contain_text("at most 1.0 MB can be read")
    assert field.evaluate("input => input.files.length") == 0


def assert_accessible(page: Page, path: str) -> None:
    """Fail with what axe finds, in its words: in both themes, on a wide and on a narrow screen."""
    lines = []
    page.wait_for_load_state()
    for number, (width, theme) in enumerate(LOOKS):
        page.set_viewport_size({"width": width, "height": 900})
        # Without transitions, which would blend two colours while axe measures.
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found = Axe().run(page, options=APPEARANCE if number else EVERYTHING).response["violations"]
        where = f"{path} at {width}, {theme}"
        lines += [f"{where}: {v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes']]}" for v in found]
    assert not lines, "\n".join(lines)
