"""Whatever the change, its preview is the invoice that follows: same lines, same totals, same amount due."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop

DAY = 86400
START = int(datetime(2027, 1, 31, 13, 14, 15, tzinfo=UTC).timestamp())
PRICES = (
    (1500, "month"),
    (3000, "month"),
    (999, "month"),
    (0, "month"),
    (9900, "year"),
    (700, "week"),
    (5000, "month"),
)

changes = st.fixed_dictionaries(
    {
        "from": st.integers(0, 6),
        "quantity": st.integers(1, 9),
        "second_item": st.booleans(),
        "mode": st.sampled_from(["flexible", "classic"]),
        "coupon": st.sampled_from([None, ("percent_off", 33.3, "forever"), ("percent_off", 10, "once")]),
        "fixed_coupon": st.booleans(),
        "trial_days": st.sampled_from([0, 0, 0, 14]),
        "after": st.integers(1, 100 * DAY),
        "to": st.integers(0, 6),
        "to_quantity": st.one_of(st.none(), st.integers(1, 9)),
        "behaviour": st.sampled_from(["create_prorations", "always_invoice", "none"]),
        "anchor": st.sampled_from(["unchanged", "unchanged", "now"]),
        "drop_second": st.booleans(),
        "metered": st.sampled_from([None, None, "stays", "leaves"]),
        "first_change": st.booleans(),
        "pending_item": st.sampled_from([None, 250, -4000]),
        "balance": st.sampled_from([0, -800, 300]),
    }
)


def shape(invoice):
    return {
        "lines": [
            (line.amount, line.description, line.period.start, line.period.end, line.quantity)
            for line in invoice.lines.data
        ],
        "subtotal": invoice.subtotal,
        "total": invoice.total,
        "due": invoice.amount_due,
    }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(case=changes)
@example(
    case={
        "from": 0, "quantity": 3, "second_item": True, "mode": "flexible", "coupon": ("percent_off", 33.3, "forever"),
        "fixed_coupon": False, "trial_days": 0, "after": 40 * DAY, "to": 1, "to_quantity": 2,
        "behaviour": "create_prorations", "anchor": "unchanged", "drop_second": True, "first_change": True,
        "metered": "stays", "pending_item": 250, "balance": -800,
    }
)  # fmt: skip
def test_a_preview_equals_the_invoice_that_follows(shared_sandbox: Sandbox, case):
    sandbox = shared_sandbox
    sandbox.reset()
    sandbox.clock.freeze(START)
    client = sandbox.client()
    goods = shop.open_shop(client)
    prices = [
        client.v1.prices.create(
            {"product": goods.product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": interval}}
        ).id
        for cents, interval in PRICES
    ]
    if case["metered"]:
        prices.append(metered_price(client, goods))
    subscription = begin(client, goods, prices, case)
    sandbox.advance(case["after"])
    if case["balance"]:
        client.v1.customers.balance_transactions.create(goods.customer, {"amount": case["balance"], "currency": "usd"})
    if case["metered"]:
        payload = {"stripe_customer_id": goods.customer, "value": "37"}
        client.v1.billing.meter_events.create({"event_name": "calls", "payload": payload})
        sandbox.advance(1)
    if case["pending_item"]:
        client.v1.invoice_items.create(
            {"customer": goods.customer, "currency": "usd", "amount": case["pending_item"], "description": "Extra"}
        )
    item = subscription.items.data[0].id
    if case["first_change"]:
        client.v1.subscriptions.update(
            subscription.id, {"items": [{"id": item, "quantity": 7}], "proration_behavior": "create_prorations"}
        )
        sandbox.advance(12345)
    details = wanted_change(subscription, prices, case)

    preview = client.v1.invoices.create_preview({"subscription": subscription.id, "subscription_details": details})
    known = {invoice.id for invoice in client.v1.invoices.list({"subscription": subscription.id, "limit": 100}).data}
    changed = client.v1.subscriptions.update(subscription.id, details)
    if changed.latest_invoice in known:
        due = min(one.current_period_end for one in changed.items.data)
        sandbox.advance(due - sandbox.clock.now())

    invoice = client.v1.invoices.list({"subscription": subscription.id, "limit": 1}).data[0]
    assert invoice.id not in known
    assert shape(preview) == shape(invoice)
    assert sandbox.violations == []


def metered_price(client, goods):
    meter = client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    return client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": 11, "recurring": recurring}
    ).id


def begin(client, goods, prices, case):
    items = [{"price": prices[case["from"]], "quantity": case["quantity"]}]
    if case["second_item"]:
        items.append({"price": prices[(case["from"] + 1) % 7], "quantity": 2})
    if case["metered"]:
        items.append({"price": prices[7]})
    coupon = []
    if case["coupon"]:
        kind, value, duration = case["coupon"]
        made = {kind: value, "duration": duration}
        if case["fixed_coupon"]:
            made = {"amount_off": 333, "currency": "usd", "duration": duration}
        coupon = [{"coupon": client.v1.coupons.create(made).id}]
    more = {"trial_period_days": case["trial_days"]} if case["trial_days"] else {}
    return shop.subscribe(client, goods, items=items, discounts=coupon, billing_mode={"type": case["mode"]}, **more)


def wanted_change(subscription, prices, case):
    first = {"id": subscription.items.data[0].id}
    taken = {item.price.id for item in subscription.items.data[1:]} if not case["drop_second"] else set()
    if prices[case["to"]] not in taken:
        first["price"] = prices[case["to"]]
    if case["to_quantity"]:
        first["quantity"] = case["to_quantity"]
    items = [first]
    if case["second_item"] and case["drop_second"]:
        items.append({"id": subscription.items.data[1].id, "deleted": True})
    if case["metered"] == "leaves":
        items.append({"id": subscription.items.data[-1].id, "deleted": True})
    return {
        "items": items,
        "proration_behavior": case["behaviour"],
        "billing_cycle_anchor": {"type": case["anchor"]},
    }
