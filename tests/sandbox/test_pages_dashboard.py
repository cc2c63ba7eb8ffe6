"""The dashboard: what it shows, and that its buttons do what they say."""

from __future__ import annotations

import re

import pytest

from tests.sandbox import shop
from tests.sandbox.test_pages_checkout import words


@pytest.fixture
def busy(sandbox, client, goods):
    """A world with a payment, a subscription, deliveries and a refused request."""
    sandbox.add_webhook("http://127.0.0.1:9/hook", "whsec_dashboard")
    sandbox.pay(shop.checkout(client, goods).url)
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    sandbox.deliver(lambda url, headers, body: 200, limit=5)
    sandbox.deliver(lambda url, headers, body: 500, limit=1)
    yield sandbox
    sandbox._webhooks.clear()


def press(browser, path: str, /, **form: str):
    return browser.post(path, data=form)


def charge_of(client):
    return client.v1.charges.list().data[-1]


@pytest.mark.parametrize(
    "page", ["", "/objects", "/events", "/deliveries", "/requests", "/time", "/faults", "/endpoints"]
)
def test_every_page_opens_in_an_empty_world_and_in_a_busy_one(sandbox, page):
    assert sandbox.browser().get(f"/dashboard{page}").status_code == 200


def test_every_object_has_a_page_with_links_that_lead_somewhere(busy, client):
    browser = busy.browser()
    ids = [row["id"] for row in busy.store.rows("SELECT id FROM objects")]
    links: set[str] = set()
    for object_id in ids:
        answer = browser.get(f"/dashboard/objects/{object_id}")
        assert answer.status_code == 200, object_id
        links |= set(re.findall(r'href="(/dashboard/[^"#]+)"', answer.get_data(as_text=True)))
    assert len(links) > 50
    assert [link for link in sorted(links) if browser.get(link.replace("&amp;", "&")).status_code != 200] == []


def test_an_object_shows_its_json_and_never_what_is_private(busy, client):
    charge = charge_of(client)
    page = busy.browser().get(f"/dashboard/objects/{charge.id}").get_data(as_text=True)
    assert f'<a href="/dashboard/objects/{charge.payment_intent}">' in page
    assert "_behaviour" not in page
    assert "charge.succeeded" in page


def test_an_id_that_is_searched_for_is_opened(busy, client, goods):
    browser = busy.browser()
    assert browser.get(f"/dashboard/objects?q={goods.customer}").location.endswith(goods.customer)
    assert goods.customer in browser.get("/dashboard/objects?q=jenny@example.com&kind=customer").get_data(as_text=True)
    assert "Nothing contains that text" in words(browser.get("/dashboard/objects?q=%25_'"))


def test_text_from_outside_is_not_markup(busy, client):
    customer = client.v1.customers.create({"name": "<script>alert(1)</script>", "description": '"><b>'})
    for path in (f"/dashboard/objects/{customer.id}", "/dashboard/objects?kind=customer"):
        page = busy.browser().get(path).get_data(as_text=True)
        assert "<script>alert" not in page
        assert '"><b>' not in page


def test_overview_tells_whether_the_endpoint_hears(busy):
    said = words(busy.browser().get("/dashboard"))
    assert "Answers 500" in said
    assert "5 delivered" in said


def test_a_delivery_shows_request_and_answer_and_is_sent_again(busy):
    browser = busy.browser()
    row = busy.store.row("SELECT delivery_id FROM attempts WHERE status = 500")
    said = words(browser.get(f"/dashboard/deliveries/{row['delivery_id']}"))
    assert "Stripe-Signature t=" in said
    assert press(browser, f"/dashboard/deliveries/{row['delivery_id']}/resend").status_code == 303
    tries = busy.store.rows("SELECT status FROM attempts WHERE delivery_id = ? ORDER BY seq", row["delivery_id"])
    assert [one["status"] for one in tries] == [500, None]  # Nobody listens on port 9.


def test_a_request_shows_what_it_asked_and_caused(busy, client):
    made = client.v1.customers.create({"name": "Ann"})
    said = words(busy.browser().get(f"/dashboard/requests/{made.last_response.request_id}"))
    assert "POST /v1/customers" in said
    assert "customer.created" in said
    assert '"name" : "Ann"' in said


def test_money_goes_back_in_part_and_then_whole(busy, client):
    browser, charge = busy.browser(), charge_of(client)
    path = f"/dashboard/objects/{charge.id}"
    too_much = press(browser, path, action="refund", amount="500")
    assert too_much.status_code == 422
    assert "greater than" in words(too_much)
    assert press(browser, path, action="refund", amount="1.50").status_code == 303
    assert press(browser, path, action="refund", amount="").status_code == 303
    assert client.v1.charges.retrieve(charge.id).refunded
    assert [refund.amount for refund in client.v1.refunds.list({"charge": charge.id})] == [350, 150]


@pytest.mark.parametrize(("action", "status"), [("win", "won"), ("lose", "lost")])
def test_a_dispute_is_opened_and_decided_at_once(busy, client, action, status):
    browser = busy.browser()
    press(browser, f"/dashboard/objects/{charge_of(client).id}", action="dispute")
    dispute = client.v1.disputes.list().data[0]
    assert press(browser, f"/dashboard/objects/{dispute.id}", action=action).status_code == 303
    assert client.v1.disputes.retrieve(dispute.id).status == status
    again = press(browser, f"/dashboard/objects/{charge_of(client).id}", action="dispute")
    assert again.status_code == 422


def test_a_card_that_expires_fails_at_the_renewal(busy, client, goods):
    subscription = client.v1.subscriptions.list().data[0]
    path = f"/dashboard/objects/{subscription.default_payment_method}"
    assert press(busy.browser(), path, action="expire_card").status_code == 303
    busy.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "past_due"


def test_time_moves_to_the_next_renewal_and_its_payment(busy, client):
    before = client.v1.subscriptions.list().data[0]
    assert press(busy.browser(), "/dashboard/time", by="renewal").status_code == 303
    after = client.v1.subscriptions.list().data[0]
    assert after["items"].data[0].current_period_start == before["items"].data[0].current_period_end
    assert client.v1.invoices.retrieve(after.latest_invoice).status == "paid"


@pytest.mark.parametrize(("by", "days"), [("hour", 1 / 24), ("day", 1), ("month", 28), ("year", 365)])
def test_time_moves_by_what_the_button_says(sandbox, by, days):
    before = sandbox.clock.now()
    press(sandbox.browser(), "/dashboard/time", by=by)
    moved = sandbox.clock.now() - before
    assert days * 86400 - 1 <= moved < (days + 4) * 86400  # Months and years are of whole seconds.


@pytest.mark.parametrize("days", ["-1", "soon", "nan", "inf", "99999999", ""])
def test_time_does_not_move_by_what_is_no_number(sandbox, days):
    before = sandbox.clock.now()
    assert press(sandbox.browser(), "/dashboard/time", by="days", days=days).status_code == 422
    assert sandbox.clock.now() == before


def test_a_test_clock_is_advanced(sandbox, client):
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": 1795219200})
    browser = sandbox.browser()
    assert press(browser, f"/dashboard/clocks/{clock.id}", to="2026-12-24").status_code == 303
    assert client.v1.test_helpers.test_clocks.retrieve(clock.id).frozen_time == 1798070400
    assert press(browser, f"/dashboard/clocks/{clock.id}", to="Christmas").status_code == 422


def test_faults_are_switched_on_shown_and_off(sandbox, client):
    browser = sandbox.browser()
    press(browser, "/dashboard/faults", what="api", mode="500", share="100", times="2", path="/v1/nothing")
    press(browser, "/dashboard/faults", what="deliveries", mode="duplicate", share="40", types="invoice.paid")
    press(browser, "/dashboard/faults", what="limit", per_second="50")
    said = words(browser.get("/dashboard/faults"))
    assert "API: Fails (500), nothing done , /v1/nothing 100%, 2 more" in said
    assert sandbox.faults.deliveries[0].types == ["invoice.paid"]
    assert sandbox.faults.requests_per_second == 50
    assert press(browser, "/dashboard/faults", what="api", mode="explode").status_code == 422
    press(browser, "/dashboard/faults", what="heal")
    assert sandbox.faults.saved() == {"api": [], "deliveries": [], "requests_per_second": 0}


def test_a_secret_is_rolled_and_both_sign_for_a_day(busy, client):
    endpoint = client.v1.webhook_endpoints.list().data[0]
    press(busy.browser(), f"/dashboard/objects/{endpoint.id}", action="roll", keep="1")
    signatures: list[str] = []
    client.v1.customers.create({})
    busy.deliver(lambda url, headers, body: signatures.append(headers["Stripe-Signature"]) or 200)
    assert all(signature.count("v1=") == 2 for signature in signatures)
    said = words(busy.browser().get(f"/dashboard/objects/{endpoint.id}"))
    assert "whsec_dashboard" in said


def test_the_sandbox_is_emptied_only_when_the_box_is_ticked(busy, client):
    browser = busy.browser()
    assert press(browser, "/dashboard/reset").status_code == 422
    assert client.v1.charges.list().data
    assert press(browser, "/dashboard/reset", sure="1").status_code == 303
    assert client.v1.charges.list().data == []


@pytest.mark.parametrize("path", ["/dashboard/reset", "/dashboard/time", "/dashboard/faults", "/dashboard/endpoints"])
def test_no_button_is_pressed_from_another_site(busy, client, path):
    browser = busy.browser()
    form = {"sure": "1", "by": "year", "what": "api", "mode": "500", "url": "http://evil.example"}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.post(path, data=form, headers=headers).status_code == 403
    assert client.v1.charges.list().data
    assert busy.faults.api == []
