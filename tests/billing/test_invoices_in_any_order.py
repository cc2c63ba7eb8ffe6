"""The invoices of a period and the refunds of their charges may be heard of in any order: credits to the credit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

import clock as app_clock
import database
from accounts.models import Account
from billing import allowances, charges, fulfilment, plan_grants, sync, sync_queue
from billing.models import Payment, PlanGrant, StripeObject, Subscription, SyncTask
from billing.periods import add_months
from extensions import db
from jobs import worker
from ledger import invariants, spending, statement
from ledger.models import Bucket
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

Json = dict[str, Any]
Heard = Callable[[Session], object]


def subscription_of(stripe: Stripe, ann: Person, price_key: str) -> str:
    stripe.pay(ann.checkout(price_key))
    stripe.discard_deliveries()
    return str(stripe.api.v1.subscriptions.list({"limit": 1}).data[0].id)


def change(stripe: Stripe, subscription_id: str, price_key: str) -> None:
    """Change a plan at once, as the app's own change and Stripe's Dashboard do."""
    item = stripe.api.v1.subscription_items.list({"subscription": subscription_id}).data[0]
    price = stripe.api.v1.prices.list({"lookup_keys": [lookup_key(stripe, price_key)]}).data[0]
    stripe.api.v1.subscriptions.update(
        subscription_id,
        {"items": [{"id": item.id, "price": price.id, "quantity": 1}], "proration_behavior": "always_invoice"},
    )


def lookup_key(stripe: Stripe, price_key: str) -> str:
    from billing import catalog

    return str(stripe.inside(lambda: catalog.current().price(price_key).lookup_key))


def invoices(stripe: Stripe, subscription_id: str) -> list[str]:
    """Return the ids of a subscription's invoices, first to last."""
    return [i.id for i in stripe.api.v1.invoices.list({"subscription": subscription_id, "limit": 20}).data][::-1]


def charge_of(stripe: Stripe, invoice_id: str) -> str:
    (paid,) = stripe.api.v1.invoice_payments.list({"invoice": invoice_id, "expand": ["data.payment.payment_intent"]})
    return str(paid.payment.payment_intent.latest_charge)


def hears_of(kind: str, object_id: str, ann: Person) -> Heard:
    """Return what bringing an object in line does, with all that is fetched for it by somebody who knows nothing."""
    fetched = sync.KINDS[kind].fetch(object_id, False)
    apply = {"invoice": fulfilment.fulfil_invoice, "charge": charges.apply}[kind]
    return lambda session: apply(session, ann.account_id, fetched)


@contextmanager
def undone(app: Flask) -> Iterator[Session]:
    """A session whose changes leave no trace."""
    with app.app_context():
        db.session.remove()
        with db.engine.execution_options(sqlite_begin="IMMEDIATE").connect() as connection:
            session = Session(connection)
            try:
                yield session
            finally:
                session.close()


def end_of(session: Session, ann: Person, heard: Sequence[Heard]) -> dict[str, object]:
    """Hear of everything, and of everything again in the same order; return all that the account has then."""
    for work in (*heard, *heard):
        work(session)
        session.flush()
    wallet = statement.balance(session, ann.account_id)
    buckets = session.scalars(select(Bucket).where(Bucket.account_id == ann.account_id))
    return {
        "balance, debt": (wallet.total, wallet.debt),
        **{b.source: (b.granted, b.clawed) for b in buckets if not b.source.startswith("plan:free")},
    }


def ends_in_any_order(ann: Person, heard: Sequence[Heard]) -> list[dict[str, object]]:
    """Return the different ends of all orders."""
    ends: list[dict[str, object]] = []
    for order in permutations(heard):
        with undone(ann.app) as session:
            end = end_of(session, ann, order)
            if end not in ends:
                ends.append(end)
                assert invariants.violations(session) == []
    return ends


def test_an_upgrade_a_downgrade_another_upgrade_and_the_first_ones_refund_end_alike_in_any_order(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    subscription_id = subscription_of(stripe, ann, "basic_monthly")
    for price_key in ("team_monthly", "pro_monthly", "team_monthly"):
        clock.advance(days=5)
        change(stripe, subscription_id, price_key)
    first, upgrade, downgrade, again = invoices(stripe, subscription_id)
    stripe.api.v1.refunds.create({"charge": charge_of(stripe, first)})
    with app.app_context():
        heard = [hears_of("invoice", each, ann) for each in (first, upgrade, downgrade, again)]
        heard.append(hears_of("charge", charge_of(stripe, first), ann))
    assert ends_in_any_order(ann, heard) == [
        {"balance, debt": (3 + 180, 0), f"invoice:{first}": (20, 20), f"invoice:{upgrade}": (180, 0)}
    ]


def test_an_invoice_is_fetched_with_those_paid_before_it_until_they_are_known(
    app: Flask, stripe: Stripe, clock: Clock
) -> None:
    ann = sign_up(app)
    subscription_id = subscription_of(stripe, ann, "basic_monthly")
    clock.advance(days=5)
    change(stripe, subscription_id, "team_monthly")
    first, upgrade = invoices(stripe, subscription_id)
    with app.app_context():
        fetch = sync.KINDS["invoice"].fetch
        assert fetch(first, False).keys() & {"earlier", "trial"} == set()
        assert [earlier["id"] for earlier in fetch(upgrade, False)["earlier"]] == [first]
        sync.run_now("invoice", first)
        found = fetch(upgrade, False)
    assert found["earlier"] == []
    assert "trial" not in found


def test_the_upgrades_own_refund_takes_its_share_in_any_order(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ann = sign_up(app)
    subscription_id = subscription_of(stripe, ann, "basic_monthly")
    clock.advance(days=10)
    change(stripe, subscription_id, "team_monthly")
    first, upgrade = invoices(stripe, subscription_id)
    charge = stripe.api.v1.charges.retrieve(charge_of(stripe, upgrade))
    stripe.api.v1.refunds.create({"charge": charge.id, "amount": charge.amount // 2})

    def spends(session: Session) -> None:
        key = "the first twenty"
        if statement.balance(session, ann.account_id).total >= 20 or spending.is_paid(session, ann.account_id, key):
            spending.spend(session, ann.account_id, 20, idempotency_key=key, reason="Test")

    with app.app_context():
        heard = [hears_of("invoice", each, ann) for each in (first, upgrade)]
        heard += [hears_of("charge", charge.id, ann), spends]
    assert ends_in_any_order(ann, heard) == [
        {"balance, debt": (3 + 20 + 90 - 20, 0), f"invoice:{first}": (20, 0), f"invoice:{upgrade}": (180, 90)}
    ]


def test_the_whole_way_through_the_worker_ends_alike(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ends = []
    for number, order in enumerate(("as_is", "reversed", "shuffled")):
        ann = sign_up(app, f"ann{number}@example.com")
        stripe.pay(ann.checkout("basic_monthly"))
        subscription_id = str(stripe.api.v1.subscriptions.list({"limit": 1}).data[0].id)
        change(stripe, subscription_id, "team_monthly")
        first, upgrade = invoices(stripe, subscription_id)
        stripe.api.v1.refunds.create({"charge": charge_of(stripe, first)})
        if order == "reversed":
            stripe.inside(sync.run_now, "invoice", upgrade)
        stripe.settle(order=order, seed=number)
        with app.app_context():
            buckets = db.session.scalars(select(Bucket).where(Bucket.account_id == ann.account_id).order_by(Bucket.id))
            ends.append((ann.balance_of("plan"), [(b.granted, b.clawed) for b in buckets]))
    assert ends == [(3 + 180, [(3, 0), (20, 20), (180, 0)])] * 3


def test_an_upgrade_in_a_later_month_of_a_year_grants_that_month_first(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    subscription_id = subscription_of(shop, ann, "starter_yearly")
    clock.advance(days=15)  # the trial is over
    clock.advance(days=70)
    change(shop, subscription_id, "pro_yearly")
    shop.discard_deliveries()
    trial, year, upgrade = invoices(shop, subscription_id)
    with shop.app.app_context():
        heard = [hears_of("invoice", each, ann) for each in (year, upgrade)]
        heard.append(hears_of("charge", charge_of(shop, upgrade), ann))
        subscription = sync.KINDS["subscription"].fetch(subscription_id, False)

    def sweeps(session: Session) -> None:
        from billing import subscriptions

        subscriptions.apply(session, ann.account_id, subscription)
        if allowances.due_accounts(session):
            allowances.grant_due(session, ann.account_id)

    ends = ends_in_any_order(ann, [*heard, sweeps])
    month = next(source for source in ends[0] if source.startswith("plan:"))
    assert [{key: value for key, value in end.items() if key != "balance, debt"} for end in ends] == [
        {f"invoice:{trial}": (20, 0), f"invoice:{year}": (20, 0), month: (20, 0), f"invoice:{upgrade}": (80, 0)}
    ]


def test_an_upgrade_in_the_second_in_which_a_month_begins_grants_that_month_once(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    starts_at = app_clock.now().replace(microsecond=0)
    year = invoice_of_a_year("in_1", "starter_yearly", starts_at, starts_at)
    upgrade = invoice_of_a_year("in_2", "pro_yearly", add_months(starts_at, 1), starts_at)
    with undone(shop.app) as session:
        for invoice in (year, upgrade):
            fulfilment.fulfil_invoice(session, ann.account_id, invoice)
        month = {"starts_at": add_months(starts_at, 1), "ends_at": add_months(starts_at, 2)}
        month["paid_until"] = add_months(starts_at, 12)
        assert not plan_grants.add_month(session, ann.account_id, "sub_1", **month)
        granted = session.scalars(grants_of("sub_1"))
        assert [(g.source.partition(":")[0], g.credits) for g in granted] == [
            ("invoice", 20),
            ("plan", 20),
            ("invoice", 80),
        ]


def invoice_of_a_year(invoice_id: str, price_key: str, at: datetime, year_starts_at: datetime) -> Json:
    invoice = upgrade_of_a_year("sub_1", at)
    (line,) = invoice["lines"]["data"]
    line["period"]["end"] = int(add_months(year_starts_at, 12).timestamp())
    line["pricing"]["price_details"]["price"]["metadata"]["price_key"] = price_key
    return {**invoice, "id": invoice_id}


def test_months_wait_until_everything_before_them_is_known(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    subscription_id = subscription_of(shop, ann, "starter_yearly")
    shop.settle()
    clock.advance(days=15)
    shop.settle()
    clock.advance(days=5)
    change(shop, subscription_id, "pro_yearly")
    shop.discard_deliveries()  # nobody hears of the upgrade before the next month
    clock.advance(days=30)
    with shop.app.app_context():
        assert worker.grant_due_allowances() == 0
        while sync.run_due():
            pass
        assert worker.grant_due_allowances() in (0, 1)
        while sync.run_due():
            pass
        worker.grant_due_allowances()
        granted = db.session.scalars(grants_of(subscription_id))
        assert [(g.plan_key, g.credits) for g in granted] == [
            ("starter", 20),
            ("starter", 20),
            ("pro", 80),
            ("pro", 100),
        ]


def test_a_month_waits_for_the_invoice_that_its_subscription_names_and_asks_for_it_once(
    shop: Stripe, clock: Clock
) -> None:
    ann = sign_up(shop.app)
    subscription_id = subscription_of(shop, ann, "starter_yearly")
    shop.settle()
    clock.advance(days=15)
    shop.settle()
    clock.advance(days=32)
    (*_, year) = invoices(shop, subscription_id)
    with shop.app.app_context():
        sync.run_now("subscription", subscription_id)
        database.write(lambda session: session.execute(delete(StripeObject).where(StripeObject.stripe_id == year)))
        before = db.session.get_one(SyncTask, ("invoice", year)).dirty
        for _ in range(2):
            assert not database.write(allowances.grant_due, ann.account_id)
            assert db.session.get_one(SyncTask, ("invoice", year)).dirty == before + 1
        sync.drain()
        assert database.write(allowances.grant_due, ann.account_id)
        assert not database.write(allowances.grant_due, ann.account_id)


def test_a_plan_that_the_catalogue_does_not_price_has_no_months(shop: Stripe, clock: Clock) -> None:
    ann = sign_up(shop.app)
    subscription_of(shop, ann, "starter_yearly")
    shop.settle()
    clock.advance(days=45)
    shop.settle()
    with shop.app.app_context():
        database.write(lambda session: session.execute(update(Subscription).values(price_key=None)))
        assert not database.write(allowances.grant_due, ann.account_id)


@pytest.mark.parametrize(("price", "days"), [("starter_monthly", 45), ("starter_yearly", 370)])
def test_what_follows_a_paid_period_waits_for_its_invoice_however_lately_stripe_was_asked(
    shop: Stripe, clock: Clock, price: str, days: int
) -> None:
    ann = sign_up(shop.app)
    subscription_id = subscription_of(shop, ann, price)
    clock.advance(days=15)  # the trial is over
    shop.settle()
    app_clock.travel(timedelta(days=days))  # the app's alone: Stripe is late with the renewal
    with shop.app.app_context():
        sync.run_now("subscription", subscription_id)
        assert allowances.due_accounts(db.session()) == [ann.account_id]
        assert not database.write(allowances.grant_due, ann.account_id)


def test_a_year_that_began_on_the_29th_of_february_keeps_its_day(shop: Stripe, clock: Clock) -> None:
    leap_day = app_clock.datetime(2028, 2, 29, 12, tzinfo=app_clock.UTC)
    clock.advance(seconds=(leap_day - app_clock.now()).total_seconds())
    ann = sign_up(shop.app)
    with shop.app.app_context():
        grant = PlanGrant(
            account_id=ann.account_id,
            plan_key="starter",
            stripe_subscription_id="sub_1",
            stripe_invoice_id="in_1",
            source="invoice:in_1",
            credits=20,
            starts_at=leap_day,
            ends_at=leap_day.replace(month=3),
        )
        with undone(shop.app) as session:
            session.add(grant)
            session.flush()
            period = fulfilment._period_of(session, upgrade_of_a_year("sub_1", leap_day.replace(month=5, day=10)))
    assert period is not None
    assert (period.month_starts_at, period.ends_at) == (leap_day.replace(month=4), leap_day.replace(month=5))


def upgrade_of_a_year(subscription_id: str, at: Any) -> Json:
    line = {
        "amount": 900,
        "quantity": 1,
        "period": {"start": int(at.timestamp()), "end": int(at.replace(year=2029, month=2, day=28).timestamp())},
        "parent": {"type": "invoice_item_details", "invoice_item_details": {"proration": True}},
        "pricing": {"price_details": {"price": {"id": "price_1", "metadata": {"price_key": "pro_yearly"}}}},
    }
    details = {"subscription_details": {"subscription": subscription_id}}
    return {"id": "in_2", "status": "paid", "parent": details, "lines": {"data": [line]}}


@pytest.mark.parametrize(
    ("returned", "clawed"),
    [
        ({"ch_1": ("refund", 1000)}, 20),
        ({"ch_2": ("refund", 2000)}, 40),
        ({"ch_1": ("refund", 1)}, 1),
        ({"ch_1": ("refund", 500), "ch_2": ("refund", 500)}, 20),
        ({"ch_1": ("lost", 0)}, 20),
        ({"ch_1": ("lost", 0), "ch_2": ("refund", 1000)}, 40),
        ({"ch_1": ("won", 0), "ch_2": ("needs_response", 0)}, 40),
        ({"ch_1": ("refund", 1000), "ch_2": ("lost", 0)}, 60),
    ],
)
def test_two_payments_of_one_grant_lose_their_own_shares_in_any_order(
    app: Flask, stripe: Stripe, returned: dict[str, tuple[str, int]], clawed: int
) -> None:
    ann = sign_up(app)
    paid_in_two = {"ch_1": 1000, "ch_2": 2000}
    heard: list[Heard] = [pays(ann, paid_in_two)]
    for charge_id, cents in paid_in_two.items():
        for at in ("before", "after"):
            how, back = returned.get(charge_id, ("refund", 0)) if at == "after" else ("refund", 0)
            heard.append(reads(ann, charge_id, cents, how, back))
    # Of one charge an older reading never follows a newer one: that is what its fence is for.
    orders = [order for order in permutations(heard) if order.index(heard[1]) < order.index(heard[2])]
    orders = [order for order in orders if order.index(heard[3]) < order.index(heard[4])]
    for order in orders:
        with undone(app) as session:
            for work in (*order, heard[2], heard[4]):
                work(session)
                session.flush()
            assert invariants.violations(session) == []
            bucket = session.scalars(select(Bucket).where(Bucket.source == "invoice:in_1")).one()
            assert (bucket.granted, bucket.clawed) == (60, clawed)
    assert len(orders) == 30


def pays(ann: Person, charges_of_it: dict[str, int]) -> Heard:
    """Return the grant of 60 credits by an invoice that was paid in several parts."""

    def work(session: Session) -> None:
        known = session.scalar(select(PlanGrant).where(PlanGrant.source == "invoice:in_1"))
        invoice: Json = {
            "id": "in_1",
            "status": "paid",
            "parent": {"subscription_details": {"subscription": "sub_1"}},
            "lines": {"data": [copy.deepcopy(LINE)]},
            "payments": {"data": [part(charge_id, cents) for charge_id, cents in charges_of_it.items()]},
        }
        fulfilment.fulfil_invoice(session, ann.account_id, invoice)
        if known is None:
            assert len(session.scalars(select(Payment)).all()) == len(charges_of_it)

    return work


LINE: Json = {
    "amount": 3000,
    "quantity": 3,
    "description": "3 x Basic",
    "period": {"start": 1_900_000_000, "end": 1_902_592_000},
    "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": False}},
    "pricing": {"price_details": {"price": {"id": "price_1", "metadata": {"price_key": "basic_monthly"}}}},
}


def part(charge_id: str, cents: int) -> Json:
    intent = {"id": f"pi_{charge_id}", "latest_charge": charge_id, "currency": "usd", "created": 1_900_000_000}
    return {"status": "paid", "amount_paid": cents, "payment": {"type": "payment_intent", "payment_intent": intent}}


def reads(ann: Person, charge_id: str, cents: int, how: str, back: int) -> Heard:
    """Return the reading of a charge: refunded by so many cents, or disputed."""
    charge = {
        "id": charge_id,
        "paid": True,
        "amount_captured": cents,
        "amount_refunded": back,
        "refunds": {"data": []},
        "disputes": [] if how == "refund" else [dispute(charge_id, cents, how)],
        "purchase": None,
    }
    return lambda session: charges.apply(session, ann.account_id, charge)


def dispute(charge_id: str, cents: int, status: str) -> Json:
    return {
        "id": f"du_{charge_id}",
        "status": status,
        "reason": "fraudulent",
        "amount": cents,
        "currency": "usd",
        "evidence": {},
        "evidence_details": {"due_by": None, "submission_count": 0},
        "created": 1_900_000_000,
    }


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_invoices_that_were_fetched_while_nobody_owned_their_customer_still_come_in_order(
    app: Flask, stripe: Stripe, order: tuple[int, int]
) -> None:
    ann = sign_up(app)
    subscription_id = subscription_of(stripe, ann, "basic_monthly")
    change(stripe, subscription_id, "pro_monthly")
    paid = invoices(stripe, subscription_id)
    with app.app_context():
        customer = database.write(owned_by, ann.account_id, None)
        for invoice_id in paid:
            fetch_and_apply(invoice_id)
        assert db.session.scalars(select(PlanGrant).where(PlanGrant.stripe_invoice_id.in_(paid))).all() == []
        database.write(owned_by, ann.account_id, customer)
        for place in order:
            fetch_and_apply(paid[place])
        granted = {f"invoice:{invoice_id}" for invoice_id in paid}
        found = db.session.scalars(select(PlanGrant).where(PlanGrant.source.in_(granted)).order_by(PlanGrant.id)).all()
        assert [(grant.stripe_invoice_id, grant.credits) for grant in found] == [(paid[0], 20), (paid[1], 30)]


def grants_of(subscription_id: str) -> Select[tuple[PlanGrant]]:
    return select(PlanGrant).where(PlanGrant.stripe_subscription_id == subscription_id).order_by(PlanGrant.id)


def owned_by(session: Session, account_id: int, customer_id: str | None) -> str | None:
    account = session.get_one(Account, account_id)
    before, account.stripe_customer_id = account.stripe_customer_id, customer_id
    return before


def fetch_and_apply(invoice_id: str) -> None:
    database.write(sync_queue.mark_dirty, "invoice", invoice_id)
    sync.run_now("invoice", invoice_id)
