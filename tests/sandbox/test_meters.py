"""Meters: one that counts per event name, and prices that are charged by them."""

import pytest
import stripe

from stripe_sandbox.testing import Sandbox


def new_meter(client: stripe.StripeClient, name: str = "events") -> stripe.billing.Meter:
    return client.v1.billing.meters.create(
        {"display_name": "Events", "event_name": name, "default_aggregation": {"formula": "sum"}}
    )


def test_a_meter_counts_from_the_start(client: stripe.StripeClient) -> None:
    meter = new_meter(client)
    assert (meter.status, meter.customer_mapping.event_payload_key) == ("active", "stripe_customer_id")
    assert client.v1.billing.meters.retrieve(meter.id).event_name == "events"


@pytest.mark.usefixtures("refusing")
def test_two_active_meters_cannot_count_the_same_events(client: stripe.StripeClient) -> None:
    first = new_meter(client)
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        new_meter(client)
    client.v1.billing.meters.deactivate(first.id)
    second = new_meter(client)
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        client.v1.billing.meters.reactivate(first.id)
    assert [m.id for m in client.v1.billing.meters.list({"status": "active"})] == [second.id]
    assert len(client.v1.billing.meters.list()) == 2


@pytest.mark.usefixtures("refusing")
def test_a_meter_stops_and_counts_again(client: stripe.StripeClient, sandbox: Sandbox) -> None:
    meter = new_meter(client)
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        client.v1.billing.meters.reactivate(meter.id)
    assert client.v1.billing.meters.deactivate(meter.id).status_transitions.deactivated_at == int(sandbox.clock.now())
    with pytest.raises(stripe.InvalidRequestError, match="active"):
        client.v1.billing.meters.deactivate(meter.id)
    assert client.v1.billing.meters.reactivate(meter.id).status_transitions.deactivated_at is None
    assert client.v1.billing.meters.update(meter.id, {"display_name": "Calls"}).display_name == "Calls"


def test_a_metered_price_names_its_meter_and_charges_beyond_what_is_included(client: stripe.StripeClient) -> None:
    meter = new_meter(client)
    product = client.v1.products.create({"name": "Events beyond Pro"})
    price = client.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 1000, "unit_amount": 0}, {"up_to": "inf", "unit_amount_decimal": "0.05"}],
            "expand": ["tiers"],
        }
    )
    assert price.recurring.meter == meter.id
    assert [(tier.up_to, str(tier.unit_amount_decimal)) for tier in price.tiers] == [(1000, "0"), (None, "0.05")]
