"""The browsers in which somebody is logged in: all listed, and each logged out from any other."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from blueprints.settings.overview import browser
from tests.billing.forms import open_form, send, submit
from tests.persons import post, sign_up
from tests.settings.test_changing_the_address import another_browser
from tests.team import teams
from tests.web.conftest import OpenPage, open_page, site
from tests.web.test_pages_in_a_browser import assert_accessible

__all__ = ["open_page", "site"]

END, END_OTHERS = "/settings/sessions/end", "/settings/sessions/end-others"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"


def test_another_browser_is_logged_out_from_here(app: Flask) -> None:
    ann = sign_up(app)
    other = another_browser(ann)
    page = teams.page(ann, "/settings")
    assert page.count("Log out A browser") == 1, "this browser is not offered"
    form = open_form(ann, "/settings", END)
    assert [send(ann, END, form).status_code for _ in range(2)] == [303, 303]
    assert [each.client.get("/settings").status_code for each in (ann, other)] == [200, 303]
    assert END_OTHERS not in teams.page(ann, "/settings")


def test_all_others_are_logged_out_at_once(app: Flask) -> None:
    ann = sign_up(app)
    others = [another_browser(ann) for _ in range(3)]
    assert submit(ann, "/settings", END_OTHERS).status_code == 303
    assert [each.client.get("/settings").status_code for each in (ann, *others)] == [200, 303, 303, 303]


def test_nobody_logs_out_somebody_else(app: Flask) -> None:
    ann, eve = sign_up(app), sign_up(app, "eve@example.com")
    another_browser(ann)
    number = open_form(ann, "/settings", END)["session"]
    assert post(eve.client, END, session=number).status_code == 303
    assert "was logged out before" in teams.page(eve, "/settings")
    assert len(re.findall(rf'action="{END}"', teams.page(ann, "/settings"))) == 1
    for odd in ("", "x", "-1", "9" * 40):
        assert post(eve.client, END, session=odd).status_code == 404


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [(FIREFOX, "Firefox on Linux"), (EDGE, "Edge on Windows"), (SAFARI, "Safari on iPhone"), ("", "A browser")],
)
def test_a_browser_is_named_by_what_it_says_of_itself(user_agent: str, words: str) -> None:
    assert browser(user_agent) == words


@pytest.mark.browser
def test_the_settings_are_accessible_and_narrow(app: Flask, open_page: OpenPage) -> None:
    ann = sign_up(app)
    another_browser(ann)
    page = open_page("/settings", person=ann, width=390)
    assert_accessible(page, "/settings")
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
