"""Up, down, monthly, yearly: what the preview says is what happens, and nobody loses the plan they have paid for."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from billing import access, limits, pending
from billing.models import PlanGrant, Subscription
from extensions import db
from tests.billing.forms import open_form, send, submit
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe

CHANGE, UNDO = "/billing/change", "/billing/change/undo"
ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 1), ("as_is", 2), ("shuffled", 2)])
DECLINES_LATER, CHALLENGES = "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"


def subscriber(stripe: Stripe, price_key: str) -> Person:
    ann = sign_up(stripe.app)
    stripe.pay(ann.checkout(price_key))
    stripe.settle()
    return ann


def subscription(ann: Person) -> Subscription:
    with ann.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        return found


def plan(ann: Person) -> str:
    with ann.app.app_context():
        return access.plan_of(db.session(), ann.account_id).key


def preview(ann: Person, price_key: str) -> str:
    answer = ann.client.get(f"{CHANGE}?to={price_key}")
    assert answer.status_code == 200, (answer.status_code, answer.location)
    return words_of(answer.get_data(as_text=True))


def words_of(page: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def confirm(ann: Person, price_key: str):  # type: ignore[no-untyped-def]
    return submit(ann, f"{CHANGE}?to={price_key}", CHANGE)


def pay_with(stripe: Stripe, ann: Person, card: str) -> None:
    """Let the subscription be charged to another card."""
    stripe_id = subscription(ann).stripe_id
    customer = stripe.api.v1.subscriptions.retrieve(stripe_id).customer
    method = stripe.api.v1.payment_methods.attach(card, {"customer": customer})
    stripe.api.v1.subscriptions.update(stripe_id, {"default_payment_method": method.id})
    stripe.settle()


def billing_page(ann: Person) -> str:
    return words_of(ann.client.get("/billing").get_data(as_text=True))


def newest_invoice(stripe: Stripe):  # type: ignore[no-untyped-def]
    return stripe.api.v1.invoices.list({"limit": 1}).data[0]


@ORDERS
def test_an_upgrade_begins_at_once_for_exactly_the_amount_that_was_shown(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, "basic_monthly")
    clock.advance(days=10)
    stripe.settle()
    log_in_again(ann)
    shown = preview(ann, "pro_monthly")
    assert "Credits you get now 30" in shown
    assert "Priority support Not included Included" in shown
    assert "History" not in shown, "both have it"
    answer = confirm(ann, "pro_monthly")
    assert (answer.status_code, answer.location) == (303, "/billing")
    assert plan(ann) == "pro"
    assert ann.balance_of("plan") == 3 + 20 + 30
    stripe.settle(order=order, times=times)
    assert ann.balance_of("plan") == 3 + 20 + 30
    invoice = newest_invoice(stripe)
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_update")
    assert f"Pay ${invoice.amount_paid / 100:.2f} and change" in shown
    log_in_again(ann)
    assert "Change to Pro, monthly" in words_of(ann.client.get("/billing/invoices").get_data(as_text=True))

    clock.advance(days=22)
    stripe.settle(order=order, times=times)
    clock.advance(days=3)
    assert plan(ann) == "pro"
    assert newest_invoice(stripe).amount_paid == 3000
    assert ann.balance_of("plan") == 50


def test_the_webhooks_alone_bring_the_upgrade_in_whatever_order(app: Flask, stripe: Stripe) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle(times=1)
    item = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id).items.data[0].id
    pro = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data[0].id
    stripe.api.v1.subscriptions.update(
        subscription(ann).stripe_id,
        {"items": [{"id": item, "price": pro, "quantity": 1}], "proration_behavior": "always_invoice"},
    )
    stripe.settle(order="reversed")
    assert plan(ann) == "pro"
    assert ann.balance_of("plan") == 3 + 50


def test_when_the_upgrades_invoice_comes_before_the_first_one_the_credits_are_the_same(
    app: Flask, stripe: Stripe
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe_id = stripe.sandbox_object("subscription")["id"]
    item = stripe.api.v1.subscriptions.retrieve(stripe_id).items.data[0].id
    pro = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data[0].id
    stripe.api.v1.subscriptions.update(
        stripe_id, {"items": [{"id": item, "price": pro, "quantity": 1}], "proration_behavior": "always_invoice"}
    )
    stripe.settle(order="reversed")
    assert ann.balance_of("plan") == 3 + 50


def test_a_declined_card_leaves_the_old_plan_and_says_so(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "basic_monthly")
    pay_with(stripe, ann, DECLINES_LATER)
    answer = confirm(ann, "pro_monthly")
    assert (answer.status_code, answer.location) == (303, "/billing")
    page = billing_page(ann)
    assert "Your card was declined. Nothing was charged, and your plan has not changed." in page
    assert "Your change to Pro waits for its payment" in page
    stripe.settle()
    assert (plan(ann), ann.balance_of("plan")) == ("basic", 3 + 20)
    clock.advance(days=1)
    stripe.settle()
    log_in_again(ann)
    assert "waits for its payment" not in billing_page(ann)
    assert newest_invoice(stripe).status == "void"
    assert plan(ann) == "basic"


@ORDERS
def test_paying_the_waiting_invoice_makes_the_change(app: Flask, stripe: Stripe, order: str, times: int) -> None:
    ann = subscriber(stripe, "basic_monthly")
    pay_with(stripe, ann, DECLINES_LATER)
    confirm(ann, "pro_monthly")
    stripe.api.v1.invoices.pay(newest_invoice(stripe).id, {"payment_method": "pm_card_visa"})
    stripe.settle(order=order, times=times)
    assert (plan(ann), ann.balance_of("plan")) == ("pro", 3 + 50)
    assert "waits for its payment" not in billing_page(ann)


def test_a_change_that_waits_can_be_taken_back(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    pay_with(stripe, ann, DECLINES_LATER)
    confirm(ann, "pro_monthly")
    assert submit(ann, "/billing", UNDO).status_code == 303
    assert "Taken back. Your plan stays as it is." in billing_page(ann)
    assert newest_invoice(stripe).status == "void"
    stripe.settle()
    assert plan(ann) == "basic"


def test_a_challenge_leads_to_the_banks_page_and_the_old_plan_stays_meanwhile(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    pay_with(stripe, ann, CHALLENGES)
    answer = confirm(ann, "pro_monthly")
    invoice = newest_invoice(stripe)
    assert (answer.status_code, answer.location) == (303, invoice.hosted_invoice_url)
    assert plan(ann) == "basic"
    stripe.api.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    stripe.settle()
    assert (plan(ann), ann.balance_of("plan")) == ("pro", 3 + 50)


@ORDERS
def test_a_downgrade_begins_when_the_paid_period_ends(
    app: Flask, stripe: Stripe, clock: Clock, order: str, times: int
) -> None:
    ann = subscriber(stripe, "pro_monthly")
    assert "To pay now $0.00" in preview(ann, "basic_monthly")
    confirm(ann, "basic_monthly")
    stripe.settle(order=order, times=times)
    assert "Basic begins on" in billing_page(ann)
    assert (plan(ann), ann.balance_of("plan")) == ("pro", 3 + 50)
    clock.advance(days=32)
    stripe.settle(order=order, times=times)
    clock.advance(days=4)
    log_in_again(ann)
    assert (plan(ann), ann.balance_of("plan")) == ("basic", 20)
    assert newest_invoice(stripe).amount_paid == 1500
    assert "Basic begins on" not in billing_page(ann)


def test_a_planned_downgrade_can_be_undone(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly")
    confirm(ann, "basic_monthly")
    assert submit(ann, "/billing", UNDO).status_code == 303
    assert "Basic begins on" not in billing_page(ann)
    clock.advance(days=32)
    stripe.settle()
    assert (plan(ann), newest_invoice(stripe).amount_paid) == ("pro", 3000)


def test_another_choice_replaces_a_planned_one(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "team_monthly")
    confirm(ann, "basic_monthly")
    confirm(ann, "pro_monthly")
    assert "Pro begins on" in billing_page(ann)
    clock.advance(days=32)
    stripe.settle()
    log_in_again(ann)
    assert (plan(ann), newest_invoice(stripe).amount_paid) == ("pro", 3000)
    # The schedule still runs for a month: an upgrade and a cancellation go through it all the same.
    confirm(ann, "team_monthly")
    assert plan(ann) == "team"
    submit(ann, "/billing/cancel", "/billing/cancel")
    assert subscription(ann).cancels_at is not None


def test_with_a_smaller_plan_planned_a_larger_one_is_shown_at_its_own_price(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "pro_monthly")
    confirm(ann, "basic_monthly")
    assert "Basic begins on" in billing_page(ann)
    shown = preview(ann, "team_monthly")
    assert "$99.00" in shown
    assert "$15.00" not in shown
    assert confirm(ann, "team_monthly").status_code == 303
    assert plan(ann) == "team"


def test_cancelling_gives_up_a_planned_change(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = subscriber(stripe, "pro_monthly")
    confirm(ann, "basic_monthly")
    submit(ann, "/billing/cancel", "/billing/cancel")
    stripe.settle()
    page = billing_page(ann)
    assert "Resume Pro" in page
    assert "Basic begins on" not in page
    clock.advance(days=32)
    stripe.settle()
    assert plan(ann) == "free"


@pytest.fixture
def projects() -> Iterator[list[int]]:
    """A counter of projects; the first number is how many the account has."""
    count = [5]
    before = limits._counters.get("projects")
    limits.counts("projects")(lambda _session, _account_id: count[0])
    yield count
    limits._counters.pop("projects")
    if before:
        limits._counters["projects"] = before


def out_of_trial(shop: Stripe, clock: Clock, price_key: str) -> Person:
    ann = subscriber(shop, price_key)
    clock.advance(days=15)
    shop.settle()
    assert subscription(ann).stripe_status == "active"
    log_in_again(ann)
    return ann


def test_a_plan_that_is_too_small_is_refused_with_the_reason(shop: Stripe, clock: Clock, projects: list[int]) -> None:
    ann = out_of_trial(shop, clock, "pro_monthly")
    projects[0] = 3
    fields = open_form(ann, f"{CHANGE}?to=starter_monthly", CHANGE)
    projects[0] = 5
    assert "you use 5 projects, and it has room for 3" in words_of(ann.client.get(CHANGE).get_data(as_text=True))
    assert ann.client.get(f"{CHANGE}?to=starter_monthly").location == CHANGE
    assert send(ann, CHANGE, fields).location == CHANGE
    assert "Too small: you use 5 projects" in words_of(ann.client.get(CHANGE).get_data(as_text=True))
    with ann.app.app_context():
        assert pending.planned_change(db.session(), subscription(ann).stripe_id) is None


def test_from_monthly_to_yearly_takes_the_unused_days_off_and_their_credits_too(shop: Stripe, clock: Clock) -> None:
    ann = out_of_trial(shop, clock, "pro_monthly")
    clock.advance(days=4)
    log_in_again(ann)
    before = ann.balance_of("plan")
    shown = preview(ann, "pro_yearly")
    promised = int(re.search(r"Credits you get now (\d+)", shown)[1])  # type: ignore[index]
    assert 0 < promised < 50
    confirm(ann, "pro_yearly")
    shop.settle(order="reversed")
    assert (subscription(ann).price_key, plan(ann)) == ("pro_yearly", "pro")
    assert ann.balance_of("plan") - before == promised
    assert newest_invoice(shop).amount_paid < 49000
    assert f"Pay ${newest_invoice(shop).amount_paid / 100:.2f} and change" in shown


def test_a_larger_plan_from_stripes_dashboard_brings_all_its_credits_with_the_renewal_that_bills_it(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    stripe.pay(ann.checkout("basic_monthly"))
    stripe.settle()
    clock.advance(days=3)
    found = stripe.api.v1.subscriptions.list({}).data[0]
    (price,) = stripe.api.v1.prices.list({"lookup_keys": ["cv_pro_monthly"]}).data
    items = [{"id": found["items"].data[0].id, "price": price.id}]
    stripe.api.v1.subscriptions.update(found.id, {"items": items, "proration_behavior": "create_prorations"})
    clock.advance(days=29)
    stripe.settle(order="reversed")
    with app.app_context():
        granted = select(PlanGrant.credits).where(PlanGrant.stripe_invoice_id.is_not(None)).order_by(PlanGrant.id)
        assert list(db.session.scalars(granted)) == [20, 50]


def test_from_yearly_to_monthly_begins_when_the_year_ends(shop: Stripe, clock: Clock) -> None:
    ann = out_of_trial(shop, clock, "pro_yearly")
    confirm(ann, "pro_monthly")
    shop.settle(order="reversed")
    assert subscription(ann).price_key == "pro_yearly"
    clock.advance(days=200)
    clock.advance(days=170)
    shop.settle(order="reversed")
    assert subscription(ann).price_key == "pro_monthly"
    assert newest_invoice(shop).amount_paid == 4900


def test_in_a_trial_the_plan_changes_at_once_and_costs_nothing(shop: Stripe, clock: Clock) -> None:
    ann = subscriber(shop, "starter_monthly")
    assert "To pay now $0.00" in preview(ann, "pro_monthly")
    confirm(ann, "pro_monthly")
    shop.settle()
    assert (plan(ann), subscription(ann).stripe_status) == ("pro", "trialing")
    assert ann.balance_of("trial") == 20
    clock.advance(days=15)
    shop.settle()
    assert newest_invoice(shop).amount_paid == 4900
    assert ann.balance_of("plan") == 3 + 100


def test_the_same_form_sent_twice_changes_and_charges_once(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    fields = open_form(ann, f"{CHANGE}?to=pro_monthly", CHANGE)
    assert {send(ann, CHANGE, fields).location for _ in range(2)} == {"/billing"}
    stripe.settle()
    assert ann.balance_of("plan") == 3 + 50
    assert len(stripe.sandbox.events("invoice.paid")) == 2


def test_when_stripe_falls_silent_after_its_yes_the_webhook_brings_the_credits(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    fields = open_form(ann, f"{CHANGE}?to=pro_monthly", CHANGE)
    stripe.sandbox.break_api("500", times=50, path="/v1/invoices/in_")
    send(ann, CHANGE, fields)
    stripe.sandbox.heal()
    stripe.settle()
    assert (plan(ann), ann.balance_of("plan")) == ("pro", 3 + 50)


def test_amounts_that_somebody_made_up_are_refused(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    fields = open_form(ann, f"{CHANGE}?to=pro_monthly", CHANGE)
    bob = sign_up(app, "bob@example.com")
    stripe.pay(bob.checkout("basic_monthly"))
    stripe.settle()
    for wrong in ({"quote": "made-up"}, {"quote": ""}, {"_idem": ""}):
        assert send(ann, CHANGE, {**fields, **wrong}).status_code == 400
    bobs = open_form(bob, f"{CHANGE}?to=pro_monthly", CHANGE)
    assert send(bob, CHANGE, {**bobs, "quote": fields["quote"]}).status_code == 400
    assert plan(ann) == plan(bob) == "basic"


def test_when_the_price_moved_meanwhile_nothing_is_charged_and_the_new_amount_is_shown(
    app: Flask, stripe: Stripe
) -> None:
    ann = subscriber(stripe, "basic_monthly")
    fields = open_form(ann, f"{CHANGE}?to=pro_monthly", CHANGE)
    customer = stripe.api.v1.subscriptions.retrieve(subscription(ann).stripe_id).customer
    stripe.api.v1.customers.balance_transactions.create(customer, {"amount": -500, "currency": "usd"})
    answer = send(ann, CHANGE, fields)
    assert answer.location == f"{CHANGE}?to=pro_monthly"
    assert plan(ann) == "basic"
    assert "From your balance" in preview(ann, "pro_monthly")


@pytest.mark.parametrize("key", ["credits_5", "made_up", "free_monthly", "basic_yearly"])
def test_what_is_no_plan_on_sale_is_no_change(app: Flask, stripe: Stripe, key: str) -> None:
    ann = subscriber(stripe, "basic_monthly")
    assert ann.client.get(f"{CHANGE}?to={key}").status_code in {404, 303}


def test_who_has_no_plan_or_ends_it_is_told_what_to_do_first(app: Flask, stripe: Stripe) -> None:
    bob = sign_up(app, "bob@example.com")
    assert bob.client.get(CHANGE).location == "/pricing"
    ann = subscriber(stripe, "basic_monthly")
    submit(ann, "/billing/cancel", "/billing/cancel")
    assert ann.client.get(CHANGE).location == "/billing"
    assert "Resume it first, then change it." in billing_page(ann)


def test_the_pricing_page_leads_to_the_preview(app: Flask, stripe: Stripe) -> None:
    ann = subscriber(stripe, "basic_monthly")
    assert f"{CHANGE}?to=pro_monthly" in ann.client.get("/pricing").get_data(as_text=True)
