"""A real browser in front of the app on a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from werkzeug.serving import make_server

from tests.browsers import STILL
from tests.persons import Person

OpenPage = Callable[..., Page]


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """The address of the app on a free port of this host."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def is_complaint(message: ConsoleMessage) -> bool:
    """Tell whether the browser says that a page is made wrongly; that a page itself answers 404 is no such thing."""
    is_missing = message.text.startswith("Failed to load resource")
    return message.type == "error" and (not is_missing or "/static/" in str(message.location.get("url")))


@pytest.fixture
def open_page(chromium: Browser, site: str) -> Iterator[OpenPage]:
    """Open a page of the site: `open_page("/pricing", width=390, dark=True, script=False, person=ann)`.

    What the browser refused, by the content security policy or because a file is missing, fails the test.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(
        path: str, *, width: int = 1280, dark: bool = False, script: bool = True, person: Person | None = None
    ) -> Page:
        context = chromium.new_context(
            base_url=site,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            **STILL,
        )
        contexts.append(context)
        if person is not None:
            cookie = person.client.get_cookie("session")
            assert cookie is not None
            context.add_cookies([{"name": "session", "value": cookie.value, "url": site}])
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
