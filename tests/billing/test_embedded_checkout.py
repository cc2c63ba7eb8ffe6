"""Stripe's form within a page of ours, and Stripe's own page for whoever cannot use it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from config import Config, ConfigError
from stripe_sandbox.testing import Sandbox
from tests.billing.forms import submit
from tests.conftest import SETTINGS
from tests.persons import Person, post, sign_up
from tests.worlds import Stripe

CHECKOUT = "/pricing/checkout/credits_30"


@pytest.fixture
def embedded(app: Flask, stripe: Stripe) -> Iterator[Stripe]:
    """The shop with CHECKOUT_UI=embedded, whose local Stripe answers on a socket of its own."""
    server = make_server("127.0.0.1", 0, stripe.sandbox.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    usual = app.config["TOLLGATE"]
    app.config["TOLLGATE"] = dataclasses.replace(
        usual,
        checkout_ui="embedded",
        stripe_publishable_key="pk_test_sandbox",
        stripe_api_base=f"http://127.0.0.1:{server.server_port}",
    )
    yield stripe
    app.config["TOLLGATE"] = usual
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Browser, app: Flask, embedded: Stripe) -> Iterator[Page]:
    """A browser of Ann's, with or without script, in front of the shop."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    usual = app.config["TOLLGATE"]
    app.config["TOLLGATE"] = dataclasses.replace(usual, app_base_url=url)
    context = chromium.new_context(base_url=url, java_script_enabled=getattr(request, "param", True))
    cookie = sign_up(app).client.get_cookie("session")
    assert cookie is not None
    context.add_cookies([{"name": "session", "value": cookie.value, "url": url}])
    yield context.new_page()
    context.close()
    app.config["TOLLGATE"] = usual
    server.shutdown()
    thread.join()
    server.server_close()


def pay_page(ann: Person) -> str:
    answer = post(ann.client, CHECKOUT)
    assert answer.status_code == 303
    return urlsplit(answer.location).path


def test_the_page_alone_lets_stripe_in(app: Flask, embedded: Stripe) -> None:
    ann = sign_up(app)
    here = ann.client.get(pay_page(ann))
    own = app.config["TOLLGATE"].stripe_api_base
    policy = here.headers["Content-Security-Policy"]
    assert f"script-src 'self' {own};" in policy
    assert f"frame-src {own}" in policy
    assert "frame-ancestors 'none'" in policy
    assert "/endive/stripe.js" in here.get_data(as_text=True)
    elsewhere = ann.client.get("/billing").headers["Content-Security-Policy"]
    assert "script-src 'self';" in elsewhere
    assert "frame-src" not in elsewhere


@pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])
def test_the_same_session_is_offered_again_and_another_ui_gets_another(
    app: Flask, embedded: Stripe, order: str, times: int
) -> None:
    ann = sign_up(app)
    first = pay_page(ann)
    assert pay_page(ann) == first
    hosted = submit(ann, first, CHECKOUT)
    assert hosted.location.startswith("http://stripe.test/checkout/c/pay/")
    embedded.pay(hosted.location)
    embedded.settle(order=order, times=times)
    assert ann.balance_of("purchase") == 30


def test_a_plan_is_open_in_one_place_only(app: Flask, embedded: Stripe) -> None:
    ann = sign_up(app)
    answer = post(ann.client, "/pricing/checkout/pro_monthly")
    hosted = submit(ann, urlsplit(answer.location).path, "/pricing/checkout/pro_monthly").location
    is_open = [s.url for s in embedded.api.v1.checkout.sessions.list({"limit": 10}).data if s.status == "open"]
    assert is_open == [hosted]
    assert "/billing/success" in ann.client.get(urlsplit(answer.location).path).location


def test_embedded_needs_the_publishable_key() -> None:
    with pytest.raises(ConfigError, match="STRIPE_PUBLISHABLE_KEY"):
        Config.from_env({**SETTINGS, "CHECKOUT_UI": "embedded"})
    with pytest.raises(ConfigError, match="CHECKOUT_UI"):
        Config.from_env({**SETTINGS, "CHECKOUT_UI": "custom"})


def test_the_local_stripe_refuses_what_stripe_refuses(sandbox: Sandbox) -> None:
    browser = sandbox.browser()
    with browser.get("/endive/stripe.js") as script:
        assert script.mimetype == "text/javascript"
    assert browser.get("/v3/stripe.js").status_code == 404
    assert browser.get("/checkout/embedded/cs_test_1_secret_1?key=pk_test_1").status_code == 404


@pytest.mark.browser
def test_a_person_pays_in_the_frame(page: Page, embedded: Stripe) -> None:
    page.goto("/pricing")
    page.get_by_role("button", name="Buy 30 credits").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pay for 30 credits")
    form = page.frame_locator("iframe")
    form.get_by_label("Card number").fill("4000 0027 6000 3184")
    form.get_by_label("Expiry date").fill("12 / 34")
    form.get_by_label("CVC").fill("123")
    form.get_by_label("Name on card").fill("Ann Example")
    form.get_by_role("button", name="Pay $20.00").click()
    form.get_by_role("button", name="Complete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
    expect(page.get_by_role("main")).to_contain_text("30 credits bought")


@pytest.mark.browser
@pytest.mark.parametrize("page", [False], indirect=True, ids=["without script"])
def test_without_script_the_way_is_stripes_own_page(page: Page) -> None:
    page.goto("/pricing")
    page.get_by_role("button", name="Buy 30 credits").click()
    expect(page.get_by_role("main")).to_contain_text("needs JavaScript")
    expect(page.locator("iframe")).to_have_count(0)
    assert page.get_by_role("button", name="Pay on Stripe's own page").is_visible()


@pytest.mark.browser
def test_without_stripes_script_the_page_says_so(page: Page) -> None:
    page.route("**/stripe.js", lambda route: route.abort())
    page.goto("/pricing")
    page.get_by_role("button", name="Buy 30 credits").click()
    expect(page.get_by_text("Stripe's form did not load here")).to_be_visible()
    assert page.get_by_role("button", name="Pay on Stripe's own page").is_visible()
