"""The scenes that lead through every failpoint: one for each flow of the app.

A scene is a generator. What it does before its first yield happens in peace; from there on processes may end, until it
yields again; what it says after that is what must be true in the end, besides what is true of everybody
(proofs/stripe_oracle.py): it raises Unfit when it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

import clock
import database
from accounts import people
from billing import (
    catalog,
    payment_links,
    plan_changes,
    price_moves,
    refund_making,
    refunding,
    stripe_catalog,
    usage,
    usage_retention,
    usage_standing,
)
from billing.errors import LimitReached
from billing.models import CheckoutIntent, Payment, Subscription, TrialUse
from billing.usage_models import UsageRecord, UsageReport
from checker.models import Report
from extensions import db
from ledger import granting, holds, spending, statement
from ledger.models import Hold
from mail.models import Email
from proofs.crash_world import Person, Unfit, World, days
from tests.checker.samples import words

Scene = Callable[[World], Iterator[None]]
# A payment, the cents of it to refund, and what was shown of what that would do.
Refunding = tuple[int, int, tuple[int, Any]]

PASSWORD, OTHER_PASSWORD = "a fine long password", "another fine long password"
CARD_THAT_FAILS_LATER = "pm_card_chargeCustomerFail"
DISPUTED_CARD = "4000000000000259"
FRAUD_CARD = "4000000000005423"


@dataclass(frozen=True)
class Entry:
    """A scene, and the preset in which it plays.

    Not judged by Stripe's objects are those that cross an expiry of credits, and payments of nobody's customer.
    """

    name: str
    play: Scene
    by_stripe: bool
    catalogue: str
    is_core: bool


SCENES: list[Entry] = []


def scene(*, by_stripe: bool = True, catalogue: str = "cv", is_core: bool = False) -> Callable[[Scene], Scene]:
    """Add a scene to the play; the core ones are played when there is little time."""

    def keep(function: Scene) -> Scene:
        SCENES.append(Entry(function.__name__, function, by_stripe, catalogue, is_core))
        return function

    return keep


# Who is who -----------------------------------------------------------------------------------------------------------


@scene()
def sign_up(world: World) -> Iterator[None]:
    ann = world.new_person(signed_up=False)
    fields = ann.form("/register", email=ann.email, password=PASSWORD)
    yield
    ann.send("/register", fields)
    world.shop.advance(61)
    ann.send("/verify", ann.form("/verify"))
    world.settle()
    link = world.link_in(world.letters(ann.email)[-1])
    ann.send(link, ann.form(link))
    yield
    with Session(db.engine) as session:
        user = people.find_user(session, ann.email)
        _demand(user is not None and user.is_verified, "nobody was signed up")
        ann.account_id = people.personal_account(session, user.id).id  # type: ignore[union-attr]
    _log_in(ann, PASSWORD)
    _demand(_credits(ann) == catalog.current().free_plan.credits, "the free credits are not there")


@scene()
def reset_a_password(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.browser = world.forks.browser()
    yield
    ann.send("/password/forgot", ann.form("/password/forgot", email=ann.email))
    world.settle()
    link = world.link_in(world.letters(ann.email)[-1])
    ann.send(link, ann.form(link, password=PASSWORD))
    world.settle()
    yield
    _log_in(ann, PASSWORD)
    _demand(_promised(ann, "password_changed") == 1, "they were not told once that their password was changed")


@scene()
def change_a_password(world: World) -> Iterator[None]:
    ann = world.new_person()
    database.write(_set_password, ann.user_id)
    ann.sign_in()
    fields = ann.form("/password/change", current=PASSWORD, password=OTHER_PASSWORD)
    yield
    ann.send("/password/change", fields)
    world.settle()
    yield
    _log_in(ann, OTHER_PASSWORD)
    _demand(_promised(ann, "password_changed") == 1, "they were not told once that their password was changed")


# Buying ---------------------------------------------------------------------------------------------------------------


@scene(is_core=True)
def buy_a_pack_and_return(world: World) -> Iterator[None]:
    ann = world.new_person()
    yield
    world.pay(ann.order("credits_30"))
    ann.visit(f"/billing/success?session_id={_latest_session(ann)}")
    world.settle()
    yield
    _demand(_credits(ann) == 30 + catalog.current().free_plan.credits, "the pack is not there")


@scene()
def subscribe_and_return(world: World) -> Iterator[None]:
    ann = world.new_person()
    yield
    world.pay(ann.order("basic_monthly"))
    ann.visit(f"/billing/success?session_id={_latest_session(ann)}")
    world.settle()
    yield
    _demand(_plan(ann) == "basic", "the plan is not there")


@scene()
def subscribe_and_hear_of_it_by_webhook(world: World) -> Iterator[None]:
    ann = world.new_person()
    world.pay(ann.order("pro_monthly"))
    yield
    world.settle()
    yield
    _demand(_plan(ann) == "pro", "the plan is not there")


@scene()
def choose_another_plan_before_paying(world: World) -> Iterator[None]:
    ann = world.new_person()
    with world.calm():
        first = ann.order("basic_monthly")
    yield
    second = ann.order("pro_monthly")
    _demand(first != second, "the checkout of another plan is the first one")
    world.pay(second)
    world.settle()
    yield
    _demand(_plan(ann) == "pro", "the plan is not there")


@scene()
def buy_while_stripe_fails(world: World) -> Iterator[None]:
    ann = world.new_person()
    with world.calm():
        ann.order("credits_5")  # so that there is a customer
    fields = ann.form("/pricing/checkout/credits_30")
    yield
    world.shop.sandbox.break_api("500", path="/v1/checkout/sessions")
    try:
        answer = ann.send("/pricing/checkout/credits_30", fields)
    finally:
        world.shop.sandbox.heal()
    _demand(answer.status_code in {502, 503}, f"the checkout answered {answer.status}")
    world.pay(ann.order("credits_30"))
    world.settle()
    yield
    _demand(_credits(ann) == 30 + catalog.current().free_plan.credits, "the pack is not there")


@scene(is_core=True)
def buy_by_one_click(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    fields = ann.form("/billing", "/billing/top-up/credits_30")
    yield
    ann.send("/billing/top-up/credits_30", fields)
    world.settle()
    yield
    _demand(_credits(ann) == 35 + catalog.current().free_plan.credits, "the pack is not there once")
    _demand(_payments(ann) == 2, f"{_payments(ann)} payments were made, not two")


@scene()
def a_click_that_nobody_finishes(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    fields = ann.form("/billing", "/billing/top-up/credits_30")
    yield
    world.shop.sandbox.break_api("unreachable")
    try:
        ann.send("/billing/top-up/credits_30", fields)
        world.shop.advance(700)
    finally:
        world.shop.sandbox.heal()
    world.settle()
    world.shop.advance(700)
    world.settle()
    yield
    _demand(_payments(ann) == 1, f"{_payments(ann)} payments were made, not one")


@scene()
def buy_by_itself_when_credits_run_low(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    page = "/billing/auto-top-up"
    terms = ann.form(f"{page}?pack=credits_12&threshold=5&cap=100", page, agree="yes")
    yield
    ann.send(page, terms)
    world.insist(lambda: world.forks.run(lambda: _spend(ann, _credits(ann) - 4)))
    world.settle()
    yield
    _demand(_credits(ann) == 4 + 12, f"{_credits(ann)} credits are there, not sixteen")
    _demand(_payments(ann) == 2, f"{_payments(ann)} payments were made, not two")
    _demand(_promised(ann, "auto_top_up_bought") == 1, "they were not told once of the purchase")


@scene()
def pay_in_two_old_tabs(world: World) -> Iterator[None]:
    ann = world.new_person()
    tabs = []
    for price_key in ("basic_monthly", "pro_monthly"):
        tabs.append(ann.order(price_key))
        database.write(_forget_checkouts, ann.account_id)
    for tab in tabs:
        world.pay(tab)
        world.shop.advance(60)
    yield
    for _ in range(3):
        world.settle()
        world.shop.advance(65)
    yield
    (live,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(_plan(ann) == "basic", f"{live.id} is left, and {_plan(ann)} is open")
    refunded = sorted(charge.amount_refunded for charge in _charges(world, ann))
    _demand(refunded == [0, 3000], f"{refunded} cents went back")


# Changing -------------------------------------------------------------------------------------------------------------


@scene(is_core=True)
def upgrade(world: World) -> Iterator[None]:
    ann = world.subscriber()
    fields = ann.form("/billing/change?to=pro_monthly", "/billing/change")
    yield
    ann.send("/billing/change", fields)
    world.settle()
    yield
    _demand(_plan(ann) == "pro", "the plan has not changed")
    _demand(_payments(ann) == 2, f"{_payments(ann)} payments were made, not two")


@scene()
def upgrade_after_planning_less(world: World) -> Iterator[None]:
    ann = world.subscriber("pro_monthly")
    with world.calm():
        ann.send("/billing/change", ann.form("/billing/change?to=basic_monthly", "/billing/change"))
        world.settle()
    page = "/billing/change?to=team_monthly"
    fields = ann.form(page, "/billing/change")
    yield
    answer = ann.send("/billing/change", fields)
    if str(answer.location).endswith(page):  # without the planned change other amounts are shown, to look at first
        ann.send("/billing/change", ann.form(page, "/billing/change"))
    world.settle()
    yield
    _demand(_plan(ann) == "team", "the plan has not changed")


@scene()
def downgrade_and_change_ones_mind(world: World) -> Iterator[None]:
    ann = world.subscriber("pro_monthly")
    fields = ann.form("/billing/change?to=basic_monthly", "/billing/change")
    yield
    ann.send("/billing/change", fields)
    world.settle()
    ann.send("/billing/change/undo", ann.form("/billing", "/billing/change/undo"))
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(subscription.schedule is None, "a change is still planned")
    _demand(_plan(ann) == "pro", "the plan has changed")


@scene()
def take_back_an_upgrade_that_is_not_paid(world: World) -> Iterator[None]:
    ann = world.subscriber()
    _spoil_card(world, ann)
    fields = ann.form("/billing/change?to=pro_monthly", "/billing/change")
    yield
    ann.send("/billing/change", fields)
    world.settle()
    ann.send("/billing/change/undo", ann.form("/billing", "/billing/change/undo"))
    world.settle()
    yield
    _demand(_plan(ann) == "basic", "the plan has changed without a payment")
    _demand(_payments(ann) == 1, f"{_payments(ann)} payments were made, not one")


@scene()
def cancel_and_resume(world: World) -> Iterator[None]:
    ann = world.subscriber()
    fields = ann.form("/billing/cancel", reason="unused", comment="")
    yield
    ann.send("/billing/cancel", fields)
    world.settle()
    ann.send("/billing/resume", ann.form("/billing", "/billing/resume"))
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(not subscription.cancel_at_period_end, "the plan still ends")


@scene()
def cancel_after_planning_less(world: World) -> Iterator[None]:
    ann = world.subscriber("pro_monthly")
    with world.calm():
        ann.send("/billing/change", ann.form("/billing/change?to=basic_monthly", "/billing/change"))
        world.settle()
    fields = ann.form("/billing/cancel", reason="", comment="")
    yield
    ann.send("/billing/cancel", fields)
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(subscription.cancel_at_period_end or subscription.cancel_at is not None, "the plan does not end")


@scene()
def cancel_at_once(world: World) -> Iterator[None]:
    ann = world.subscriber()
    fields = ann.form("/billing/cancel/now", reason="", comment="")
    yield
    ann.send("/billing/cancel/now", fields)
    world.settle()
    yield
    found = world.shop.client.v1.subscriptions.list({"customer": ann.customer(), "status": "canceled"}).data
    _demand(len(found) == 1, "the plan goes on")


@scene()
def pause_and_go_on(world: World) -> Iterator[None]:
    ann = world.subscriber()
    fields = ann.form("/billing/pause")
    yield
    ann.send("/billing/pause", fields)
    world.settle()
    ann.send("/billing/unpause", ann.form("/billing/unpause"))
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(subscription.status == "active", f"the plan is {subscription.status}")
    _demand(_payments(ann) == 1, f"{_payments(ann)} payments were made, not one")


@scene()
def move_to_a_new_price(world: World) -> Iterator[None]:
    ann = world.subscriber("pro_monthly")
    _let_pay_an_old_price(world, ann)
    yield
    world.keep_running(_move_subscribers)
    world.keep_running(_move_subscribers)
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(subscription.schedule is not None, "the new price is not planned")
    schedule = world.shop.client.v1.subscription_schedules.retrieve(str(subscription.schedule))
    _demand(len(schedule.phases) == 2, f"{len(schedule.phases)} phases are planned, not two")
    _demand(_promised(ann, "price-move") == 1, "they were not told once of the new price")


# What Stripe does -----------------------------------------------------------------------------------------------------


@scene(is_core=True)
def a_refund_and_a_dispute(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_30")
    ann.buys("credits_12", DISPUTED_CARD)
    (charge,) = [c for c in _charges(world, ann) if c.amount == 2000]
    world.shop.client.v1.refunds.create({"charge": charge.id, "amount": 500})
    yield
    world.settle()
    yield


@scene()
def a_renewal_that_fails(world: World) -> Iterator[None]:
    ann = world.subscriber()
    _spoil_card(world, ann)
    world.pass_a_month()
    ann.sign_in()
    yield
    world.settle()
    yield
    _demand(_promised(ann, "dunning") == 1, "they were not told once that the renewal failed")


@scene()
def another_card_pays_what_is_owed(world: World) -> Iterator[None]:
    ann = world.subscriber()
    _spoil_card(world, ann)
    world.pass_a_month()
    with world.calm():
        world.settle()
    _take_card(world, ann, "pm_card_visa")
    ann.sign_in()
    yield
    world.settle()
    yield
    _demand(_payments(ann) == 2, f"{_payments(ann)} payments were made, not two")
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    _demand(subscription.status == "active", f"the plan is {subscription.status}")


@scene()
def money_is_paid_back(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_30")
    shown = _look_at_refund(ann, 500)
    yield
    world.insist(lambda: world.forks.run(lambda: _decide_to_refund(shown)))
    world.settle()
    world.shop.advance(65)
    world.settle()
    yield
    refunded = [charge.amount_refunded for charge in _charges(world, ann)]
    _demand(refunded == [500], f"{refunded} cents were paid back, not 500")


@scene()
def a_bank_warns_of_fraud(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.buys("credits_5")
    world.pay(ann.order("credits_12"), FRAUD_CARD)
    yield
    world.settle()
    yield


@scene()
def webhooks_get_lost(world: World) -> Iterator[None]:
    ann = world.new_person()
    world.shop.advance(days(1.1))  # the comparison of a day has been made
    ann.sign_in()
    world.pay(ann.order("credits_12"))
    world.shop.postman.collect()
    world.shop.postman.bag.clear()
    yield
    for _ in range(3):
        world.work(looks_around=True)
        world.shop.advance(65)
    yield
    _demand(_credits(ann) == 12 + catalog.current().free_plan.credits, "the pack is not there")


@scene()
def stripe_fails_while_we_look(world: World) -> Iterator[None]:
    ann = world.new_person()
    world.pay(ann.order("credits_12"))
    yield
    world.shop.sandbox.break_api("500", path="/v1/checkout/sessions")
    try:
        world.deliver()
        world.work()
    finally:
        world.shop.sandbox.heal()
    world.shop.advance(65)
    world.settle()
    yield
    _demand(_credits(ann) == 12 + catalog.current().free_plan.credits, "the pack is not there")


# Credits --------------------------------------------------------------------------------------------------------------


@scene(is_core=True)
def check_a_cv(world: World) -> Iterator[None]:
    ann = world.new_person()
    text = words(120)
    fields = ann.form("/cv", text=text, advert="", shown_credits="1")
    yield
    ann.send("/cv", fields)
    yield
    with Session(db.engine) as session:
        reports = session.scalar(select(func.count()).select_from(Report).where(Report.account_id == ann.account_id))
    _demand(reports == 1, f"{reports} reports were kept, not one")
    _demand(_credits(ann) == catalog.current().free_plan.credits - 1, "the report was not charged once")


@scene()
def work_that_takes_long(world: World) -> Iterator[None]:
    ann = world.new_person()
    keys = ["done", "failed", "forgotten"]
    yield
    for key in keys:
        world.insist(lambda key=key: world.forks.run(lambda: _work(ann, key)))  # type: ignore[misc]
    world.shop.advance(3601)
    world.work()
    yield
    with Session(db.engine) as session:
        found = session.scalars(select(Hold.status).where(Hold.account_id == ann.account_id)).all()
    _demand(sorted(found) == ["captured", "expired", "released"], f"the holds are {sorted(found)}")
    _demand(_credits(ann) == catalog.current().free_plan.credits - 1, "the work was not charged once")


@scene(by_stripe=False)
def credits_that_expire(world: World) -> Iterator[None]:
    ann = world.new_person()
    expires_at = clock.now() + timedelta(hours=1)
    database.write(granting.grant, ann.account_id, 7, kind="promo", source="promo:1", expires_at=expires_at)
    database.write(granting.grant, ann.account_id, 5, kind="promo", source="promo:2", expires_at=expires_at)
    world.shop.advance(3601)
    yield
    world.work()
    yield
    _demand(_credits(ann) == catalog.current().free_plan.credits, "other credits than the expired ones are left")


@scene(by_stripe=False)
def a_month_goes_by(world: World) -> Iterator[None]:
    ann = world.new_person()
    world.shop.advance(days(35))
    yield
    world.work()
    yield
    with Session(db.engine) as session:
        months = [s.source for s in statement.balance(session, ann.account_id).sources]
    _demand(len(months) == 1, f"the months {months} can be spent, not one")
    _demand(_credits(ann) == catalog.current().free_plan.credits, "a month's free credits are not there once")


@scene(by_stripe=False, catalogue="projects")
def usage_is_told_to_stripe(world: World) -> Iterator[None]:
    database.write(_forget_trials)
    ann = world.subscriber("pro_monthly")
    _let_trial_pass(world)
    yield
    for key, quantity in (("first", 100_500), ("second", 2_500)):
        world.insist(lambda k=key, n=quantity: world.forks.run(lambda: _use(ann, k, n)))  # type: ignore[misc]
        world.shop.advance(61)
        world.settle()
    yield
    with Session(db.engine) as session:
        billed = session.scalars(
            select(UsageRecord.quantity).where(UsageRecord.account_id == ann.account_id, UsageRecord.is_billed)
        ).all()
    with world.shop.sandbox.world() as inside:
        told = [e for e in inside.select("billing.meter_event") if e["payload"]["stripe_customer_id"] == ann.customer()]
    _demand(sum(billed) == 103_000, f"{billed} were counted")
    _demand(sum(int(event["_value"]) for event in told) == sum(billed), f"{len(told)} reports say something else")


@scene(by_stripe=False, catalogue="projects")
def usage_reaches_its_warnings_and_the_cap(world: World) -> Iterator[None]:
    database.write(_forget_trials)
    ann = world.subscriber("pro_monthly")
    _let_trial_pass(world)
    ann.sign_in()
    page, action = "/billing/usage", "/billing/usage/events/cap"
    cap = ann.form(page, action, **{"events-choice": "amount", "events-amount": "1.00"})
    yield
    ann.send(action, cap)
    for key, quantity in (("80", 80_000), ("100", 20_000), ("cap", 2_000), ("beyond", 1)):
        refused = world.keep_running(lambda k=key, n=quantity: _use_if_there_is_room(ann, k, n))  # type: ignore[misc]
        _demand(refused == (key == "beyond"), f"{key} was {'refused' if refused else 'taken'}")
        world.shop.advance(61)
        world.settle()
    yield
    now = _standing(ann)
    _demand((now.used, now.cap_cents) == (102_000, 100), f"{now.used} are used, and the cap is {now.cap_cents}")
    _demand(_promised(ann, "usage") == 2, f"they were warned {_promised(ann, 'usage')} times, not twice")
    _demand(_told(world, ann) == 102_000, f"Stripe was told of {_told(world, ann)}")


@scene(by_stripe=False, catalogue="projects")
def usage_that_is_told_after_its_invoice(world: World) -> Iterator[None]:
    ann = _user_at_the_periods_end(world)
    yield
    world.shop.advance(3 * 3600)
    world.settle()
    world.shop.advance(65)
    world.settle()
    yield
    now = _standing(ann)
    _demand((now.used, now.carried) == (100_500, 100_500), f"{now.carried} of {now.used} were carried over")
    _demand(_told(world, ann) == 100_500, f"Stripe was told of {_told(world, ann)}")


@scene(by_stripe=False, catalogue="projects")
def usage_that_no_invoice_has_room_for(world: World) -> Iterator[None]:
    ann = _user_at_the_periods_end(world)
    yield
    world.shop.advance(3 * 3600)
    database.write(usage.set_cap, ann.account_id, "events", 0)
    world.settle()
    yield
    _demand((_standing(ann).used, _told(world, ann)) == (0, 0), "what the cap has no room for was billed")


@scene(by_stripe=False, catalogue="projects")
def old_use_is_folded_into_days(world: World) -> Iterator[None]:
    database.write(_forget_trials)
    ann = world.subscriber("pro_monthly")
    _let_trial_pass(world)
    with world.calm():
        for key, quantity in (("first", 500), ("second", 70)):
            _use(ann, key, quantity)
            world.shop.advance(61)
            world.settle()
    database.write(_let_use_be_old, ann.account_id)
    yield
    world.keep_running(lambda: database.write(usage_retention.sweep))
    yield
    with Session(db.engine) as session:
        mine = UsageRecord.account_id == ann.account_id
        left = session.scalar(select(func.count()).select_from(UsageRecord).where(mine))
        in_all = usage_retention.used_in_all(session, ann.account_id, "events")
    _demand((left, in_all) == (0, 570), f"{left} records are left, and {in_all} were used in all")


@scene(by_stripe=False, catalogue="projects")
def a_yearly_plan_gets_its_price_by_use(world: World) -> Iterator[None]:
    database.write(_forget_trials)
    ann = world.new_person()
    world.pay(ann.order("pro_yearly"))
    yield
    world.settle()
    world.shop.advance(65)
    world.settle()
    yield
    (subscription,) = world.shop.client.v1.subscriptions.list({"customer": ann.customer()}).data
    items = subscription.to_dict()["items"]["data"]
    by_use = [item for item in items if item["price"]["recurring"]["usage_type"] == "metered"]
    _demand(len(by_use) == 1, f"the plan has {len(by_use)} prices by use")


@scene(by_stripe=False)
def buy_by_a_link_and_sign_up_later(world: World) -> Iterator[None]:
    ann = world.new_person(signed_up=False)
    fields = ann.form("/register", email=ann.email, password=PASSWORD)
    for made in world.shop.client.v1.payment_links.list({"active": True}).data:
        world.shop.client.v1.payment_links.update(made.id, {"active": False})
    yield
    url = world.keep_running(lambda: payment_links.ensure("credits_30", base_url="http://127.0.0.1:5000"))
    opened = world.shop.sandbox.browser().post("/b/" + url.rsplit("/", 1)[-1])
    world.shop.sandbox.pay(opened.location, email=ann.email)
    world.settle()
    ann.send("/register", fields)
    world.settle()
    signing_up = [letter for letter in world.letters(ann.email) if "/verify/" in letter.text]
    link = world.link_in(signing_up[-1])
    ann.send(link, ann.form(link))
    world.settle()
    yield
    with Session(db.engine) as session:
        ann.account_id = people.personal_account(session, people.find_user(session, ann.email).id).id  # type: ignore[union-attr]
    _demand(_credits(ann) == 30 + catalog.current().free_plan.credits, "the pack is not there once")


# Mail and catalogue ---------------------------------------------------------------------------------------------------


@scene()
def the_mail_server_is_away(world: World) -> Iterator[None]:
    ann = world.new_person()
    ann.browser = world.forks.browser()
    fields = ann.form("/password/forgot", email=ann.email)
    yield
    world.post_office.stop()
    try:
        ann.send("/password/forgot", fields)
        world.work()
    finally:
        world.post_office.start()
    world.shop.advance(65)
    world.settle()
    yield
    _demand(len(world.letters(ann.email)) >= 1, "the mail never came")


@scene(by_stripe=False)
def sell_another_catalogue(world: World) -> Iterator[None]:
    clock_of_stripe = world.shop.sandbox.clock
    at = clock_of_stripe.now()
    world.shop.sandbox.reset()
    clock_of_stripe.freeze(at)
    price = {"currency": "usd", "unit_amount": 123, "lookup_key": "cv_credits_5", "product_data": {"name": "Before"}}
    world.shop.client.v1.prices.create(price)
    world.shop.postman._last = None  # its list of events begins anew, too
    yield
    world.keep_running(stripe_catalog.push)
    yield
    with world.calm():
        left = world.forks.run(stripe_catalog.plan_changes)
    _demand(not left, f"Stripe still differs from the catalogue by {left}")


# What is asked of them ------------------------------------------------------------------------------------------------


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise Unfit(otherwise)


def _log_in(person: Person, password: str) -> None:
    person.browser = person.world.forks.browser()
    fields = person.form("/login", email=person.email, password=password)
    with person.world.calm():
        answer = person.send("/login", fields)
    _demand(answer.status_code == 303, f"they cannot log in: {answer.status}")


def _credits(person: Person) -> int:
    with Session(db.engine) as session:
        return statement.balance(session, person.account_id).total


def _plan(person: Person) -> str | None:
    with Session(db.engine) as session:
        query = select(Subscription.plan_key).where(
            Subscription.account_id == person.account_id, Subscription.is_primary
        )
        return session.scalar(query)


def _payments(person: Person) -> int:
    return sum(charge.status == "succeeded" for charge in _charges(person.world, person))


def _charges(world: World, person: Person) -> list[Any]:
    return list(world.shop.client.v1.charges.list({"customer": person.customer()}).data)


def _spoil_card(world: World, person: Person) -> None:
    """Let them have a card from now on that the bank declines."""
    _take_card(world, person, CARD_THAT_FAILS_LATER)
    with world.calm():
        world.settle()


def _let_pay_an_old_price(world: World, person: Person) -> None:
    """Let them pay less than the plan costs today, as if it had cost that when they subscribed."""
    client = world.shop.client
    (subscription,) = client.v1.subscriptions.list({"customer": person.customer()}).data
    (item,) = subscription.items.data
    old = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2500,
            "recurring": {"interval": "month"},
            "product": str(item.price.product),
            "metadata": {"price_key": "pro_monthly"},
        }
    )
    change = {"items": [{"id": item.id, "price": old.id}], "proration_behavior": "none"}
    client.v1.subscriptions.update(subscription.id, change)  # type: ignore[arg-type]
    with world.calm():
        world.settle()


def _move_subscribers() -> None:
    for candidate in price_moves.candidates("pro", plan_changes.When.AT_PERIOD_END):
        try:
            price_moves.carry_out(
                price_moves.preview(candidate, plan_changes.When.AT_PERIOD_END, notice=timedelta(days=3))
            )
        except price_moves.Stays:
            price_moves.settle(candidate)


def _take_card(world: World, person: Person, which: str) -> None:
    client, customer = world.shop.client, person.customer()
    card = client.v1.payment_methods.attach(which, {"customer": customer})
    client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card.id}})
    (subscription,) = client.v1.subscriptions.list({"customer": customer}).data
    client.v1.subscriptions.update(subscription.id, {"default_payment_method": card.id})


def _forget_trials(session: Session) -> None:
    """Let everybody have a trial again: they all pay with the same card, which has only one."""
    session.execute(delete(TrialUse))


def _let_trial_pass(world: World) -> None:
    with world.calm():
        world.shop.advance(days(14.1))
        world.settle()


def _use(person: Person, key: str, quantity: int) -> None:
    database.write(usage.record, person.account_id, "events", quantity, key=key)


def _use_if_there_is_room(person: Person, key: str, quantity: int) -> bool:
    """Do work that counts; return whether it was refused."""
    try:
        _use(person, key, quantity)
    except LimitReached:
        return True
    return False


def _standing(person: Person) -> usage_standing.Standing:
    with Session(db.engine) as session:
        return usage_standing.standing(session, person.account_id, "events")


def _told(world: World, person: Person) -> int:
    """Return how much of somebody's use Stripe was told of."""
    with world.shop.sandbox.world() as inside:
        events = list(inside.select("billing.meter_event"))
    mine = [event for event in events if event["payload"]["stripe_customer_id"] == person.customer()]
    return sum(int(event["_value"]) for event in mine)


def _user_at_the_periods_end(world: World) -> Person:
    """Return a subscriber who has used more than the plan includes, half a minute before its period ends."""
    database.write(_forget_trials)
    ann = world.subscriber("pro_monthly")
    _let_trial_pass(world)
    world.shop.advance((_standing(ann).ends_at - clock.now()).total_seconds() - 30)
    _use(ann, "late", 100_500)
    return ann


def _let_use_be_old(session: Session, account_id: int) -> None:
    age = timedelta(days=31 * 14)
    for record in session.scalars(select(UsageRecord).where(UsageRecord.account_id == account_id)):
        record.at -= age
    for report in session.scalars(select(UsageReport).where(UsageReport.account_id == account_id)):
        report.at, report.minute = report.at - age, report.minute - int(age.total_seconds()) // 60


def _spend(person: Person, credits: int) -> None:
    key = f"spend:{person.email}"
    database.write(spending.spend, person.account_id, credits, idempotency_key=key, reason="Much work")


def _forget_checkouts(session: Session, account_id: int) -> None:
    session.execute(update(CheckoutIntent).where(CheckoutIntent.account_id == account_id).values(status="failed"))


def _look_at_refund(person: Person, amount_cents: int) -> Refunding:
    with Session(db.engine) as session:
        payment = session.scalars(select(Payment).where(Payment.account_id == person.account_id)).one()
        quoted = refunding.quote(session, payment, amount_cents)
        return payment.id, amount_cents, (quoted.left_cents, quoted.effect)


def _decide_to_refund(shown: Refunding) -> None:
    """Do as staff do: decide on the refund that was shown, and have it carried out."""
    facts = {"reason": "requested_by_customer", "note": "They asked", "actor": "staff", "key": f"refund:{shown[0]}"}
    intent = database.write(refunding.decide, *shown, **facts)  # type: ignore[arg-type]
    refund_making.carry_out(intent.id)


def _promised(person: Person, kind: str) -> int:
    query = (
        select(func.count())
        .select_from(Email)
        .where(Email.to_address == person.email, Email.dedupe_key.startswith(f"{kind}:"))
    )
    with Session(db.engine) as session:
        return session.scalar(query) or 0


def _latest_session(person: Person) -> str:
    query = select(CheckoutIntent.stripe_session_id).where(CheckoutIntent.account_id == person.account_id)
    with Session(db.engine) as session:
        return session.scalars(query.order_by(CheckoutIntent.id.desc())).first() or ""


def _set_password(session: Session, user_id: int) -> None:
    from accounts import passwords
    from accounts.models import User

    people.set_password(session, session.get_one(User, user_id), passwords.hashed(PASSWORD))


def _work(person: Person, end: str) -> None:
    """Work as a job does that takes longer than a request: hold, work, and capture with the result or release."""
    held = database.write(
        holds.reserve, person.account_id, 1, idempotency_key=end, reason="Long work", lease=timedelta(hours=1)
    )
    if end == "done":
        database.write(holds.capture, held.hold_id)
    elif end == "failed":
        database.write(holds.release, held.hold_id)
