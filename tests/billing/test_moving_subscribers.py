"""Subscribers of an old price are moved to the present one: told first, planned once, whatever is killed."""

from __future__ import annotations

import json

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select

import failpoints
from billing import catalog, pacing, price_moves
from billing.models import PriceMove
from extensions import db
from mail import outbox, preparing, rendering
from mail.models import Email
from mail.preparing import Prepared
from tests.billing.forms import hidden_fields, send, submit
from tests.billing.subscribers import A_MONTH, billing_page, pass_time, subscriber, subscription
from tests.billing.test_stripe_catalog import Sell, paid, push, sell, with_amount
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

__all__ = ["sell"]


class Killed(BaseException):
    """What ends a process is caught by nobody."""


def move(app: Flask, *options: str, plan: str = "pro") -> Result:
    return app.test_cli_runner().invoke(args=["catalog", "move-subscribers", plan, *options])


def reprice(app: Flask, sell: Sell, amount_cents: int, price_key: str = "pro_monthly") -> None:
    sell(with_amount(catalog.load("cv"), price_key, amount_cents))
    push(app)


def letters(app: Flask, person: Person) -> list[str]:
    """Send what is due; return the text of each mail about a price."""
    with app.app_context():
        outbox.send_due()
        query = select(Email).where(Email.template == "price_change", Email.to_address == person.email)
        texts = []
        for mail in db.session.scalars(query.order_by(Email.id)):
            shown = preparing.prepare(db.session(), Prepared(mail.template, mail.to_address, json.loads(mail.context)))
            texts.append(rendering.part(shown, "body.txt", shown.context | {"app_name": "Tollgate"}))
        return texts


@pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])
def test_who_is_told_in_time_pays_the_new_price_from_the_renewal_that_was_named(
    app: Flask, stripe: Stripe, clock: Clock, sell: Sell, order: str, times: int
) -> None:
    ann = subscriber(stripe)
    reprice(app, sell, 3500)
    before = len(stripe.sandbox.events())
    looked = move(app, "--dry-run")
    assert looked.exit_code == 0, looked.output
    assert "moves  ann@example.com: $30.00 becomes $35.00 a month from" in looked.output
    assert len(stripe.sandbox.events()) == before
    assert letters(app, ann) == []

    assert "1 moved, 0 stay, 0 failed." in move(app, "--yes").output
    stripe.settle(order=order, times=times)
    (told,) = letters(app, ann)
    assert "your Pro plan costs $35.00 a month. Until then you pay $30.00 a month as before." in told
    assert "change or cancel your plan before that day" in told
    page = billing_page(ann)
    assert "Pro costs $35.00 a month from" in page
    assert "Take the change back" not in page
    assert "renews on" in page and "for $30.00." in page

    # The first renewal is nearer than the notice: it still costs what it did. The second is the one that was named.
    for renewal in ([3000, 3000], [3000, 3000, 3500], [3000, 3000, 3500, 3500]):
        pass_time(stripe, clock, ann, order=order, times=times, **A_MONTH)
        assert paid(app, ann.account_id) == renewal
        assert "for $35.00." in billing_page(ann)
    assert subscription(ann).amount_cents == 3500
    assert stripe.sandbox_object("subscription")["schedule"] is None
    assert ann.balance_of("plan") == 50 + 50  # this month's, and the last one's within its grace
    assert "Everybody on pro pays what it costs today." in move(app, "--yes").output
    assert len(letters(app, ann)) == 1


POINTS = ["price_move.announced", "change.schedule_made", "price_move.made"]


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    app: Flask, stripe: Stripe, sell: Sell, point: str
) -> None:
    ann = subscriber(stripe)
    reprice(app, sell, 3500)

    def end(name: str) -> None:
        if name == point:
            raise Killed

    failpoints.listen(end)
    try:
        with pytest.raises(Killed):
            move(app, "--yes")
    finally:
        failpoints.listen(None)
    for _ in range(2):
        assert move(app, "--yes").exit_code == 0
    assert len(letters(app, ann)) == 1
    with app.app_context():
        (row,) = db.session.scalars(select(PriceMove))
        assert row.made_at is not None
    schedules = stripe.api.v1.subscription_schedules.list({}).data
    assert [len(schedule.phases) for schedule in schedules] == [2]


def sick(app: Flask) -> list[str]:
    with app.app_context():
        return [problem for problem, _ in price_moves.unfinished(db.session())]


def test_the_doctor_names_who_was_told_and_was_not_moved(app: Flask, stripe: Stripe, clock: Clock, sell: Sell) -> None:
    ann = subscriber(stripe)
    reprice(app, sell, 3500)
    stripe.sandbox.break_api("500", path="/v1/subscription_schedules")
    assert move(app, "--yes").exit_code == 1
    assert sick(app) == []
    clock.advance(hours=2)
    (problem,) = sick(app)
    assert "was told that pro_monthly costs $35.00 from" in problem
    stripe.sandbox.heal()
    assert "1 moved" in move(app, "--yes").output
    assert sick(app) == []

    # A pause gives the move up.
    stripe.settle()
    log_in_again(ann)
    submit(ann, "/billing/pause", "/billing/pause")
    pass_time(stripe, clock, ann, days=5)
    submit(ann, "/billing/unpause", "/billing/unpause")
    pass_time(stripe, clock, ann, days=70)
    assert len(sick(app)) == 1
    assert "1 moved" in move(app, "--yes").output


def test_who_owes_leaves_or_chose_otherwise_stays_and_is_named(
    app: Flask, stripe: Stripe, clock: Clock, sell: Sell
) -> None:
    ann = subscriber(stripe)
    ben = sign_up(app, "ben@example.com")
    stripe.pay(ben.checkout("pro_monthly"))
    stripe.settle()
    submit(ann, "/billing/change?to=basic_monthly", "/billing/change")
    submit(ben, "/billing/cancel", "/billing/cancel")
    stripe.settle()
    reprice(app, sell, 3500)
    told = move(app, "--yes").output
    assert "stays  ann@example.com: is planned to change by the customer's own choice" in told
    assert "stays  ben@example.com: ends by itself" in told
    assert letters(app, ann) == letters(app, ben) == []

    # Whoever stays after all is moved by the next run; cancelling gives a move up, and a run after that makes it again.
    submit(ben, "/billing", "/billing/resume")
    stripe.settle()
    for _ in range(2):
        assert "1 moved, 1 stay" in move(app, "--yes").output
        stripe.settle()
        assert "0 moved, 2 stay" in move(app, "--yes").output
        submit(ben, "/billing/cancel", "/billing/cancel")
        stripe.settle()
        submit(ben, "/billing", "/billing/resume")
        stripe.settle()
    assert len(letters(app, ben)) == 1


def test_a_new_price_cannot_be_taken_back_and_a_choice_of_ones_own_replaces_it(
    app: Flask, stripe: Stripe, clock: Clock, sell: Sell
) -> None:
    ann = subscriber(stripe)
    reprice(app, sell, 3500)
    move(app, "--yes")
    stripe.settle()
    number = hidden_fields(billing_page(ann, "/billing/pause"), "/billing/pause")
    send(ann, "/billing/change/undo", number)
    assert "A new price cannot be taken back." in billing_page(ann)
    planned = submit(ann, "/billing/change?to=basic_monthly", "/billing/change")
    assert planned.status_code == 303
    stripe.settle()
    assert "Basic begins on" in billing_page(ann)
    pass_time(stripe, clock, ann, **A_MONTH)
    assert paid(app, ann.account_id) == [3000, 1500]


def test_a_lower_price_can_begin_at_once_and_gives_the_difference_back(
    app: Flask, stripe: Stripe, clock: Clock, sell: Sell
) -> None:
    ann = subscriber(stripe)
    clock.advance(days=10)
    credits = ann.balance()
    reprice(app, sell, 3500)
    assert "a higher price begins with a renewal" in move(app, "--at", "now", "--yes").output
    reprice(app, sell, 2000)
    assert "$30.00 becomes $20.00 a month at once" in move(app, "--at", "now", "--yes").output
    stripe.settle(order="reversed")
    (told,) = letters(app, ann)
    assert "costs $20.00 a month from today; until now it was $30.00 a month" in told
    assert (subscription(ann).amount_cents, ann.balance()) == (2000, credits)
    back = -int(stripe.sandbox_object("customer")["balance"])
    assert 600 < back < 700  # two thirds of the month, of the difference of $10.00
    pass_time(stripe, clock, ann, days=21, hours=2)
    assert paid(app, ann.account_id) == [3000, 2000 - back]


def test_the_run_keeps_the_pace_and_says_what_failed(app: Flask, stripe: Stripe, sell: Sell) -> None:
    ann = subscriber(stripe)
    reprice(app, sell, 3500)
    waited: list[float] = []
    app.extensions["stripe.pace"] = pacing.Pace(0, now=lambda: sum(waited), sleep=waited.append)
    stripe.sandbox.break_api("429", times=2, path="/v1/subscription_schedules")
    assert "1 moved" in move(app, "--yes").output
    assert sum(waited) > 1
    reprice(app, sell, 4000)
    stripe.sandbox.break_api("500", path="/v1/invoices")
    failed = move(app, "--yes")
    assert failed.exit_code == 1
    assert "failed ann@example.com" in failed.output
    assert len(letters(app, ann)) == 1
    stripe.sandbox.heal()
    assert "1 moved" in move(app, "--yes").output  # in place of the first move, and told anew
    assert "$40.00" in letters(app, ann)[1]


def test_a_coupon_goes_on_and_is_in_the_preview(app: Flask, stripe: Stripe, clock: Clock, sell: Sell) -> None:
    ann = subscriber(stripe)
    coupon = stripe.api.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    stripe.api.v1.subscriptions.update(subscription(ann).stripe_id, {"discounts": [{"coupon": coupon.id}]})
    stripe.settle()
    reprice(app, sell, 3500)
    assert "with discounts $17.50" in move(app, "--notice-days", "0", "--yes").output
    pass_time(stripe, clock, ann, **A_MONTH)
    assert paid(app, ann.account_id) == [3000, 1750]
