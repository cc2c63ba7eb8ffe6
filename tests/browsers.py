"""A real Chromium for the tests that need one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Without transitions, which would blend two colours while axe measures: the pointer stays where the last click was.
STILL: dict[str, Any] = {"reduced_motion": "reduce"}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium, where it is installed; with CI set a missing one is a failure."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and nothing may be left out here")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def go(page: Page, through: Locator) -> None:
    """Click what leads to another page, and return once that page is there as a whole.

    For whoever then looks at the page as it stands, with axe or by its text: half of a page passes for a faulty one.
    """
    with page.expect_navigation():
        through.click()
