"""What a customer does in the portal: leaving, thinking again, changing plans, pausing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stripe_sandbox import errors
from stripe_sandbox.engine import self_service
from tests.sandbox import shop

DAY = 86400
MARCH = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp())


@pytest.fixture
def plans(client, goods):
    """A smaller and a bigger plan than the shop's, and a portal that offers all three."""

    def price(cents, interval="month"):
        return client.v1.prices.create(
            {"product": goods.product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": interval}}
        ).id

    return {"small": price(500), "basic": goods.plan, "big": price(3000), "year": price(15000, "year")}


@pytest.fixture
def portal(client, goods, plans):
    def configure(**features):
        update = {
            "enabled": True,
            "default_allowed_updates": ["price"],
            "products": [{"product": goods.product, "prices": list(plans.values())}],
            "proration_behavior": "always_invoice",
            "schedule_at_period_end": {
                "conditions": [{"type": "decreasing_item_amount"}, {"type": "shortening_interval"}]
            },
        }
        return client.v1.billing_portal.configurations.create(
            {
                "features": {
                    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
                    "subscription_update": update,
                    "subscription_pause": {"enabled": True},
                    **features,
                }
            }
        ).id

    return configure


class Customer:
    """Acts on a subscription as the portal's pages do."""

    def __init__(self, sandbox, subscription, configuration):
        self.sandbox, self.subscription, self.configuration = sandbox, subscription, configuration

    def __getattr__(self, name):
        def act(**more):
            with self.sandbox.world() as world:
                features = world.get("billing_portal.configuration", self.configuration)["features"]
                if "price" in more:
                    more["price"] = world.get("price", more["price"])
                arguments = [features] if name not in ("keep", "resume") else []
                subscription = world.get("subscription", self.subscription)
                return getattr(self_service, name)(world, subscription, *arguments, **more)

        return act


@pytest.fixture
def subscription(sandbox, client, goods):
    sandbox.clock.freeze(MARCH)
    made = shop.subscribe(client, goods)
    sandbox.advance(days=10)
    return made


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


def test_a_cancellation_sets_its_date_and_can_be_taken_back(sandbox, client, subscription, portal):
    customer = Customer(sandbox, subscription.id, portal())
    customer.cancel(feedback="too_expensive", comment="See you")
    leaving = client.v1.subscriptions.retrieve(subscription.id)
    assert (leaving.cancel_at, leaving.cancel_at_period_end) == (MARCH + 31 * DAY, False)
    assert leaving.cancellation_details.feedback == "too_expensive"
    told = sandbox.events("customer.subscription.updated")[-1]["data"]["previous_attributes"]
    assert told["cancel_at"] is None

    customer.keep()
    sandbox.advance(days=22)
    staying = client.v1.subscriptions.retrieve(subscription.id)
    assert (staying.status, staying.cancel_at, staying.cancellation_details.feedback) == ("active", None, None)

    customer.cancel()
    sandbox.advance(days=31)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    with pytest.raises(errors.StripeError, match="not about to be cancelled"):
        customer.keep()


def test_classic_subscriptions_are_flagged_instead(sandbox, client, goods, portal):
    classic = shop.subscribe(client, goods, billing_mode={"type": "classic"})
    Customer(sandbox, classic.id, portal()).cancel()
    assert client.v1.subscriptions.retrieve(classic.id).cancel_at_period_end is True


def test_cancelling_at_once_credits_as_configured(sandbox, client, goods, subscription, portal):
    now = {"enabled": True, "mode": "immediately", "proration_behavior": "always_invoice"}
    Customer(sandbox, subscription.id, portal(subscription_cancel=now)).cancel()
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert client.v1.customers.retrieve(goods.customer).balance == -1016


def test_an_upgrade_costs_what_its_preview_said(sandbox, client, subscription, portal, plans):
    customer = Customer(sandbox, subscription.id, portal())
    shown = customer.preview_change(price=plans["big"], at=MARCH + 10 * DAY)
    assert shown["amount_due"] == 1016
    sandbox.advance(minutes=3)
    customer.change(price=plans["big"], at=MARCH + 10 * DAY)
    assert invoices_of(client, subscription)[-1].amount_paid == 1016


def test_a_downgrade_waits_and_the_latest_wish_counts(sandbox, client, subscription, portal, plans):
    customer = Customer(sandbox, subscription.id, portal())
    assert customer.preview_change(price=plans["small"]) is None
    customer.change(price=plans["small"])
    assert client.v1.subscriptions.retrieve(subscription.id).items.data[0].price.id == plans["basic"]
    customer.change(price=plans["big"])
    assert client.v1.subscriptions.retrieve(subscription.id).schedule is None
    customer.change(price=plans["small"])
    sandbox.advance(days=22)
    assert client.v1.subscriptions.retrieve(subscription.id).items.data[0].price.id == plans["small"]
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [1500, 1016, 500]


def test_a_change_that_cannot_be_paid_changes_nothing(sandbox, client, goods, subscription, portal, plans):
    bad = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": goods.customer})
    client.v1.subscriptions.update(subscription.id, {"default_payment_method": bad.id})
    with pytest.raises(errors.StripeError, match="declined"):
        Customer(sandbox, subscription.id, portal()).change(price=plans["big"])
    same = client.v1.subscriptions.retrieve(subscription.id)
    assert (same.status, same.items.data[0].price.id) == ("active", plans["basic"])


def test_only_what_the_configuration_offers_can_be_chosen(sandbox, client, goods, subscription, portal):
    other = client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
    )
    closed = portal(subscription_cancel={"enabled": False})
    customer = Customer(sandbox, subscription.id, closed)
    for act, more, words in (
        ("change", {"price": other.id}, "does not offer that price"),
        ("cancel", {}, "switched off"),
        ("pause", {"interval": "year", "count": 1}, "does not offer that pause"),
    ):
        with pytest.raises(errors.StripeError, match=words):
            getattr(customer, act)(**more)


def test_a_pause_ends_by_itself(sandbox, client, subscription, portal):
    customer = Customer(sandbox, subscription.id, portal())
    customer.pause(interval="month", count=1)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "paused"
    sandbox.advance(days=31)
    back = client.v1.subscriptions.retrieve(subscription.id)
    assert (back.status, back.billing_cycle_anchor) == ("active", MARCH + 41 * DAY)
    assert invoices_of(client, subscription)[-1].amount_paid == 1500 - 1016
