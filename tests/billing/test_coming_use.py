"""The coming amount of use is the invoice's, to the cent, whatever discounts there are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from billing import access, coming_use
from extensions import db
from tests.billing.forms import submit
from tests.billing.test_metered_usage import flush, renewal, settle, standing, subscriber, to_period_end, use
from tests.billing.test_usage_pages import words
from tests.persons import Person, log_in_again
from tests.worlds import Clock, Stripe

# Odd amounts on purpose: 2,499 events beyond are $1.25, rounded up from 124.95.
COUPONS: dict[str, list[dict[str, Any]]] = {
    "a share of all": [{"percent_off": 33.3, "duration": "forever"}],
    "one after the other": [
        {"percent_off": 15, "duration": "forever"},
        {"amount_off": 1700, "currency": "usd", "duration": "forever"},
    ],
    "more than the plan costs": [{"amount_off": 4950, "currency": "usd", "duration": "forever"}],
    "over before the invoice": [{"percent_off": 50, "duration": "repeating", "duration_in_months": 1}],
}


def discounted(shop: Stripe, person: Person, *coupons: dict[str, Any]) -> str:
    with shop.app.app_context():
        row = access.subscription_of(db.session(), person.account_id)
        assert row is not None
        stripe_id = row.stripe_id
    made = [{"coupon": shop.api.v1.coupons.create(coupon).id} for coupon in coupons]  # type: ignore[arg-type]
    shop.api.v1.subscriptions.update(stripe_id, {"discounts": made})  # type: ignore[typeddict-item]
    settle(shop)
    return stripe_id


def coming(shop: Stripe, person: Person) -> int:
    with shop.app.app_context():
        return coming_use.total(db.session(), person.account_id)


def coming_of_plan(shop: Stripe, person: Person) -> int:
    with shop.app.app_context():
        row = access.subscription_of(db.session(), person.account_id)
        assert row is not None
        return coming_use.renewal_cents(db.session(), row, 4900)


def in_words(cents: int) -> str:
    return f"${cents / 100:,.2f}"


@pytest.mark.parametrize("name", COUPONS)
def test_the_coming_amount_is_what_the_invoice_asks_for_use(shop: Stripe, clock: Clock, name: str) -> None:
    ann = subscriber(shop, clock)
    discounted(shop, ann, *COUPONS[name])
    if name == "over before the invoice":
        clock.advance(days=1)  # the month of the coupon ends a day before the second renewal
        to_period_end(clock, ann)
        clock.advance(hours=2)
        settle(shop)
        log_in_again(ann)
    use(ann, 102_499)
    flush(shop, clock)
    shown = coming(shop, ann)
    renews_for = coming_of_plan(shop, ann)
    assert f"for {in_words(renews_for)}." in words(ann, "/billing")
    page = words(ann, "/billing/usage")
    assert f"Coming amount so far {in_words(shown)}" in page
    to_period_end(clock, ann)
    clock.advance(hours=2)
    settle(shop)
    invoice = renewal(shop, ann)
    plan, by_use = (line for line in sorted(invoice.lines.data, key=lambda line: -line.amount))
    assert (plan.amount, by_use.amount, standing(ann).used) == (4900, 125, 0)
    assert invoice.total == renews_for + shown
    if name == "more than the plan costs":  # what the plan leaves of it is taken off the use
        assert (invoice.total, shown) == (75, 75)
        return
    if name == "one after the other":  # what the use adds, however Stripe spreads the amount over the lines
        assert invoice.total == (4900 - 735 - 1700) + shown
        return
    assert by_use.amount - sum(part.amount for part in by_use.discount_amounts) == shown


def test_the_last_invoice_of_an_end_at_once_is_the_one_that_was_shown(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    discounted(shop, ann, {"percent_off": 20, "duration": "forever"})
    use(ann, 103_000)
    clock.advance(seconds=5)
    page = words(ann, "/billing/cancel/now")
    (shown,) = re.findall(r"\$([0-9.]+) for what you used beyond it is charged on a last invoice", page)
    assert shown == "1.20"
    assert submit(ann, "/billing/cancel/now", "/billing/cancel/now").status_code == 303
    shop.settle(order="reversed")
    last = shop.api.v1.invoices.list({"limit": 1}).data[0]
    assert (last.status, last.amount_paid) == ("paid", 120)


def test_a_discount_counts_for_the_products_that_it_is_for(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, clock)
    stripe_id = discounted(shop, ann)
    items = shop.api.v1.subscriptions.retrieve(stripe_id).to_dict()["items"]["data"]
    (product,) = {item["price"]["product"] for item in items if item["price"]["recurring"]["usage_type"] == "licensed"}
    by_use = [item["price"]["product"] for item in items if item["price"]["recurring"]["usage_type"] == "metered"]
    use(ann, 104_000)
    assert coming(shop, ann) == 200
    discounted(shop, ann, {"percent_off": 50, "duration": "forever", "applies_to": {"products": [product]}})
    assert coming(shop, ann) == 200
    discounted(shop, ann, {"percent_off": 25, "duration": "forever", "applies_to": {"products": by_use}})
    assert coming(shop, ann) == 150
