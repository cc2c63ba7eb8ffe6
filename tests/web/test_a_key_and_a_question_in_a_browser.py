"""In a browser: a key is made, used by a real HTTP call and revoked; a question is asked and found by staff."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.persons import hire, sign_up
from tests.plans import open_plan
from tests.web.conftest import OpenPage
from tests.web.test_pages_in_a_browser import assert_accessible

pytestmark = pytest.mark.browser


def call(address: str, secret: str) -> tuple[int, dict[str, Any]]:
    """Ask for the balance as a program does: over a socket, with nothing but a key."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    with closing(connection):
        connection.request("GET", "/api/v1/balance", headers={"Authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def assert_fits(page: Page, width: int = 320) -> None:
    """Fail when a page is wider than the narrowest screen."""
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_key_and_a_question_live_their_lives(app: Flask, site: str, open_page: OpenPage) -> None:
    ann, staff = sign_up(app), hire(sign_up(app, "staff@example.com"))
    open_plan(ann)
    page = open_page("/dashboard", person=ann)
    page.locator(".menu summary").click()
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("No key yet")).to_be_visible()
    page.get_by_label("Name").fill("Nightly import")
    page.get_by_role("button", name="Make the key").click()
    secret = page.get_by_label("Nightly import", exact=True).input_value()
    status, standing = call(site, secret)
    assert (status, standing["credits"], standing["plan"]["key"]) == (200, 3, "team")
    assert_accessible(page, "a new key")
    assert_fits(page)

    page.goto("/account/api-keys")
    assert secret not in page.content()
    expect(page.get_by_text("last used just now")).to_be_visible()
    page.get_by_role("button", name="Revoke Nightly import").click()
    expect(page.get_by_text("Nightly import is revoked.")).to_be_visible()
    assert call(site, secret)[0] == 401

    page.locator(".menu summary").click()
    page.locator(".menu").get_by_role("link", name="Support").click()
    expect(page.get_by_text("Priority support")).to_be_visible()
    page.get_by_role("button", name="Send the message").click()
    expect(page.get_by_role("alert")).to_contain_text("2 things need your attention")
    page.get_by_label("Subject").fill("The import stops")
    page.get_by_label("Message").fill("Since today it answers 401.\nWhy?")
    page.get_by_role("button", name="Send the message").click()
    expect(page.get_by_text("Your message is with us.")).to_be_visible()
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    assert_accessible(page, "a question")
    assert_fits(page)

    office = open_page("/admin", person=staff)
    office.get_by_role("link", name="Support", exact=True).first.click()
    row = office.get_by_role("listitem").filter(has_text="The import stops")
    expect(row).to_contain_text("Priority")
    row.get_by_text("The import stops").click()
    expect(row).to_contain_text("Since today it answers 401.")
    assert_accessible(office, "/admin/support")
    assert_fits(office)
    office.get_by_role("button", name="Mark as answered: The import stops").click()
    expect(office.get_by_text("Nobody waits for an answer")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Answered", exact=True)).to_be_visible()
