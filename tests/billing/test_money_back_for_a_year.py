"""A year is paid once and granted by the month: what goes back of its money takes a share of every month."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

import database
from billing import compare, doctor_books, refunding, sync, sync_queue
from billing.differences import Difference
from billing.models import Payment, PlanGrant
from extensions import db
from ledger.models import Bucket
from stripe_sandbox.engine import disputes
from tests.billing.subscribers import pass_time, subscriber
from tests.persons import Person
from tests.worlds import Clock, Stripe


def months(ann: Person) -> list[tuple[int, int]]:
    """Return what each month of the paid year brought, and what of it is taken back."""
    of_year = Bucket.source.startswith("plan:sub_") | (Bucket.source == payment(ann).grant_source)
    with ann.app.app_context():
        rows = db.session.scalars(select(Bucket).where(of_year).order_by(Bucket.id)).all()
        return [(row.granted, row.clawed) for row in rows]


def ends(ann: Person) -> list[datetime | None]:
    """Return until when each month of the subscription was paid for."""
    with ann.app.app_context():
        of_plan = select(PlanGrant.paid_until).where(PlanGrant.stripe_subscription_id.is_not(None))
        return list(db.session.scalars(of_plan.order_by(PlanGrant.id)))


def payment(ann: Person) -> Payment:
    with ann.app.app_context():
        return db.session.scalars(select(Payment).order_by(Payment.id).limit(1)).one()


def a_month_later(shop: Stripe, clock: Clock, ann: Person, **how: str) -> None:
    """Let a month pass; its credits come when Stripe has been asked whether anything is new."""
    pass_time(shop, clock, ann, days=31, **how)  # type: ignore[arg-type]
    pass_time(shop, clock, ann, minutes=1)


@pytest.fixture
def ann(shop: Stripe, clock: Clock) -> Person:
    """Somebody in the third month of a year that costs $190 and brings 20 credits a month."""
    ann = subscriber(shop, "starter_yearly")
    pass_time(shop, clock, ann, days=15)  # the trial is over
    for _ in range(2):
        a_month_later(shop, clock, ann)
    assert months(ann) == [(20, 0)] * 3
    return ann


@pytest.mark.parametrize("order", ["as_is", "reversed"])
def test_a_refund_takes_its_share_of_every_month_also_of_those_to_come(
    shop: Stripe, clock: Clock, ann: Person, order: str
) -> None:
    shop.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 9500})
    shop.settle(order=order)
    assert months(ann) == [(20, 10)] * 3
    a_month_later(shop, clock, ann, order=order)
    assert months(ann) == [(20, 10)] * 4
    shop.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    shop.settle(order=order)
    a_month_later(shop, clock, ann, order=order)
    assert months(ann) == [(20, 20)] * 5


@pytest.mark.parametrize(("evidence", "taken"), [("winning_evidence", 0), ("losing_evidence", 20)])
def test_a_dispute_takes_every_month_until_it_is_won(
    shop: Stripe, clock: Clock, ann: Person, evidence: str, taken: int
) -> None:
    with shop.sandbox.world() as world:
        dispute = disputes.open_dispute(world, world.get("charge", payment(ann).stripe_charge_id))
    shop.settle()
    assert months(ann) == [(20, 20)] * 3
    shop.api.v1.disputes.update(dispute["id"], {"evidence": {"uncategorized_text": evidence}, "submit": True})
    a_month_later(shop, clock, ann)
    assert months(ann) == [(20, taken)] * 4


def test_an_upgrade_in_the_year_adds_its_payment_to_the_months_that_follow(
    shop: Stripe, clock: Clock, ann: Person
) -> None:
    subscription = shop.api.v1.subscriptions.list({}).data[0]
    item = subscription["items"].data[0]
    (price,) = shop.api.v1.prices.list({"lookup_keys": ["projects_pro_yearly"]}).data
    change = {"items": [{"id": item.id, "price": price.id}], "proration_behavior": "always_invoice"}
    shop.api.v1.subscriptions.update(subscription.id, change)
    shop.settle()
    a_month_later(shop, clock, ann)
    first, upgrade = shop.inside(lambda: db.session.scalars(select(Payment).order_by(Payment.id)).all())
    shop.api.v1.refunds.create({"charge": first.stripe_charge_id})
    shop.settle()
    share = first.amount_cents / (first.amount_cents + upgrade.amount_cents)
    before, brought = -(-20 * share // 1), -(-100 * share // 1)
    assert months(ann) == [(20, 20), (20, before), (20, before), (100, brought)]


@pytest.mark.parametrize("order", ["as_is", "reversed"])
@pytest.mark.parametrize("is_refunded_before", [True, False])
def test_grants_from_before_their_end_was_noted_follow_after_the_next_comparison(
    shop: Stripe, clock: Clock, ann: Person, order: str, *, is_refunded_before: bool
) -> None:
    def forget(session: Session) -> None:
        session.execute(update(PlanGrant).values(paid_until=None))

    def refund() -> None:
        shop.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id, "amount": 9500})
        shop.settle(order=order)

    shop.inside(database.write, forget)
    if is_refunded_before:
        refund()
        assert months(ann) == [(20, 10), (20, 0), (20, 0)], "the later months pass by it"
    found: list[Difference] = []
    shop.inside(compare.run_whole, found.append)
    assert {(difference.kind, "until when" in difference.words) for difference in found} == {("invoice", True)}
    shop.settle(order=order)
    if not is_refunded_before:
        refund()
    assert months(ann) == [(20, 10)] * 3
    a_month_later(shop, clock, ann, order=order)
    assert months(ann) == [(20, 10)] * 4
    assert shop.inside(compare.run_whole, found.append) == 0, "it is noted now"
    assert shop.inside(lambda: list(doctor_books._taken_back(db.session()))) == []


def test_an_old_month_follows_the_invoice_that_was_the_last_to_be_paid_for_it(
    shop: Stripe, clock: Clock, ann: Person
) -> None:
    """A year that another year follows: the comparison meets the invoices in any order."""
    pass_time(shop, clock, ann, days=330)
    pass_time(shop, clock, ann, minutes=1)
    before = ends(ann)
    assert len(set(before)) == 3, "the trial and two years"

    def forget(session: Session) -> None:
        session.execute(update(PlanGrant).values(paid_until=None))

    for order in ("as_is", "reversed"):
        shop.inside(database.write, forget)
        ids = [invoice.id for invoice in shop.api.v1.invoices.list({"status": "paid"}).data]
        for invoice_id in ids if order == "as_is" else ids[::-1]:
            shop.inside(database.write, sync_queue.mark_dirty, "invoice", invoice_id)
            shop.inside(sync.drain)
        assert ends(ann) == before


def test_the_preview_of_a_refund_counts_every_month_and_the_doctor_agrees(
    shop: Stripe, clock: Clock, ann: Person
) -> None:
    effect = shop.inside(lambda: refunding.quote(db.session(), payment(ann), 19000).effect)
    assert (effect.granted, effect.unused + effect.expired + effect.owed) == (60, 60)
    shop.api.v1.refunds.create({"charge": payment(ann).stripe_charge_id})
    shop.settle()
    assert ann.balance() == effect.balance
    assert shop.inside(lambda: list(doctor_books._taken_back(db.session()))) == []
