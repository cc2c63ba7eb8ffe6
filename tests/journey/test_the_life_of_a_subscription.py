"""A subscription's whole life, clicked in a real browser through our pages and Stripe's, each page tried with axe.

The app and the local Stripe run in this process, on two sockets, so that months pass in a moment and nothing sleeps.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from app import create_app
from billing import stripe_catalog
from extensions import db
from stripe_sandbox.testing import Sandbox
from tests import browsers, worlds
from tests.conftest import WEBHOOK_SECRET
from tests.journey.conftest import free_port
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

pytestmark = pytest.mark.browser

RULES = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@contextmanager
def served(app: Any, port: int) -> Iterator[None]:
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def shop(app: Flask, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Stripe]:
    """An app that sells the preset `projects`, or another with promotions, and its local Stripe, both to be visited."""
    preset, promotions = getattr(request, "param", ("projects", ()))
    ours, theirs = free_port(), free_port()
    sandbox = Sandbox(base_url=f"http://127.0.0.1:{theirs}")
    worlds.empty(sandbox)
    config = dataclasses.replace(
        app.config["TOLLGATE"],
        catalog=preset,
        app_base_url=f"http://127.0.0.1:{ours}",
        stripe_api_base=sandbox.base_url,
    )
    seller = create_app(config, stripe_http_client=sandbox.http_client())
    seller.extensions["catalog"] = dataclasses.replace(seller.extensions["catalog"], promotions=promotions)
    sandbox.add_webhook(f"{config.app_base_url}/webhooks/stripe", WEBHOOK_SECRET)
    with seller.app_context():
        stripe_catalog.push()
    stripe = Stripe(seller, sandbox)
    stripe.discard_deliveries()
    clock.sandbox = sandbox
    with served(seller, ours), served(sandbox.app, theirs):
        yield stripe
    assert stripe.unexpected_violations() == []
    with seller.app_context():
        db.engine.dispose()


class Visitor:
    """A person at a browser; whatever they do, Stripe's news has arrived before they look again."""

    def __init__(self, stripe: Stripe, clock: Clock, chromium: Browser, *, script: bool) -> None:
        self.stripe, self.clock, self.script = stripe, clock, script
        self.url = stripe.app.config["TOLLGATE"].app_base_url
        self.ann: Person = sign_up(stripe.app)
        self.context = chromium.new_context(base_url=self.url, java_script_enabled=script, **browsers.STILL)
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self._log_in()

    def _log_in(self) -> None:
        log_in_again(self.ann)
        cookie = self.ann.client.get_cookie("session")
        assert cookie is not None
        self.context.clear_cookies()
        self.context.add_cookies([{"name": "session", "value": cookie.value, "url": self.url}])

    def open(self, path: str) -> None:
        """Open one of our pages, as things stand at Stripe, and try it with axe."""
        self.stripe.settle()
        self.page.goto(self.url + path)
        self.check()

    def check(self) -> None:
        self.page.wait_for_load_state()
        found = Axe().run(self.page, options=RULES).response["violations"] if self.script else []
        assert [f"{self.page.url}: {v['id']}: {[n['html'][:160] for n in v['nodes']]}" for v in found] == []

    def press(self, name: str) -> None:
        browsers.go(self.page, self.page.get_by_role("main").get_by_role("button", name=name, exact=True).first)

    def follow(self, name: str) -> None:
        browsers.go(self.page, self.page.get_by_role("main").get_by_role("link", name=name, exact=True).first)

    def reads(self, words: str) -> None:
        expect(self.page.locator("body")).to_contain_text(words)

    def pass_time(self, **parts: float) -> None:
        self.clock.advance(**parts)
        self.stripe.settle()
        self._log_in()

    def give_card(self, number: str) -> None:
        self.page.get_by_label("Card number").fill(number)
        self.page.get_by_label("Expiry date").fill("12 / 34")
        self.page.get_by_label("CVC").fill("123")
        self.page.get_by_label("Name on card").fill("Ann Example")

    def update_card(self, number: str) -> None:
        """Go to the portal by "Update card", give a card there, and come back."""
        browsers.go(self.page, self.page.get_by_role("button", name="Update card").first)
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Add a payment method")
        self.give_card(number)
        browsers.go(self.page, self.page.get_by_role("button", name="Add the card"))
        expect(self.page).to_have_url(re.compile(re.escape(self.url)))


@pytest.fixture
def visit(shop: Stripe, clock: Clock, chromium: Browser) -> Iterator[Any]:
    visitors: list[Visitor] = []

    def visit(*, script: bool) -> Visitor:
        visitors.append(Visitor(shop, clock, chromium, script=script))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()


def test_from_a_trial_through_dunning_and_changes_of_plan(visit: Any) -> None:
    ann: Visitor = visit(script=True)
    ann.open("/projects")
    ann.page.get_by_label("Name").fill("Shop")
    ann.press("Make the project")
    ann.open("/projects")
    ann.reads("Your plan is full. Remove a project, or choose Starter, which has room for 3.")
    ann.follow("Compare plans")
    ann.press("Try Starter free")
    ann.give_card("4242 4242 4242 4242")
    ann.page.get_by_role("button", name="Start trial").click()
    ann.reads("Thank you")
    ann.open("/billing")
    ann.reads("14 days left")
    ann.reads("your card is charged $19.00")
    ann.pass_time(days=14, hours=2)
    ann.open("/billing")
    ann.reads("Starter, monthly, renews on")

    ann.update_card("4000 0000 0000 0341")
    ann.follow("Change plan")
    ann.check()
    browsers.go(ann.page, ann.page.get_by_role("link", name="Preview Pro by the month"))
    ann.check()
    ann.page.get_by_role("button", name=re.compile(r"Pay \$.* and change")).click()
    ann.reads("Nothing was charged, and your plan has not changed.")
    ann.reads("Your change to Pro waits for its payment")
    ann.press("Take the change back")
    ann.reads("Taken back. Your plan stays as it is.")

    ann.pass_time(days=31, hours=2)
    ann.open("/dashboard")
    ann.reads("We could not charge $19.00 for Starter")
    ann.update_card("4242 4242 4242 4242")
    ann.reads("Your new card has paid the open invoice.")
    ann.open("/dashboard")
    expect(ann.page.locator("body")).not_to_contain_text("We could not charge")

    for preview, button, said in (
        ("Preview Pro by the month", r"Pay \$.* and change", "Done. You are on Pro now."),
        ("Preview Pro by the year", r"Pay \$.* and change", "Done. You are on Pro now."),
        ("Preview Starter by the month", r"Change on", "Planned. The change to Starter happens on"),
    ):
        ann.open("/billing/change")
        ann.page.get_by_role("link", name=preview).click()
        ann.page.get_by_role("button", name=re.compile(button)).click()
        ann.reads(said)
    ann.open("/billing")
    ann.reads("Starter begins on")
    ann.press("Take the change back")
    ann.reads("Pro, yearly, renews on")


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_pausing_leaving_staying_and_the_papers(visit: Any, script: bool) -> None:
    ann: Visitor = visit(script=script)
    ann.stripe.pay(ann.ann.checkout("starter_monthly"))
    ann.pass_time(days=14, hours=2)

    ann.open("/billing")
    ann.follow("Pause")
    ann.check()
    ann.press("Pause Starter")
    ann.reads("Nothing is charged. What you have paid for stays open until")
    ann.pass_time(days=40)
    ann.open("/dashboard")
    ann.reads("Starter is paused")
    browsers.go(ann.page, ann.page.get_by_role("link", name="Go on with Starter").first)
    ann.check()
    ann.press("Pay $19.00 and go on")
    ann.reads("Starter goes on.")

    ann.follow("Cancel Starter")
    ann.check()
    ann.page.get_by_label("It costs too much").check()
    ann.page.get_by_role("button", name=re.compile("Cancel on")).click()
    ann.reads("Cancelled. Everything stays as it is until")
    ann.press("Resume Starter")
    ann.reads("Resumed.")

    ann.open("/billing")
    ann.follow("All invoices")
    ann.check()
    browsers.go(ann.page, ann.page.get_by_role("link", name=re.compile("^Receipt for Starter, monthly")).first)
    ann.check()
    ann.reads("$19.00")
    ann.open("/billing/cancel/now")
    ann.press("End Starter now")
    ann.reads("Ended. You are on the free plan now")
    ann.open("/billing")
    ann.reads("Starter ended on")
