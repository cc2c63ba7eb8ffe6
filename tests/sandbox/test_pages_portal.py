"""The Customer Portal, hosted invoices, receipts and the bank's page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.sandbox import shop
from tests.sandbox.test_pages_checkout import CARD, words
from tests.sandbox.test_pages_dashboard import press


@pytest.fixture
def subscription(sandbox, client, goods):
    """The customer's subscription to the plan, paid with a Visa."""
    sandbox.pay(shop.checkout(client, goods, "subscription").url)
    return client.v1.subscriptions.list().data[0]


def visit(client, goods, **more: Any) -> str:
    """Open a portal session and return its path."""
    session = client.v1.billing_portal.sessions.create({"customer": goods.customer, **more})
    return "/p/session/" + session.id


def offering(client, goods, prices: list[str], **update: Any) -> str:
    """Make a configuration in which plans can be changed, and return its id."""
    settings = {
        "enabled": True,
        "default_allowed_updates": ["price", "quantity"],
        "proration_behavior": "always_invoice",
        "products": [{"product": goods.product, "prices": prices}],
        **update,
    }
    features: Any = {"subscription_update": settings, "subscription_cancel": {"enabled": True}}
    return client.v1.billing_portal.configurations.create({"features": features}).id


def price(client, goods, cents: int, interval: str = "month") -> str:
    recurring: Any = {"interval": interval}
    made = {"product": goods.product, "currency": "usd", "unit_amount": cents, "recurring": recurring}
    return client.v1.prices.create(made).id


def test_the_home_page_says_what_runs_and_until_when(sandbox, client, goods, subscription):
    said = words(sandbox.browser().get(visit(client, goods, return_url="https://shop.example/billing")))
    assert "Basic $15.00 per month Active Your plan renews on" in said
    assert "Visa ending 4242" in said
    assert "Return to the shop" in said


def test_cancelling_is_planned_with_its_reason_and_taken_back(sandbox, client, goods, subscription):
    browser, home = sandbox.browser(), visit(client, goods)
    path = f"{home}/subscriptions/{subscription.id}"
    assert "stays yours until" in words(browser.get(f"{path}/cancel"))
    press(browser, f"{path}/cancel", feedback="unused", comment="On holiday")
    planned = client.v1.subscriptions.retrieve(subscription.id)
    assert planned.cancel_at == subscription["items"].data[0].current_period_end
    assert not planned.cancel_at_period_end  # In flexible billing mode.
    assert (planned.cancellation_details.feedback, planned.cancellation_details.comment) == ("unused", "On holiday")
    assert "Cancelled: it ends on" in words(browser.get(home))
    press(browser, f"{path}/resume")
    assert client.v1.subscriptions.retrieve(subscription.id).cancel_at is None
    press(browser, f"{path}/cancel")
    sandbox.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def pausing_for(client, **duration: Any) -> str:
    """Make a configuration that offers pauses, and return its id."""
    features: Any = {"subscription_pause": {"enabled": True, **({"duration": duration} if duration else {})}}
    return client.v1.billing_portal.configurations.create({"features": features}).id


def test_a_pause_ends_by_itself_after_the_month_that_was_chosen(sandbox, client, goods, subscription):
    flow: Any = {"type": "subscription_pause", "subscription_pause": {"subscription": subscription.id}}
    browser, home = sandbox.browser(), visit(client, goods, configuration=pausing_for(client), flow_data=flow)
    path = browser.get(home).location
    assert path.endswith("/pause")
    assert "For how long? 1 month" in words(browser.get(path))
    press(browser, path)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "paused"
    assert "Resume plan" in words(browser.get(f"{home}/home"))
    sandbox.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert len(sandbox.events("customer.subscription.resumed")) == 1


def test_a_pause_without_end_is_ended_by_hand(sandbox, client, goods, subscription):
    home = visit(client, goods, configuration=pausing_for(client, type="indefinite"))
    browser, path = sandbox.browser(), f"{home}/subscriptions/{subscription.id}"
    assert "It stays paused until you resume it." in words(browser.get(f"{path}/pause"))
    press(browser, f"{path}/pause")
    sandbox.advance(days=300)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "paused"
    press(browser, f"{path}/restart")
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_pausing_is_offered_only_where_it_is_switched_on(sandbox, client, goods, subscription):
    browser, home = sandbox.browser(), visit(client, goods)
    assert "Pause plan" not in words(browser.get(home))
    assert browser.get(f"{home}/subscriptions/{subscription.id}/pause").status_code == 404
    offered = visit(client, goods, configuration=pausing_for(client))
    answer = browser.post(f"{offered}/subscriptions/{subscription.id}/pause", data={"duration": "9 years"})
    assert answer.status_code == 422
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_a_new_plan_costs_what_its_preview_said(sandbox, client, goods, subscription):
    pro = price(client, goods, 4000)
    home = visit(client, goods, configuration=offering(client, goods, [goods.plan, pro]))
    sandbox.advance(days=10)
    browser, path = sandbox.browser(), f"{home}/subscriptions/{subscription.id}/change"
    assert "Current plan" in words(browser.get(path))
    said = words(browser.get(f"{path}/confirm?price={pro}"))
    due = re.search(r"Due today \$([0-9.]+)", said)
    assert due
    assert press(browser, f"{path}/confirm", price=pro).status_code == 303
    invoice = client.v1.invoices.list().data[0]
    assert (invoice.billing_reason, invoice.status) == ("subscription_update", "paid")
    assert f"{invoice.total / 100:.2f}" == due.group(1)
    assert client.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.id == pro


def test_a_cheaper_plan_waits_for_the_end_of_the_period_where_it_is_set_so(sandbox, client, goods, subscription):
    small = price(client, goods, 500)
    wait = {"schedule_at_period_end": {"conditions": [{"type": "decreasing_item_amount"}]}}
    home = visit(client, goods, configuration=offering(client, goods, [goods.plan, small], **wait))
    browser, path = sandbox.browser(), f"{home}/subscriptions/{subscription.id}/change/confirm"
    assert "Due today $0.00" in words(browser.get(f"{path}?price={small}"))
    press(browser, path, price=small)
    assert client.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.id == goods.plan
    assert "A change is planned" in words(browser.get(home))
    sandbox.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.id == small
    assert client.v1.invoices.list().data[0].total == 500


def test_a_plan_that_the_card_does_not_pay_for_is_not_changed(sandbox, client, goods, subscription):
    pro = price(client, goods, 4000)
    home = visit(client, goods, configuration=offering(client, goods, [goods.plan, pro]))
    browser = sandbox.browser()
    press(browser, f"/dashboard/objects/{subscription.default_payment_method}", action="expire_card")
    refused = press(browser, f"{home}/subscriptions/{subscription.id}/change/confirm", price=pro)
    assert refused.status_code == 422
    assert "Your card has expired." in words(refused)
    assert client.v1.subscriptions.retrieve(subscription.id)["items"].data[0].price.id == goods.plan


@pytest.mark.parametrize(("given", "said"), [("price_x", "not offered"), ("", "your plan already")])
def test_a_plan_that_is_not_offered_is_refused_in_words(sandbox, client, goods, subscription, given, said):
    home = visit(client, goods, configuration=offering(client, goods, [goods.plan]))
    answer = sandbox.browser().get(f"{home}/subscriptions/{subscription.id}/change/confirm?price={given}")
    assert answer.status_code == 422
    assert said in words(answer)


def test_a_new_card_is_charged_from_then_on(sandbox, client, goods, subscription):
    browser, home = sandbox.browser(), visit(client, goods)
    assert "Your card was declined." in words(
        press(browser, f"{home}/cards/add", **{**CARD, "card_number": "4000000000000002"})
    )
    press(browser, f"{home}/cards/add", **{**CARD, "card_number": "5555555555554444"})
    sandbox.advance(days=32)
    charge = client.v1.charges.list().data[0]
    assert charge.payment_method_details.card.last4 == "4444"


def test_a_card_that_asks_for_the_bank_is_added_after_its_answer(sandbox, client, goods):
    browser, home = sandbox.browser(), visit(client, goods)
    asked = press(browser, f"{home}/cards/add", **{**CARD, "card_number": "4000002500003155"})
    assert asked.location.endswith("/cards/challenge")
    assert press(browser, asked.location, action="fail").status_code == 422
    assert client.v1.customers.payment_methods.list(goods.customer).data == []
    press(browser, f"{home}/cards/add", **{**CARD, "card_number": "4000002500003155"})
    press(browser, asked.location, action="complete")
    saved = client.v1.customers.payment_methods.list(goods.customer).data
    assert [one.card.last4 for one in saved] == ["3155"]
    default = client.v1.customers.retrieve(goods.customer).invoice_settings.default_payment_method
    assert default == saved[0].id


def test_the_last_card_of_a_running_subscription_stays(sandbox, client, goods, subscription):
    browser, home = sandbox.browser(), visit(client, goods)
    path = f"{home}/cards/{subscription.default_payment_method}"
    assert "Add another card first" in words(press(browser, path, action="remove"))
    press(browser, f"{home}/cards/add", **CARD)
    assert press(browser, path, action="remove").status_code == 303
    assert len(client.v1.customers.payment_methods.list(goods.customer).data) == 1


def test_details_and_tax_ids_are_changed(sandbox, client, goods):
    browser, home = sandbox.browser(), visit(client, goods)
    form = {"name": "Jen", "email": "jen@example.com", "address_city": "Ghent", "address_country": "BE"}
    press(browser, f"{home}/details", **form, tax_id_type="eu_vat", tax_id_value="BE0123456789")
    customer = client.v1.customers.retrieve(goods.customer)
    assert (customer.name, customer.email, customer.address.city) == ("Jen", "jen@example.com", "Ghent")
    tax_id = client.v1.customers.tax_ids.list(goods.customer).data[0]
    press(browser, f"{home}/details", **form, **{f"remove_{tax_id.id}": "1"})
    assert client.v1.customers.tax_ids.list(goods.customer).data == []
    assert press(browser, f"{home}/details", **{**form, "email": "nobody"}).status_code == 422


def test_what_the_configuration_switches_off_is_not_there(sandbox, client, goods, subscription):
    nothing: Any = {"features": {"invoice_history": {"enabled": True}}}
    home = visit(client, goods, configuration=client.v1.billing_portal.configurations.create(nothing).id)
    browser, path = sandbox.browser(), f"{home}/subscriptions/{subscription.id}"
    assert "Cancel plan" not in words(browser.get(home))
    for page in (f"{path}/cancel", f"{path}/change", f"{home}/cards/add", f"{home}/details"):
        assert browser.get(page).status_code == 404
        assert browser.post(page if page != f"{path}/change" else f"{page}/confirm").status_code == 404


def test_nobody_reaches_what_is_somebody_elses(sandbox, client, goods, subscription):
    other = client.v1.customers.create({"email": "other@example.com"})
    session = client.v1.billing_portal.sessions.create({"customer": other.id})
    browser, home = sandbox.browser(), "/p/session/" + session.id
    assert browser.get(f"{home}/subscriptions/{subscription.id}/cancel").status_code == 404
    assert browser.post(f"{home}/subscriptions/{subscription.id}/cancel").status_code == 404
    assert browser.post(f"{home}/subscriptions/{subscription.id}/resume").status_code == 404
    assert browser.post(f"{home}/cards/{subscription.default_payment_method}").status_code == 404
    assert client.v1.subscriptions.retrieve(subscription.id).cancel_at is None


def test_a_deep_link_opens_its_page_and_goes_where_it_says_afterwards(sandbox, client, goods, subscription):
    flow = {
        "type": "subscription_cancel",
        "subscription_cancel": {"subscription": subscription.id},
        "after_completion": {"type": "redirect", "redirect": {"return_url": "https://shop.example/bye"}},
    }
    browser = sandbox.browser()
    opened = browser.get(visit(client, goods, flow_data=flow))
    assert opened.location.endswith(f"/subscriptions/{subscription.id}/cancel")
    assert press(browser, opened.location).location == "https://shop.example/bye"
    told: Any = {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "Thank you, Jenny"}}
    opened = browser.get(visit(client, goods, flow_data={"type": "payment_method_update", "after_completion": told}))
    done = press(browser, opened.location, **CARD)
    assert "Thank you, Jenny" in words(browser.get(done.location))


def open_invoice(client, goods):
    client.v1.invoice_items.create(
        {"customer": goods.customer, "amount": 1234, "currency": "usd", "description": "Advice"}
    )
    how: Any = {"collection_method": "send_invoice", "days_until_due": 14, "pending_invoice_items_behavior": "include"}
    drafted = client.v1.invoices.create({"customer": goods.customer, **how})
    return client.v1.invoices.finalize_invoice(drafted.id)


def test_an_open_invoice_is_paid_on_its_page(sandbox, client, goods):
    invoice = open_invoice(client, goods)
    browser, path = sandbox.browser(), invoice.hosted_invoice_url.removeprefix("http://stripe.test")
    assert "Advice" in words(browser.get(path))
    refused = press(browser, path, **{**CARD, "card_number": "4000000000009995"})
    assert "Your card has insufficient funds." in words(refused)
    assert press(browser, path, **CARD).status_code == 303
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
    assert "Paid on" in words(browser.get(path))
    assert "Amount paid $12.34" in words(browser.get(f"{path}/pdf"))
    assert press(browser, path, **CARD).status_code == 422
    assert len([one for one in client.v1.charges.list() if one.status == "succeeded"]) == 1


def test_an_invoice_is_paid_after_the_bank_has_asked(sandbox, client, goods):
    invoice = open_invoice(client, goods)
    browser, path = sandbox.browser(), invoice.hosted_invoice_url.removeprefix("http://stripe.test")
    asked = press(browser, path, **{**CARD, "card_number": "4000002760003184"})
    assert asked.location.startswith("/challenge/pi_")
    back = press(browser, asked.location, action="complete")
    assert back.location.startswith(invoice.hosted_invoice_url)
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_receipt_tells_what_was_given_back(sandbox, client, goods):
    sandbox.pay(shop.checkout(client, goods).url)
    charge = client.v1.charges.list().data[0]
    client.v1.refunds.create({"charge": charge.id, "amount": 200})
    said = words(sandbox.browser().get(charge.receipt_url.removeprefix("http://stripe.test")))
    assert "Receipt $5.00 Partly refunded" in said
    assert "You paid $3.00" in said


@pytest.mark.parametrize(("action", "status"), [("complete", "succeeded"), ("fail", "failed")])
def test_an_intent_of_the_api_returns_with_how_it_went(sandbox, client, goods, action, status):
    intent = client.v1.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "payment_method": "pm_card_authenticationRequired",
            "confirm": True,
            "return_url": "https://shop.example/back?order=7",
        }
    )
    assert intent.next_action
    path = f"/challenge/{intent.id}"
    assert "$5.00" in words(sandbox.browser().get(path))
    went = press(sandbox.browser(), path, action=action).location
    assert went.startswith("https://shop.example/back?order=7&payment_intent=pi_")
    assert went.endswith(f"redirect_status={status}")
