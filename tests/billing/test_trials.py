"""A trial comes once: per account, per address however it is tagged, and per card."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import func, select

import clock as app_clock
import database
from billing import access, sync, sync_queue
from extensions import db
from ledger.models import Bucket
from mail.models import Email
from tests.billing.subscribers import put_card
from tests.persons import Person, log_in_again, sign_up
from tests.worlds import Clock, Stripe


def status(person: Person) -> str | None:
    with person.app.app_context():
        found = access.subscription_of(db.session(), person.account_id)
        return found.stripe_status if found else None


def test_a_trial_opens_the_plan_costs_nothing_and_becomes_a_paid_month(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle(order="reversed")  # clicked in order in tests/journey
    assert status(ann) == "trialing"
    assert ann.balance_of("trial") == 100
    assert shop.sandbox.events("charge.succeeded") == []
    clock.advance(days=15)
    shop.settle(order="reversed")
    assert status(ann) == "active"
    assert ann.balance_of("plan") == 100 + 3
    assert len(shop.sandbox.events("charge.succeeded")) == 1


def test_the_second_subscription_of_an_account_has_no_trial(shop: Stripe) -> None:
    ann = sign_up(shop.app)
    shop.pay(ann.checkout("starter_monthly"))
    shop.settle()
    with shop.app.app_context():
        found = access.subscription_of(db.session(), ann.account_id)
        assert found is not None
        shop.api.v1.subscriptions.cancel(found.stripe_id)
    shop.settle()
    shop.pay(ann.checkout("starter_monthly"))
    shop.settle()
    assert status(ann) == "active"


def test_another_spelling_of_the_same_address_has_no_second_trial(shop: Stripe) -> None:
    shop.pay(sign_up(shop.app, "ann@example.com").checkout("starter_monthly"))
    shop.settle()
    again = sign_up(shop.app, "Ann+again@example.com")
    shop.pay(again.checkout("starter_monthly"))
    shop.settle()
    assert status(again) == "active"


def credits_of_trials(shop: Stripe) -> int:
    with shop.app.app_context():
        granted = db.session.scalar(select(func.coalesce(func.sum(Bucket.granted), 0)).where(Bucket.kind == "trial"))
        return int(granted or 0)


def mails_to(shop: Stripe, person: Person) -> list[str]:
    with shop.app.app_context():
        return list(db.session.scalars(select(Email.template).where(Email.to_address == person.email)))


def test_a_card_has_one_trial_and_its_second_ends_at_once_uncharged(shop: Stripe) -> None:
    ann, ben = sign_up(shop.app), sign_up(shop.app, "ben@example.com")
    assert "one trial per person and card" in ben.client.get("/pricing/checkout/pro_monthly").get_data(as_text=True)
    for person in (ann, ben):
        shop.pay(person.checkout("pro_monthly"))
        shop.settle(order="reversed", times=3)
    assert (status(ann), status(ben)) == ("trialing", None)
    assert (ann.balance_of("trial"), ben.balance_of("trial")) == (100, 0)
    assert shop.sandbox.events("charge.succeeded") == []
    assert mails_to(shop, ben) == ["second_trial"]


def test_who_comes_back_from_the_checkout_reads_why_and_can_buy_without_a_trial(shop: Stripe) -> None:
    ann, ben = sign_up(shop.app), sign_up(shop.app, "ben@example.com")
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle()
    back = shop.pay(ben.checkout("pro_monthly"))
    for _ in range(2):
        page = ben.client.get(back.removeprefix("http://127.0.0.1:5000")).get_data(as_text=True)
        assert "This card has had its trial" in page
        assert "Start Pro without a trial" in page
    order = ben.client.get("/pricing/checkout/pro_monthly").get_data(as_text=True)
    assert "trial" not in order
    shop.pay(ben.checkout("pro_monthly"))
    shop.settle()
    assert status(ben) == "active"
    assert ben.balance_of("plan") == 100 + 3
    assert len(shop.sandbox.events("charge.succeeded")) == 1


@pytest.mark.parametrize("order", list(permutations(["invoice of ann", "invoice of ben", "ann", "ben"]))[::3])
def test_of_two_trials_at_once_one_is_had_in_whatever_order_they_are_heard_of(
    shop: Stripe, order: tuple[str, ...]
) -> None:
    people = {name: sign_up(shop.app, f"{name}@example.com") for name in ("ann", "ben")}
    made: dict[str, tuple[str, str]] = {}
    for name, person in people.items():
        shop.pay(person.checkout("pro_monthly"))
        found = shop.api.v1.subscriptions.list({"limit": 1}).data[0]
        made[name], made[f"invoice of {name}"] = ("subscription", found.id), ("invoice", str(found.latest_invoice))
    with shop.app.app_context():
        fetched = {name: sync.KINDS[kind].fetch(object_id, False) for name, (kind, object_id) in made.items()}
        for name in order:  # all had been fetched before the first was written down
            kind, object_id = made[name]
            claim = database.write(sync_queue.claim, kind, object_id)
            database.write(sync._apply, claim, fetched[name])
    shop.discard_deliveries()  # nothing that comes later may be what ends the second
    shop.settle()
    assert credits_of_trials(shop) == 100
    first = order[0].removeprefix("invoice of ")
    for name, person in people.items():
        assert status(person) == ("trialing" if name == first else None)


def test_a_card_that_is_away_for_a_moment_does_not_save_a_second_trial(shop: Stripe, clock: Clock) -> None:
    ann, ben = sign_up(shop.app), sign_up(shop.app, "ben@example.com")
    shop.pay(ann.checkout("pro_monthly"))
    shop.settle()
    shop.pay(ben.checkout("pro_monthly"))
    (found, *_) = shop.api.v1.subscriptions.list({"limit": 1}).data
    shop.sandbox.break_api("500", path=f"/v1/subscriptions/{found.id}")
    shop.settle()
    assert credits_of_trials(shop) == 100
    shop.sandbox.heal()
    clock.advance(minutes=5)
    shop.settle()
    assert status(ben) is None


def test_a_trial_that_an_operator_gives_is_left_alone(shop: Stripe, clock: Clock) -> None:
    ann, ben = sign_up(shop.app), sign_up(shop.app, "ben@example.com")
    for person in (ann, ben):
        shop.pay(person.checkout("starter_monthly"))
        shop.settle()
    shop.pay(ben.checkout("starter_monthly"))
    shop.settle()
    assert status(ben) == "active"
    with shop.app.app_context():
        found = access.subscription_of(db.session(), ben.account_id)
        assert found is not None
        stripe_id = found.stripe_id
    clock.advance(hours=1)
    later = int((app_clock.now() + timedelta(days=20)).timestamp())
    shop.api.v1.subscriptions.update(stripe_id, {"trial_end": later, "proration_behavior": "none"})
    shop.settle()
    assert status(ben) == "trialing"


def test_a_business_may_give_a_card_any_number_of_trials(shop: Stripe) -> None:
    sold = shop.app.extensions["catalog"]
    shop.app.extensions["catalog"] = replace(sold, policies=replace(sold.policies, trials_per_card="any"))
    ann, ben = sign_up(shop.app), sign_up(shop.app, "ben@example.com")
    for person in (ann, ben):
        shop.pay(person.checkout("pro_monthly"))
    shop.settle()
    assert (status(ann), status(ben)) == ("trialing", "trialing")


@pytest.fixture
def open_trials(shop: Stripe, monkeypatch: pytest.MonkeyPatch) -> Stripe:
    """The shop, whose trials begin without a card."""
    sold = shop.app.extensions["catalog"]
    plans = tuple(replace(plan, is_trial_without_card=plan.trial_days > 0) for plan in sold.plans)
    monkeypatch.setitem(shop.app.extensions, "catalog", replace(sold, plans=plans))
    return shop


@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_a_trial_without_a_card_opens_the_plan_and_ends_uncharged(
    open_trials: Stripe, clock: Clock, order: str
) -> None:
    ann = sign_up(open_trials.app)
    assert "Not needed today" in ann.client.get("/pricing/checkout/pro_monthly").get_data(as_text=True)
    open_trials.pay(ann.checkout("pro_monthly"), card="")
    open_trials.settle(order=order)
    assert (status(ann), ann.balance_of("trial")) == ("trialing", 100)
    clock.advance(days=15)
    open_trials.settle(order=order)
    assert status(ann) is None
    assert open_trials.sandbox.events("charge.succeeded") == []
    with ann.app.app_context():
        assert access.plan_of(db.session(), ann.account_id).is_free


def test_a_card_given_during_such_a_trial_pays_at_its_end(open_trials: Stripe, clock: Clock) -> None:
    ann = sign_up(open_trials.app)
    open_trials.pay(ann.checkout("pro_monthly"), card="")
    open_trials.settle()
    put_card(open_trials, "pm_card_visa")
    clock.advance(days=15)
    open_trials.settle()
    assert (status(ann), ann.balance_of("plan")) == ("active", 100 + 3)
    assert len(open_trials.sandbox.events("charge.succeeded")) == 1


@pytest.mark.parametrize("order", ["as_is", "reversed"])
def test_a_card_given_later_has_had_its_trial_and_begins_no_other(
    open_trials: Stripe, clock: Clock, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    ann, ben, cleo = (sign_up(open_trials.app, f"{name}@example.com") for name in ("ann", "ben", "cleo"))
    open_trials.pay(ann.checkout("pro_monthly"), card="")
    open_trials.settle(order=order)
    put_card(open_trials, "pm_card_visa")
    open_trials.settle(order=order)
    assert status(ann) == "trialing"  # its own trial goes on
    clock.advance(days=15)
    open_trials.settle(order=order)
    monkeypatch.undo()  # from here on a trial asks for a card
    log_in_again(ben)
    open_trials.pay(ben.checkout("pro_monthly"), card="4242424242424242")
    open_trials.settle(order=order)
    assert (status(ann), status(ben), ben.balance_of("trial")) == ("active", None, 0)

    # A card that comes when the trial is long over had none: it may begin one with another account.
    clock.advance(days=31)
    open_trials.settle(order=order)
    stripe_id = open_trials.api.v1.subscriptions.list({"status": "active"}).data[0].id
    customer = open_trials.api.v1.subscriptions.retrieve(stripe_id).customer
    method = open_trials.api.v1.payment_methods.attach("pm_card_mastercard", {"customer": str(customer)})
    open_trials.api.v1.subscriptions.update(stripe_id, {"default_payment_method": method.id})
    open_trials.settle(order=order)
    log_in_again(cleo)
    open_trials.pay(cleo.checkout("pro_monthly"), card="5555555555554444")
    open_trials.settle(order=order)
    assert status(cleo) == "trialing"
