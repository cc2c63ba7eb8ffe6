"""The sandbox's pages in Chromium: accessible, within the screen, by keyboard only, and without script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from stripe_sandbox.testing import Sandbox
from tests.browsers import STILL
from tests.sandbox import shop

pytestmark = pytest.mark.browser

LOOKS = ((1280, "light"), (1280, "dark"), (390, "dark"))
EVERYTHING = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# What depends on the theme and the width; the rest is the same in all of them.
APPEARANCE = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": ["color-contrast", "target-size"]}}
OpenPage = Callable[..., Page]


@pytest.fixture
def site(sandbox: Sandbox) -> Iterator[str]:
    """The address of the sandbox on a free port of this host."""
    server = make_server("127.0.0.1", 0, sandbox.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    before, sandbox.base_url = sandbox.base_url, f"http://127.0.0.1:{server.server_port}"
    yield sandbox.base_url
    sandbox.base_url = before
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_page(chromium: Browser, site: str) -> Iterator[OpenPage]:
    """Open a page: `open_page(path, script=False)`; what the browser refuses, such as an inline style, is a failure."""
    contexts, complaints = [], []

    def open_page(path: str, *, width: int = 1280, script: bool = True) -> Page:
        context = chromium.new_context(
            base_url=site, viewport={"width": width, "height": 900}, java_script_enabled=script, **STILL
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(message: Any) -> bool:
    """Tell whether the browser says that a page is made wrongly; that a form is refused with 422 is no such thing."""
    is_status = message.text.startswith("Failed to load resource")
    return message.type == "error" and (not is_status or "/assets/" in str(message.location.get("url")))


@pytest.fixture
def places(sandbox: Sandbox, client: Any, goods: shop.Goods, site: str) -> dict[str, str]:
    """A page of every kind, in a world in which there is something to see on it."""
    sandbox.add_webhook("http://127.0.0.1:9/hook", "whsec_places")
    paid = shop.checkout(client, goods)
    sandbox.pay(paid.url)
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    sandbox.deliver(lambda url, headers, body: 200, limit=3)
    sandbox.deliver(lambda url, headers, body: 500, limit=1)
    sandbox._webhooks.clear()
    pro = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 4000, "recurring": {"interval": "month"}}
    )
    coupon = client.v1.coupons.create({"percent_off": 20, "duration": "once"})
    client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"})
    trial = shop.checkout(
        client,
        goods,
        "subscription",
        subscription_data={"trial_period_days": 14},
        allow_promotion_codes=True,
        tax_id_collection={"enabled": True},
        consent_collection={"terms_of_service": "required"},
        saved_payment_method_options={"allow_redisplay_filters": ["always", "limited"]},
    )
    asked = shop.checkout(client, goods)
    sandbox.browser().post("/checkout/c/pay/" + asked.id, data={**CARD, "card_number": "4000002760003184"})
    client.v1.invoice_items.create(
        {"customer": goods.customer, "amount": 900, "currency": "usd", "description": "Advice"}
    )
    drafted = client.v1.invoices.create(
        {
            "customer": goods.customer,
            "collection_method": "send_invoice",
            "days_until_due": 9,
            "pending_invoice_items_behavior": "include",
        }
    )
    invoice = client.v1.invoices.finalize_invoice(drafted.id)
    features: Any = {
        "subscription_update": {
            "enabled": True,
            "default_allowed_updates": ["price", "quantity"],
            "proration_behavior": "always_invoice",
            "products": [{"product": goods.product, "prices": [goods.plan, pro.id]}],
        },
        "subscription_cancel": {
            "enabled": True,
            "cancellation_reason": {"enabled": True, "options": ["unused", "other"]},
        },
        "payment_method_update": {"enabled": True},
        "invoice_history": {"enabled": True},
        "customer_update": {"enabled": True, "allowed_updates": ["name", "email", "address", "tax_id"]},
    }
    configuration = client.v1.billing_portal.configurations.create({"features": features})
    portal = client.v1.billing_portal.sessions.create(
        {"customer": goods.customer, "configuration": configuration.id, "return_url": "https://shop.example/"}
    )
    home, subscription = "/p/session/" + portal.id, client.v1.subscriptions.list().data[0].id
    charge = client.v1.charges.list().data[-1].id
    delivery = sandbox.store.row("SELECT delivery_id FROM attempts WHERE status = 500")["delivery_id"]
    request = sandbox.store.row("SELECT id FROM requests WHERE method = 'POST' LIMIT 1")["id"]
    return {
        "checkout of a trial": "/checkout/c/pay/" + trial.id,
        "checkout that is paid": "/checkout/c/pay/" + paid.id,
        "3-D Secure": f"/checkout/c/pay/{asked.id}/challenge",
        "portal": home,
        "portal, card": f"{home}/cards/add",
        "portal, details": f"{home}/details",
        "portal, cancel": f"{home}/subscriptions/{subscription}/cancel",
        "portal, change": f"{home}/subscriptions/{subscription}/change",
        "portal, confirm": f"{home}/subscriptions/{subscription}/change/confirm?price={pro.id}",
        "invoice": "/invoice/" + invoice.hosted_invoice_url.rsplit("/", 1)[-1],
        "invoice, printable": "/invoice/" + invoice.hosted_invoice_url.rsplit("/", 1)[-1] + "/pdf",
        "receipt": f"/receipts/{charge}",
        "overview": "/dashboard",
        "objects": "/dashboard/objects",
        "charge": f"/dashboard/objects/{charge}",
        "endpoint": "/dashboard/objects/" + client.v1.webhook_endpoints.list().data[0].id,
        "new endpoint": "/dashboard/endpoints",
        "events": "/dashboard/events",
        "deliveries": "/dashboard/deliveries",
        "delivery": f"/dashboard/deliveries/{delivery}",
        "requests": "/dashboard/requests",
        "request": f"/dashboard/requests/{request}",
        "time": "/dashboard/time",
        "faults": "/dashboard/faults",
        "nothing": "/dashboard/objects/nothing",
    }


CARD = {"card_number": "4242424242424242", "card_expiry": "12 / 34", "card_cvc": "123", "billing_name": "Jenny"}


def test_every_page_is_accessible_in_both_themes_wide_and_narrow(places: dict[str, str], open_page: OpenPage) -> None:
    page = open_page("/dashboard")
    found = [line for name, path in places.items() for line in complaints_about(page, name, path)]
    assert found == []


def complaints_about(page: Page, name: str, path: str) -> list[str]:
    """Return what axe finds, in its words, and what is wider than the screen."""
    lines = []
    page.goto(path)
    for number, (width, theme) in enumerate(LOOKS):
        page.set_viewport_size({"width": width, "height": 900})
        # Without transitions, which would blend two colours while axe measures.
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found = Axe().run(page, options=APPEARANCE if number else EVERYTHING).response["violations"]
        where = f"{name} at {width}, {theme}"
        lines += [f"{where}: {v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes']]}" for v in found]
        needed = page.evaluate("document.documentElement.scrollWidth")
        lines += [f"{where}: needs {needed} px"] if needed > width else []
    return lines


def test_a_refused_card_leaves_an_accessible_page(
    places: dict[str, str], open_page: OpenPage, client: Any, goods: Any
) -> None:
    page = open_page("/checkout/c/pay/" + shop.checkout(client, goods).id)
    page.get_by_role("button", name="Insufficient funds").click()
    page.get_by_role("button", name="Pay $5.00").click()
    expect(page.get_by_role("alert")).to_have_text("Your card has insufficient funds.")
    expect(page.get_by_label("Card number")).to_be_focused()
    page.wait_for_load_state()
    for width, theme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        assert Axe().run(page, options=EVERYTHING).response["violations"] == []


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_a_test_card_is_chosen_and_paid_with_by_keyboard(
    sandbox: Sandbox, client: Any, goods: shop.Goods, open_page: OpenPage, site: str, script: bool
) -> None:
    back = f"{site}/dashboard?session_id={{CHECKOUT_SESSION_ID}}"
    session = shop.checkout(client, goods, success_url=back)
    page = open_page("/checkout/c/pay/" + session.id, script=script)
    tab_to(page, "button", "3-D Secure")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Card number")).to_have_value("4000 0025 0000 3155")
    expect(page.get_by_label("Expiry date")).to_have_value("12 / 34")
    page.get_by_label("CVC").press("Enter")
    tab_to(page, "button", "Complete")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/dashboard?session_id={session.id}")
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def tab_to(page: Page, role: Any, name: str) -> None:
    """Press Tab until something has the focus, as somebody without a mouse does."""
    page.wait_for_load_state()
    target = page.get_by_role(role, name=name, exact=True)
    expect(target).to_be_visible()
    for _ in range(80):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{name} cannot be reached by keyboard")


def test_a_number_is_grouped_and_its_brand_is_recognised(client: Any, goods: shop.Goods, open_page: OpenPage) -> None:
    page = open_page("/checkout/c/pay/" + shop.checkout(client, goods).id)
    number = page.get_by_label("Card number")
    number.press_sequentially("378282246310005")
    expect(number).to_have_value("3782 822463 10005")
    expect(page.locator("[data-brands] [data-brand=amex]")).to_be_visible()
    expect(page.locator("[data-brands] [data-brand=visa]")).to_be_hidden()
    page.get_by_label("Expiry date").press_sequentially("1234")
    expect(page.get_by_label("Expiry date")).to_have_value("12 / 34")


def test_a_payment_under_way_says_so_and_is_sent_once(client: Any, goods: shop.Goods, open_page: OpenPage) -> None:
    page = open_page("/checkout/c/pay/" + shop.checkout(client, goods).id)
    # Counts what would leave the page, and keeps it here.
    page.evaluate("""() => {
        window.sent = 0;
        addEventListener("submit", (event) => {
            window.sent += event.defaultPrevented ? 0 : 1;
            event.preventDefault();
        });
    }""")
    button = page.locator("button[data-busy]")
    button.click()
    expect(button).to_have_text("Processing")
    expect(button).to_have_attribute("aria-busy", "true")
    button.click()
    assert page.evaluate("window.sent") == 1


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_a_subscription_is_cancelled_in_the_portal_by_keyboard(
    client: Any, places: dict[str, str], open_page: OpenPage, script: bool
) -> None:
    page = open_page(places["portal"], script=script)
    tab_to(page, "link", "Cancel plan")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel your plan")
    tab_to(page, "radio", "I don't use it enough")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The subscription is cancelled.")
    assert client.v1.subscriptions.list().data[0].cancel_at


def test_time_is_moved_and_money_given_back_without_script(
    sandbox: Sandbox, client: Any, places: dict[str, str], open_page: OpenPage
) -> None:
    page = open_page(places["overview"], script=False)
    before = sandbox.clock.now()
    page.get_by_role("button", name="To the next renewal").click()
    expect(page.get_by_role("status")).to_have_text("Time has moved on.")
    assert sandbox.clock.now() - before > 27 * 86400
    page.goto(places["charge"])
    page.get_by_label("Refund").fill("2.50")
    page.get_by_label("Refund").press("Enter")
    expect(page.get_by_role("status")).to_have_text("The money is on its way back to the card.")
    assert client.v1.refunds.list().data[0].amount == 250


def test_no_card_number_reaches_the_database(tmp_path: Any) -> None:
    kept = Sandbox(str(tmp_path / "kept.sqlite3"))
    client = kept.client()
    goods = shop.open_shop(client)
    kept.pay(shop.checkout(client, goods).url, "4242 4242 4242 4242")
    kept.browser().post("/checkout/c/pay/" + shop.checkout(client, goods).id, data={"test_card": "5555555555554444"})
    portal = client.v1.billing_portal.sessions.create({"customer": goods.customer})
    kept.browser().post(f"/p/session/{portal.id}/cards/add", data={**CARD, "card_number": "378282246310005"})
    kept.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for number in ("4242424242424242", "4242 4242 4242 4242", "5555555555554444", "378282246310005"):
        assert number.encode() not in stored
    assert b"4242" in stored
