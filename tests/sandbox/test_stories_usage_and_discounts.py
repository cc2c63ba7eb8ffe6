"""Usage that is metered and billed, coupons that end, and clocks of one's own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe

from tests.sandbox import shop

HOUR, DAY = 3600, 86400
MARCH = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp())


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


@pytest.fixture
def metered(sandbox, client, goods):
    """A price of 2 cents per call, counted by the meter "api_calls"."""
    sandbox.clock.freeze(MARCH)
    meter = client.v1.billing.meters.create(
        {"display_name": "API calls", "event_name": "api_calls", "default_aggregation": {"formula": "sum"}}
    )
    price = client.v1.prices.create(
        {
            "product": goods.product,
            "currency": "usd",
            "unit_amount": 2,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )
    return meter, price


def use(client, goods, value, **more):
    return client.v1.billing.meter_events.create(
        {"event_name": "api_calls", "payload": {"stripe_customer_id": goods.customer, "value": str(value)}, **more}
    )


def test_usage_is_billed_when_its_period_is_over(sandbox, client, goods, metered):
    meter, price = metered
    subscription = shop.subscribe(client, goods, items=[{"price": goods.plan}, {"price": price.id}])
    use(client, goods, 1000)
    sandbox.advance(days=20)
    use(client, goods, 234, identifier="once")
    with pytest.raises(stripe.InvalidRequestError, match="already exists with identifier once"):
        use(client, goods, 234, identifier="once")
    sandbox.violations.clear()
    sandbox.advance(days=1, seconds=1)  # a day later the identifier is forgotten
    use(client, goods, 6, identifier="once")
    sandbox.advance(days=10)
    sandbox.advance(HOUR)

    renewal = invoices_of(client, subscription)[-1]
    assert [(line.amount, line.quantity) for line in renewal.lines.data] == [(2480, 1240), (1500, 1)]
    assert renewal.amount_paid == 3980
    line = renewal.lines.data[0]
    assert (line.period.start, line.period.end) == (MARCH, MARCH + 31 * DAY)

    use(client, goods, 5)
    summaries = client.v1.billing.meters.event_summaries.list(
        meter.id, {"customer": goods.customer, "start_time": MARCH, "end_time": MARCH + 31 * DAY}
    )
    assert [summary.aggregated_value for summary in summaries.data] == [1240.0]
    assert client.v1.invoices.create_preview({"subscription": subscription.id}).total == 1510


def test_usage_that_was_reported_by_mistake_is_taken_back(sandbox, client, goods, metered):
    subscription = shop.subscribe(client, goods, items=[{"price": metered[1].id}])
    use(client, goods, 700, identifier="mistake")
    use(client, goods, 300)
    adjusted = client.v1.billing.meter_event_adjustments.create(
        {"event_name": "api_calls", "type": "cancel", "cancel": {"identifier": "mistake"}}
    )
    assert adjusted.status == "complete"
    sandbox.advance(days=32)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 600]


def test_usage_is_billed_when_its_item_leaves_or_starts_anew(sandbox, client, goods, metered):
    subscription = shop.subscribe(client, goods, items=[{"price": goods.plan}, {"price": metered[1].id}])
    use(client, goods, 100)
    sandbox.advance(days=1)
    client.v1.subscriptions.update(subscription.id, {"billing_cycle_anchor": {"type": "now"}})
    reset = invoices_of(client, subscription)[-1]
    assert sorted(line.amount for line in reset.lines.data) == [-1452, 200, 1500]
    use(client, goods, 50)
    sandbox.advance(days=1)
    client.v1.subscription_items.delete(subscription.items.data[1].id)
    waiting = client.v1.invoice_items.list({"customer": goods.customer, "pending": True}).data
    assert [item.amount for item in waiting] == [100]
    sandbox.advance(days=32)
    assert invoices_of(client, subscription)[-1].amount_paid == 1600


def test_the_last_usage_is_billed_when_a_subscription_ends(sandbox, client, goods, metered):
    subscription = shop.subscribe(client, goods, items=[{"price": metered[1].id}])
    client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    use(client, goods, 400)
    sandbox.advance(days=32)
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 800]


def test_usage_in_tiers_and_counted_or_last_values(sandbox, client, goods):
    for formula, cents in (("count", 3 * 60), ("last", 9 * 60)):
        meter = client.v1.billing.meters.create(
            {"display_name": formula, "event_name": formula, "default_aggregation": {"formula": formula}}
        )
        price = client.v1.prices.create(
            {
                "product": goods.product,
                "currency": "usd",
                "billing_scheme": "tiered",
                "tiers_mode": "graduated",
                "tiers": [{"up_to": 100, "unit_amount": 60}, {"up_to": "inf", "unit_amount": 1}],
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
            }
        )
        subscription = shop.subscribe(client, goods, items=[{"price": price.id}])
        for value in (5, 7, 9):
            client.v1.billing.meter_events.create(
                {"event_name": formula, "payload": {"stripe_customer_id": goods.customer, "value": str(value)}}
            )
            sandbox.advance(1)
        sandbox.advance(days=32)
        assert invoices_of(client, subscription)[1].amount_paid == cents


def test_a_bad_meter_event_is_refused_with_the_reason(sandbox, client, goods, metered, refusing):
    for more, words in (
        ({"event_name": "nobody_counts"}, "No active meter"),
        ({"timestamp": MARCH - 36 * DAY}, "within the past 35"),
        ({"timestamp": MARCH + 6 * 60}, "within the past 35"),
        ({"payload": {"stripe_customer_id": goods.customer, "value": "many"}}, "must have a number"),
        ({"payload": {"value": "1"}}, "must have the customer"),
        ({"payload": {"stripe_customer_id": "cus_unknown", "value": "1"}}, "No such customer"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=words):
            use(client, goods, 1, **more)


def test_a_coupon_for_three_months_ends_after_three(sandbox, client, goods):
    coupon = client.v1.coupons.create({"percent_off": 20, "duration": "repeating", "duration_in_months": 3})
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}])
    sandbox.advance(days=140)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [1200, 1200, 1200, 1500, 1500]
    assert client.v1.subscriptions.retrieve(subscription.id).discounts == []
    assert len(sandbox.events("customer.discount.deleted")) == 1


@pytest.mark.parametrize(
    "terms, paid",
    [
        ({"amount_off": 700, "currency": "usd", "duration": "once"}, [800, 1500, 1500]),
        ({"amount_off": 700, "currency": "usd", "duration": "forever"}, [800, 800, 800]),
        ({"percent_off": 100, "duration": "once"}, [0, 1500, 1500]),
        ({"percent_off": 33.33, "duration": "forever"}, [1000, 1000, 1000]),
        ({"amount_off": 9900, "currency": "usd", "duration": "forever"}, [0, 0, 0]),
    ],
)
def test_coupons_lower_as_many_invoices_as_they_say(sandbox, client, goods, terms, paid):
    coupon = client.v1.coupons.create(terms)
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}])
    sandbox.advance(days=63)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == paid


def test_promotion_codes_keep_their_restrictions(sandbox, client, goods, refusing):
    coupon = client.v1.coupons.create({"percent_off": 10, "duration": "forever", "max_redemptions": 5})

    def code(**restrictions):
        promotion = {"type": "coupon", "coupon": coupon.id}
        return client.v1.promotion_codes.create({"promotion": promotion, **restrictions}).id

    first_only = code(restrictions={"first_time_transaction": True})
    shop.subscribe(client, goods, discounts=[{"promotion_code": first_only}])
    with pytest.raises(stripe.InvalidRequestError, match="prior transactions"):
        shop.subscribe(client, goods, discounts=[{"promotion_code": first_only}])
    dear = code(restrictions={"minimum_amount": 5000, "minimum_amount_currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="minimum amount"):
        shop.subscribe(client, goods, discounts=[{"promotion_code": dear}])
    single = code(max_redemptions=1)
    shop.subscribe(client, goods, discounts=[{"promotion_code": single}])
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        shop.subscribe(client, goods, discounts=[{"promotion_code": single}])


def test_a_coupon_given_later_counts_from_then(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    coupon = client.v1.coupons.create({"percent_off": 50, "duration": "once"})
    client.v1.subscriptions.update(subscription.id, {"discounts": [{"coupon": coupon.id}]})
    sandbox.advance(days=63)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [1500, 750, 1500]
    client.v1.subscriptions.update(subscription.id, {"discounts": [{"coupon": coupon.id}]})
    client.v1.subscriptions.update(subscription.id, {"discounts": ""})
    sandbox.advance(days=31)
    assert invoices_of(client, subscription)[-1].amount_paid == 1500


def test_an_invoice_item_waits_for_the_next_renewal(sandbox, client, goods):
    subscription = shop.subscribe(client, goods)
    client.v1.invoice_items.create(
        {"customer": goods.customer, "currency": "usd", "amount": 250, "description": "Setup help"}
    )
    sandbox.advance(days=32)
    renewal = invoices_of(client, subscription)[-1]
    assert [(line.description, line.amount) for line in renewal.lines.data[:1]] == [("Setup help", 250)]
    assert renewal.amount_paid == 1750


def test_a_new_subscription_bills_what_was_waiting(sandbox, client, goods):
    client.v1.invoice_items.create(
        {"customer": goods.customer, "currency": "usd", "amount": 900, "description": "Setup fee"}
    )
    shown = client.v1.invoices.create_preview(
        {"customer": goods.customer, "subscription_details": {"items": [{"price": goods.plan}]}}
    )
    subscription = shop.subscribe(client, goods)
    first = invoices_of(client, subscription)[0]
    assert shown.total == first.amount_paid == 2400


def test_a_trial_does_not_use_up_a_coupon_for_once(sandbox, client, goods):
    coupon = client.v1.coupons.create({"percent_off": 50, "duration": "once"})
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}], trial_period_days=7)
    sandbox.advance(days=45)
    assert [invoice.amount_paid for invoice in invoices_of(client, subscription)] == [0, 750, 1500]


def test_a_customer_s_credit_pays_before_the_card(sandbox, client, goods):
    client.v1.customers.balance_transactions.create(goods.customer, {"amount": -2000, "currency": "usd"})
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=32)
    assert [(i.amount_due, i.amount_paid, i.ending_balance) for i in invoices_of(client, subscription)] == [
        (0, 0, -500),
        (1000, 1000, 0),
    ]


def test_a_test_clock_moves_its_customers_alone(sandbox, client, goods):
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": MARCH, "name": "March"})
    customer = client.v1.customers.create({"email": "clock@example.com", "test_clock": clock.id}).id
    theirs = shop.Goods(customer, goods.pack, goods.plan, goods.product)
    subscription = shop.subscribe(client, theirs)
    other = shop.subscribe(client, goods)
    assert (subscription.created, subscription.test_clock) == (MARCH, clock.id)

    moving = client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": MARCH + 45 * DAY})
    assert (moving.status, moving.frozen_time) == ("advancing", MARCH)
    assert moving.status_details.advancing.target_frozen_time == MARCH + 45 * DAY
    there = client.v1.test_helpers.test_clocks.retrieve(clock.id)
    assert (there.status, there.frozen_time) == ("ready", MARCH + 45 * DAY)

    assert [invoice.created for invoice in invoices_of(client, subscription)] == [MARCH, MARCH + 31 * DAY]
    assert invoices_of(client, subscription)[-1].status == "paid"
    assert len(invoices_of(client, other)) == 1
    told = [event["type"] for event in sandbox.events() if event["type"].startswith("test_helpers")]
    assert told == [f"test_helpers.test_clock.{what}" for what in ("created", "advancing", "ready")]


def test_a_test_clock_has_its_limits(sandbox, client, goods, refusing):
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": MARCH})
    advance = client.v1.test_helpers.test_clocks.advance
    with pytest.raises(stripe.InvalidRequestError, match="must be after"):
        advance(clock.id, {"frozen_time": MARCH})
    with pytest.raises(stripe.InvalidRequestError, match="two years"):
        advance(clock.id, {"frozen_time": MARCH + 3 * 366 * DAY})
    customers = [client.v1.customers.create({"test_clock": clock.id}).id for _ in range(3)]
    with pytest.raises(stripe.InvalidRequestError, match="at most 3 customers"):
        client.v1.customers.create({"test_clock": clock.id})
    shop.subscribe(client, shop.Goods(customers[0], goods.pack, goods.plan, goods.product))
    with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
        advance(clock.id, {"frozen_time": MARCH + 70 * DAY})
    advance(clock.id, {"frozen_time": MARCH + 60 * DAY})
    client.v1.test_helpers.test_clocks.delete(clock.id)
    assert client.v1.customers.list({"test_clock": clock.id}).data == []
    assert client.v1.subscriptions.list({"customer": goods.customer}).data == []
