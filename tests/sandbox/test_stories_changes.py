"""Plan changes: what is credited, what is charged, and when, to the cent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe

from tests.sandbox import shop

HOUR, DAY = 3600, 86400
FAILS_LATER = "pm_card_chargeCustomerFail"
MARCH = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp())  # A month of 31 days: 2,678,400 seconds.


def invoices_of(client, subscription):
    return list(client.v1.invoices.list({"subscription": subscription.id}).auto_paging_iter())[::-1]


def price(client, goods, cents, interval="month", **more):
    return client.v1.prices.create(
        {"product": goods.product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": interval}, **more}
    ).id


@pytest.fixture
def basic(sandbox, client, goods):
    """A subscription over $15.00 a month, ten days old in a month of 31 days."""
    sandbox.clock.freeze(MARCH)
    subscription = shop.subscribe(client, goods)
    sandbox.advance(days=10)
    return subscription


def change(client, subscription, to, **more):
    item = subscription.items.data[0].id
    return client.v1.subscriptions.update(subscription.id, {"items": [{"id": item, "price": to}], **more})


def amounts(invoice):
    return [line.amount for line in invoice.lines.data]


def test_an_upgrade_credits_the_unused_time_and_charges_the_rest(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    changed = change(client, basic, pro, proration_behavior="always_invoice")

    invoice = invoices_of(client, basic)[-1]
    # 21 of 31 days are left: 1500 * 21 / 31 = 1016.13 and 3000 * 21 / 31 = 2032.26.
    assert amounts(invoice) == [-1016, 2032]
    assert (invoice.billing_reason, invoice.status, invoice.amount_paid) == ("subscription_update", "paid", 1016)
    credit, charge = invoice.lines.data
    assert credit.description == "Unused time on Basic after 11 Mar 2027"
    assert charge.description == "Remaining time on Basic after 11 Mar 2027"
    assert (credit.period.start, credit.period.end) == (MARCH + 10 * DAY, MARCH + 31 * DAY)
    details = credit.parent.invoice_item_details
    assert (details.proration, details.subscription) == (True, basic.id)
    first = invoices_of(client, basic)[0]
    credited = details.proration_details.credited_items
    assert (credited.invoice, list(credited.invoice_line_items)) == (first.id, [first.lines.data[0].id])
    assert changed.items.data[0].price.id == pro
    assert changed.items.data[0].current_period_end == basic.items.data[0].current_period_end
    sandbox.advance(days=22)
    assert amounts(invoices_of(client, basic)[-1]) == [3000]


def test_prorations_wait_for_the_next_invoice_by_default(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    change(client, basic, pro)
    assert len(invoices_of(client, basic)) == 1
    waiting = client.v1.invoice_items.list({"customer": goods.customer, "pending": True}).data
    assert sorted(item.amount for item in waiting) == [-1016, 2032]
    sandbox.advance(days=22)
    renewal = invoices_of(client, basic)[-1]
    assert amounts(renewal) == [-1016, 2032, 3000]
    assert (renewal.billing_reason, renewal.amount_paid) == ("subscription_cycle", 4016)


def test_no_prorations_means_the_new_price_from_the_next_period(sandbox, client, goods, basic):
    change(client, basic, price(client, goods, 3000), proration_behavior="none")
    sandbox.advance(days=22)
    assert [invoice.amount_paid for invoice in invoices_of(client, basic)] == [1500, 3000]


def test_a_downgrade_leaves_credit_that_later_invoices_use(sandbox, client, goods, basic):
    small = price(client, goods, 500)
    change(client, basic, small, proration_behavior="always_invoice")
    invoice = invoices_of(client, basic)[-1]
    # 1500 * 21 / 31 = 1016.13; 500 * 21 / 31 = 338.71.
    assert amounts(invoice) == [-1016, 339]
    assert (invoice.total, invoice.amount_due, invoice.status, invoice.ending_balance) == (-677, 0, "paid", -677)
    assert client.v1.customers.retrieve(goods.customer).balance == -677
    sandbox.advance(days=22)
    renewal = invoices_of(client, basic)[-1]
    assert (renewal.starting_balance, renewal.total, renewal.amount_due, renewal.ending_balance) == (-677, 500, 0, -177)
    sandbox.advance(days=31)
    assert [i.amount_paid for i in invoices_of(client, basic)] == [1500, 0, 0, 500 - 177]


def test_changing_the_price_resets_the_quantity_unless_it_is_passed(sandbox, client, goods, basic):
    item = basic.items.data[0].id
    client.v1.subscriptions.update(basic.id, {"items": [{"id": item, "quantity": 4}], "proration_behavior": "none"})
    reset = change(client, basic, price(client, goods, 2000), proration_behavior="none")
    assert reset.items.data[0].quantity == 1
    kept = client.v1.subscriptions.update(
        basic.id,
        {"items": [{"id": item, "price": price(client, goods, 2500), "quantity": 4}], "proration_behavior": "none"},
    )
    assert kept.items.data[0].quantity == 4


def test_more_seats_are_charged_for_the_rest_of_the_period(sandbox, client, goods, basic):
    client.v1.subscription_items.update(basic.items.data[0].id, {"quantity": 3, "proration_behavior": "always_invoice"})
    invoice = invoices_of(client, basic)[-1]
    assert amounts(invoice) == [-1016, 3048]
    assert invoice.lines.data[1].description == "Remaining time on 3 × Basic after 11 Mar 2027"
    assert invoice.lines.data[1].quantity == 3


def test_items_are_added_and_removed_with_prorations(sandbox, client, goods, basic):
    extra = client.v1.subscription_items.create(
        {"subscription": basic.id, "price": price(client, goods, 1000), "proration_behavior": "always_invoice"}
    )
    assert amounts(invoices_of(client, basic)[-1]) == [677]
    sandbox.advance(days=10)
    client.v1.subscription_items.delete(extra.id, {"proration_behavior": "always_invoice"})
    # 677 were billed for 21 days, of which 11 are left: 354.62.
    assert amounts(invoices_of(client, basic)[-1]) == [-355]
    assert len(client.v1.subscriptions.retrieve(basic.id).items.data) == 1
    with pytest.raises(stripe.InvalidRequestError, match="at least one active plan"):
        client.v1.subscription_items.delete(basic.items.data[0].id)
    sandbox.violations.clear()


def test_a_credit_is_a_share_of_what_was_really_billed(sandbox, client, goods):
    sandbox.clock.freeze(MARCH)
    coupon = client.v1.coupons.create({"percent_off": 50, "duration": "once"})
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}])
    assert invoices_of(client, subscription)[0].amount_paid == 750
    sandbox.advance(days=10)
    change(client, subscription, price(client, goods, 3000), proration_behavior="always_invoice")
    # Flexible billing: 750 * 21 / 31 = 508.06 back, and the coupon is used up.
    assert amounts(invoices_of(client, subscription)[-1]) == [-508, 2032]


def test_classic_billing_credits_what_the_item_costs_now(sandbox, client, goods):
    sandbox.clock.freeze(MARCH)
    coupon = client.v1.coupons.create({"percent_off": 50, "duration": "once"})
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}], billing_mode={"type": "classic"})
    sandbox.advance(days=10)
    change(client, subscription, price(client, goods, 3000), proration_behavior="always_invoice")
    assert amounts(invoices_of(client, subscription)[-1]) == [-1016, 2032]
    migrated = client.v1.subscriptions.migrate(subscription.id, {"billing_mode": {"type": "flexible"}})
    assert migrated.billing_mode.type == "flexible"


def test_discounts_are_part_of_the_prorated_amounts(sandbox, client, goods):
    sandbox.clock.freeze(MARCH)
    coupon = client.v1.coupons.create({"percent_off": 20, "duration": "forever"})
    subscription = shop.subscribe(client, goods, discounts=[{"coupon": coupon.id}])
    sandbox.advance(days=10)
    change(client, subscription, price(client, goods, 3000), proration_behavior="always_invoice")
    # 1200 * 21 / 31 = 812.90 and 2400 * 21 / 31 = 1625.81.
    assert amounts(invoices_of(client, subscription)[-1]) == [-813, 1626]


def test_another_interval_starts_a_new_period_and_is_charged_at_once(sandbox, client, goods, basic):
    yearly = price(client, goods, 15000, "year")
    changed = change(client, basic, yearly)
    now = int(sandbox.clock.now())
    assert changed.billing_cycle_anchor == changed.items.data[0].current_period_start == now
    assert changed.items.data[0].current_period_end == now + 366 * DAY
    invoice = invoices_of(client, basic)[-1]
    assert (amounts(invoice), invoice.amount_paid) == ([-1016, 15000], 13984)
    assert invoice.billing_reason == "subscription_update"


def test_the_anchor_can_be_reset_to_now(sandbox, client, goods, basic):
    moved = client.v1.subscriptions.update(basic.id, {"billing_cycle_anchor": {"type": "now"}})
    assert moved.billing_cycle_anchor == int(sandbox.clock.now())
    assert amounts(invoices_of(client, basic)[-1]) == [-1016, 1500]
    kept = client.v1.subscriptions.update(basic.id, {"billing_cycle_anchor": {"type": "unchanged"}})
    assert kept.billing_cycle_anchor == moved.billing_cycle_anchor
    sandbox.advance(days=32)
    assert amounts(invoices_of(client, basic)[-1]) == [1500]


def test_a_proration_date_fixes_the_second_that_counts(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    change(client, basic, pro, proration_behavior="always_invoice", proration_date=MARCH + 15 * DAY + 12 * HOUR)
    assert amounts(invoices_of(client, basic)[-1]) == [-750, 1500]
    with pytest.raises(stripe.InvalidRequestError, match="outside of current subscription period"):
        change(client, basic, goods.plan, proration_date=MARCH - 1)
    sandbox.violations.clear()


def test_a_change_whose_payment_fails_makes_the_subscription_past_due(sandbox, client, goods, basic):
    _use(client, goods, basic, FAILS_LATER)
    changed = change(client, basic, price(client, goods, 3000), proration_behavior="always_invoice")
    assert changed.status == "past_due"
    invoice = invoices_of(client, basic)[-1]
    assert (invoice.status, invoice.next_payment_attempt) == ("open", int(sandbox.clock.now()) + 3 * DAY)


def _use(client, goods, subscription, card):
    method = client.v1.payment_methods.attach(card, {"customer": goods.customer})
    client.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})


def test_error_if_incomplete_undoes_the_change(sandbox, client, goods, basic):
    _use(client, goods, basic, FAILS_LATER)
    pro = price(client, goods, 3000)
    with pytest.raises(stripe.CardError):
        change(client, basic, pro, proration_behavior="always_invoice", payment_behavior="error_if_incomplete")
    now = client.v1.subscriptions.retrieve(basic.id)
    assert (now.status, now.items.data[0].price.id) == ("active", goods.plan)
    assert len(invoices_of(client, basic)) == 1


def test_default_incomplete_waits_for_its_payment_to_be_confirmed(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    changed = change(client, basic, pro, proration_behavior="always_invoice", payment_behavior="default_incomplete")
    assert changed.status == "past_due"
    invoice = invoices_of(client, basic)[-1]
    assert invoice.status == "open"
    client.v1.invoices.pay(invoice.id)
    assert client.v1.subscriptions.retrieve(basic.id).status == "active"


def pending(client, goods, subscription, pro):
    return change(
        client, subscription, pro, proration_behavior="always_invoice", payment_behavior="pending_if_incomplete"
    )


def test_a_pending_update_is_applied_when_its_invoice_is_paid(sandbox, client, goods, basic):
    _use(client, goods, basic, FAILS_LATER)
    pro = price(client, goods, 3000)
    waiting = pending(client, goods, basic, pro)
    assert (waiting.status, waiting.items.data[0].price.id) == ("active", goods.plan)
    assert waiting.pending_update.expires_at == int(sandbox.clock.now()) + 23 * HOUR
    assert waiting.pending_update.subscription_items[0].price.id == pro
    invoice = client.v1.invoices.retrieve(waiting.latest_invoice)
    assert (invoice.status, invoice.amount_due, invoice.next_payment_attempt) == ("open", 1016, None)

    client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})

    applied = client.v1.subscriptions.retrieve(basic.id)
    assert (applied.items.data[0].price.id, applied.pending_update) == (pro, None)
    assert len(sandbox.events("customer.subscription.pending_update_applied")) == 1


def test_a_pending_update_expires_when_nobody_pays(sandbox, client, goods, basic):
    _use(client, goods, basic, FAILS_LATER)
    waiting = pending(client, goods, basic, price(client, goods, 3000))
    sandbox.advance(days=1)
    now = client.v1.subscriptions.retrieve(basic.id)
    assert (now.status, now.pending_update, now.items.data[0].price.id) == ("active", None, goods.plan)
    assert client.v1.invoices.retrieve(waiting.latest_invoice).status == "void"
    assert len(sandbox.events("customer.subscription.pending_update_expired")) == 1


@pytest.mark.parametrize("what", ["pause", "cancel"])
def test_a_pending_update_is_dropped_when_the_subscription_stops(sandbox, client, goods, basic, what):
    _use(client, goods, basic, FAILS_LATER)
    waiting = pending(client, goods, basic, price(client, goods, 3000))
    stopped = getattr(client.v1.subscriptions, what)(basic.id)
    assert (stopped.pending_update, stopped.items.data[0].price.id) == (None, goods.plan)
    assert client.v1.invoices.retrieve(waiting.latest_invoice).status == "void"


def test_a_pending_update_that_is_paid_at_once_never_shows(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    changed = pending(client, goods, basic, pro)
    assert (changed.pending_update, changed.items.data[0].price.id) == (None, pro)
    assert sandbox.events("customer.subscription.pending_update_applied") == []
    with pytest.raises(stripe.InvalidRequestError, match="only pass supported params"):
        client.v1.subscriptions.update(
            basic.id, {"payment_behavior": "pending_if_incomplete", "description": "not allowed"}
        )
    sandbox.violations.clear()


@pytest.mark.parametrize(
    "wanted, words",
    [
        ({"items": [{"id": "si_unknown", "quantity": 2}]}, "No such subscription_item"),
        ({"items": [{"quantity": -1}]}, "greater than or equal to 0"),
        ({"items": [{"deleted": True}]}, "at least one active plan"),
        ({"cancel_at": 5}, "must be in the future"),
        ({"pause_collection": {"behavior": "void", "resumes_at": 5}}, "must be in the future"),
        ({"default_payment_method": "pm_unknown"}, "No such PaymentMethod"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(sandbox, client, goods, basic, refusing, wanted, words):
    for item in wanted.get("items", []):
        item.setdefault("id", basic.items.data[0].id)
    before = client.v1.subscriptions.retrieve(basic.id)
    with pytest.raises(stripe.InvalidRequestError, match=words):
        client.v1.subscriptions.update(basic.id, wanted)
    assert client.v1.subscriptions.retrieve(basic.id) == before


def test_leaving_a_free_plan_is_charged_at_once(sandbox, client, goods):
    free = price(client, goods, 0)
    subscription = shop.subscribe(client, goods, items=[{"price": free}])
    sandbox.advance(days=10)
    changed = change(client, subscription, goods.plan)
    assert changed.billing_cycle_anchor == int(sandbox.clock.now())
    assert invoices_of(client, subscription)[-1].amount_paid == 1500


def test_the_preview_of_an_upgrade_is_its_invoice(sandbox, client, goods, basic):
    pro = price(client, goods, 3000)
    item = basic.items.data[0].id
    at = int(sandbox.clock.now())
    details = {
        "items": [{"id": item, "price": pro}],
        "proration_behavior": "always_invoice",
        "proration_date": at,
    }
    preview = client.v1.invoices.create_preview({"subscription": basic.id, "subscription_details": details})
    assert preview.id.startswith("upcoming_in_")
    sandbox.advance(minutes=7)
    client.v1.subscriptions.update(basic.id, details)
    invoice = invoices_of(client, basic)[-1]
    assert (preview.total, preview.amount_due) == (invoice.total, invoice.amount_due) == (1016, 1016)
    assert [(line.amount, line.description) for line in preview.lines.data] == [
        (line.amount, line.description) for line in invoice.lines.data
    ]


def test_a_preview_changes_nothing(sandbox, client, goods, basic):
    before = (len(sandbox.events()), client.v1.subscriptions.retrieve(basic.id))
    client.v1.invoices.create_preview({"subscription": basic.id})
    client.v1.invoices.create_preview(
        {"subscription": basic.id, "subscription_details": {"cancel_now": True, "proration_behavior": "always_invoice"}}
    )
    assert (len(sandbox.events()), client.v1.subscriptions.retrieve(basic.id)) == before
    assert len(invoices_of(client, basic)) == 1
    assert client.v1.invoice_items.list({"customer": goods.customer}).data == []


def test_previews_of_a_plan_that_nobody_has_yet(sandbox, client, goods):
    preview = client.v1.invoices.create_preview(
        {"customer": goods.customer, "subscription_details": {"items": [{"price": goods.plan, "quantity": 2}]}}
    )
    assert (preview.total, preview.subscription if hasattr(preview, "subscription") else None) == (3000, None)
    with pytest.raises(stripe.InvalidRequestError) as none:
        client.v1.invoices.create_preview({"customer": goods.customer})
    assert none.value.code == "invoice_upcoming_none"
    sandbox.violations.clear()


def test_a_recurring_preview_shows_a_whole_period_after_the_change(sandbox, client, goods, basic):
    details = {"items": [{"id": basic.items.data[0].id, "price": price(client, goods, 3000)}]}
    wanted = {"subscription": basic.id, "subscription_details": details}
    assert client.v1.invoices.create_preview(wanted).total == 4016
    assert client.v1.invoices.create_preview({**wanted, "preview_mode": "recurring"}).total == 3000
