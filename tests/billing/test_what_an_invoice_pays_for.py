"""An invoice read as Stripe wrote it: which plan it pays for, from when to when, and where it stands among others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

from flask import Flask

from billing import plan_periods
from tests.worlds import Stripe

Json = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


MAY, JUNE, JULY = at("2027-05-10T12:00"), at("2027-06-10T12:00"), at("2027-07-10T12:00")


def line(price_key: str | None, amount: int, since: datetime = MAY, until: datetime = JUNE, **more: object) -> Json:
    """Return a line of an invoice; without a key it is for something that the catalogue does not sell."""
    price = {"id": "price_1", "metadata": {"price_key": price_key} if price_key else {}}
    return {
        "amount": amount,
        "quantity": 1,
        "description": f"1 x {price_key}",
        "period": {"start": int(since.timestamp()), "end": int(until.timestamp())},
        "parent": {"type": "subscription_item_details"},
        "pricing": {"price_details": {"price": price}},
        **more,
    }


PRORATED = {"parent": {"type": "invoice_item_details", "invoice_item_details": {"proration": True}}}
BY_HAND = {"parent": {"type": "invoice_item_details", "invoice_item_details": {"proration": False}}}


def invoice(*lines: Json, subscription: object = "sub_1", **more: object) -> Json:
    return {
        "status": "paid",
        "created": int(MAY.timestamp()),
        "billing_reason": "subscription_cycle",
        "lines": {"data": list(lines)},
        "parent": {"subscription_details": {"subscription": subscription}},
        **more,
    }


def period(found: Json) -> plan_periods.Period:
    read = plan_periods.of(found)
    assert read is not None
    return read


def test_a_month_of_a_plan(context: Flask) -> None:
    read = period(invoice(line("pro_monthly", 3000)))
    assert (read.plan.key, read.credits, read.stripe_subscription_id) == ("pro", 50, "sub_1")
    assert (read.starts_at, read.ends_at, read.paid_until, read.month_starts_at) == (MAY, JUNE, JUNE, MAY)
    assert (read.is_trial, read.is_part_of_year, read.begins_at, read.lapsed) == (False, False, MAY, ())
    assert period(invoice(line("pro_monthly", 6000, quantity=2))).credits == 100
    assert period(invoice(line("pro_monthly", 3000, quantity=None))).credits == 50
    assert plan_periods.of(invoice(line("pro_monthly", 0, quantity=0))) is None
    assert period(invoice(line("pro_monthly", 3000), subscription={"id": "sub_2"})).stripe_subscription_id == "sub_2"


def test_nothing_is_read_from_what_pays_for_no_plan(context: Flask) -> None:
    for other in (
        invoice(line("pro_monthly", 3000), subscription=None),
        invoice(line("pro_monthly", 3000), parent=None),
        invoice(line(None, 3000)),
        invoice(line("credits_30", 3000)),
        invoice(line("pro_monthly", -3000)),
        invoice(line("pro_monthly", 3000, **BY_HAND)),
        invoice(line("pro_monthly", 3000, parent=None)),
        invoice(line("pro_monthly", 3000, pricing=None)),
        invoice(line("pro_monthly", 3000, pricing={"price_details": {"price": "price_1"}})),
        invoice(),
    ):
        assert plan_periods.of(other) is None
        assert plan_periods.others_since(other) is None


def test_a_line_of_nothing_is_a_trial(context: Flask) -> None:
    assert period(invoice(line("pro_monthly", 0))).is_trial
    assert not period(invoice(line("pro_monthly", 1))).is_trial


def test_only_what_is_paid_for_a_plan_pays_for_one(context: Flask) -> None:
    lines = (line("pro_monthly", 3000), line("pro_monthly", 0), line(None, 700))
    assert [plan_periods.pays_for_a_plan(invoice(each)) for each in lines] == [True, False, False]


def test_of_several_lines_the_plan_that_is_paid_for_longest_and_then_dearest_counts(context: Flask) -> None:
    lines = [
        line("basic_monthly", -700, **PRORATED),
        line("basic_monthly", 9000),
        line("pro_monthly", 2000, until=JULY, **PRORATED),
        line("team_monthly", 2500, until=JULY, **PRORATED),
        line(None, 99_000, until=JULY + timedelta(days=1)),
    ]
    for order in permutations(lines):
        assert period(invoice(*order)).plan.key == "team"


def test_a_period_begins_where_the_money_of_the_one_before_comes_back(context: Flask) -> None:
    early = JUNE - timedelta(minutes=3)
    cut_short = line("basic_monthly", -700, early, JUNE + timedelta(days=9), **PRORATED)
    read = period(invoice(line("pro_monthly", 3000, JUNE, JULY), cut_short))
    assert (read.starts_at, read.begins_at, read.lapsed) == (early, JUNE, ())
    later = line("basic_monthly", -700, JUNE + timedelta(days=2), JULY, **PRORATED)
    assert period(invoice(line("pro_monthly", 3000, JUNE, JULY), later)).starts_at == JUNE
    no_money = {**cut_short, "amount": 0}
    assert period(invoice(line("pro_monthly", 3000, JUNE, JULY), no_money)).starts_at == JUNE


def test_time_that_was_paid_back_and_is_over_has_lapsed(context: Flask) -> None:
    back = [[int(MAY.timestamp()), int(JUNE.timestamp())], [int(MAY.timestamp()), None]]
    read = period(invoice(line("pro_monthly", 3000, JUNE, JULY), returned=back))
    assert (read.starts_at, read.lapsed) == (JUNE, ((MAY, JUNE, 0),))
    read = period(invoice(line("pro_monthly", 3000, JUNE - timedelta(seconds=1), JULY), returned=back))
    assert (read.starts_at, read.lapsed) == (MAY, ())


def test_a_year_is_read_month_by_month(shop: Stripe) -> None:
    begins, ends = at("2027-01-31T12:00"), at("2028-01-31T12:00")
    with shop.app.app_context():
        whole = period(invoice(line("pro_yearly", 30_000, begins, ends)))
        upgraded = period(invoice(line("pro_yearly", 9000, at("2027-03-15T00:00"), ends, **PRORATED)))
        last = period(invoice(line("pro_yearly", 900, at("2028-01-05T00:00"), ends, **PRORATED)))
        trial = period(invoice(line("pro_yearly", 0, begins, at("2027-02-14T12:00"))))
        spring = period(invoice(line("pro_yearly", 900, at("2027-05-15T00:00"), at("2028-03-31T12:00"), **PRORATED)))
    assert (whole.ends_at, whole.paid_until, whole.is_part_of_year) == (at("2027-02-28T12:00"), ends, False)
    assert upgraded.is_part_of_year
    assert (upgraded.month_starts_at, upgraded.ends_at) == (at("2027-02-28T12:00"), at("2027-03-31T12:00"))
    assert (last.month_starts_at, last.ends_at, last.is_part_of_year) == (at("2027-12-31T12:00"), ends, True)
    assert (spring.month_starts_at, spring.ends_at) == (at("2027-04-30T12:00"), at("2027-05-31T12:00"))
    assert (trial.is_trial, trial.is_part_of_year, trial.ends_at) == (True, False, at("2027-02-14T12:00"))


def test_invoices_stand_in_the_order_of_payment_then_of_making_then_of_number() -> None:
    made: list[Json] = [
        {},
        {"created": 5},
        {"status_transitions": None, "created": 6},
        {"status_transitions": {"paid_at": 7}, "created": 4, "number": "AB12-0009"},
        {"status_transitions": {"paid_at": 7}, "created": 4, "number": "AB12-0010"},
        {"status_transitions": {"paid_at": 7}, "created": 5, "number": None},
        {"status_transitions": {"paid_at": 8}, "created": 1, "number": "AB12-0001"},
    ]
    for order in (made, made[::-1], made[3:] + made[:3]):
        assert sorted(order, key=plan_periods.order_of_payment) == made


def test_how_far_back_the_invoices_go_that_share_a_period(context: Flask) -> None:
    month = line("pro_monthly", 3000, JUNE, JULY)
    since = plan_periods.others_since
    assert since(invoice(month)) == JUNE - timedelta(days=1)
    assert since(invoice(month, status="open")) is None
    assert since(invoice(month, billing_reason="subscription_create")) is None
    a_year_and_a_little = MAY - timedelta(days=370)
    assert since(invoice(month, line("basic_monthly", -700))) == a_year_and_a_little
    assert since(invoice(month, line(None, 0))) == JUNE - timedelta(days=1)
    assert since(invoice(month, billing_reason="subscription_update")) == a_year_and_a_little


def test_the_words_for_it_are_the_plans_or_the_first_lines(context: Flask) -> None:
    assert plan_periods.description_of(invoice(line(None, 5), line("pro_monthly", 3000))) == "1 x pro_monthly"
    assert plan_periods.description_of(invoice(line(None, 5), line(None, 6, description="x"))) == "1 x None"
    assert plan_periods.description_of(invoice(line("pro_monthly", 3000, description=None))) == "Subscription"
    assert plan_periods.description_of(invoice()) == "Subscription"
