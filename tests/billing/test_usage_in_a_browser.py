"""The cap form and the bars in Chromium: by keyboard and without script, accessible, within the screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from tests.billing.test_metered_usage import standing, subscriber, use
from tests.billing.test_usage_pages import project
from tests.web.conftest import OpenPage, open_page
from tests.web.test_pages_in_a_browser import assert_accessible
from tests.worlds import Clock, Stripe

__all__ = ["open_page"]

pytestmark = pytest.mark.browser


@pytest.fixture
def site(shop: Stripe) -> Iterator[str]:
    """The address of the app that sells the preset `projects`."""
    server = make_server("127.0.0.1", 0, shop.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_cap_is_set_without_script_and_the_work_stops_there(shop: Stripe, clock: Clock, open_page: OpenPage) -> None:
    ann = subscriber(shop, clock)
    where = project(ann)
    use(ann, 100_500)
    page = open_page("/billing", person=ann, script=False)
    page.get_by_role("link", name="See your usage and set a cap").click()
    expect(page.get_by_role("img", name="100,500 of 100,000 events used. 500 beyond what is included.")).to_be_visible()
    page.get_by_label("Up to an amount").check()
    page.get_by_role("button", name="Save the cap").click()
    expect(page).to_have_title("Error: Usage - Tollgate")
    expect(page.get_by_role("link", name="Write an amount such as 20 or 20.50.")).to_be_visible()
    page.get_by_label("At most, each month").fill("0.50")
    page.get_by_role("button", name="Save the cap").click()
    expect(page.get_by_role("status")).to_contain_text("$0.50")
    assert standing(ann).allowed == 101_000
    page.goto(where)
    page.get_by_role("spinbutton", name="Events").fill("500")
    page.get_by_role("button", name="Send the events").click()
    expect(page.get_by_text("Your cap is reached.")).to_be_visible()


def test_the_pages_are_accessible_and_fit_the_screen(shop: Stripe, clock: Clock, open_page: OpenPage) -> None:
    ann = subscriber(shop, clock)
    where = project(ann)
    use(ann, 102_500)
    page: Page = open_page("/billing/usage", person=ann)
    for path in ("/billing/usage", "/billing", "/projects", where):
        page.goto(path)
        assert_accessible(page, path)
        page.set_viewport_size({"width": 320, "height": 900})
        needed = page.evaluate("document.documentElement.scrollWidth")
        assert needed <= 320, f"{path} needs {needed} px of 320"
        page.set_viewport_size({"width": 1280, "height": 900})
