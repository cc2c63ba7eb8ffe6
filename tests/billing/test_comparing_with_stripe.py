"""The daily comparison finds what differs from Stripe, has it mended, and says nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from structlog.testing import LogCapture

import clock as app_clock
import database
from accounts.models import Account
from billing import compare, differences, errors, gateway, stripe_lists, sync, sync_queue
from billing.differences import Difference
from billing.models import CheckoutIntent, Cursor, Payment, PlanGrant, StripeObject, Subscription, SyncTask
from billing.reversals import Dispute, Refund
from extensions import db
from ledger import clawback
from tests.billing.cards import with_card
from tests.billing.forms import submit
from tests.persons import Person, sign_up
from tests.worlds import Clock, Stripe

DISPUTED_CARD = "4000000000000259"


@pytest.fixture
def ann(app: Flask, stripe: Stripe) -> Person:
    """Somebody with a plan, a pack half refunded, and a pack in dispute."""
    ann = sign_up(app)
    stripe.pay(ann.checkout("pro_monthly"))
    stripe.pay(ann.checkout("credits_30"))
    stripe.settle()
    with app.app_context():
        bought = db.session.scalars(sa.select(Payment.stripe_charge_id).where(Payment.kind == "pack")).one()
    stripe.api.v1.refunds.create({"charge": bought, "amount": 500})
    stripe.pay(ann.checkout("credits_12"), DISPUTED_CARD)
    stripe.settle()
    return ann


def compared(app: Flask) -> list[Difference]:
    found: list[Difference] = []
    with app.app_context():
        assert compare.run_whole(found.append) == len(found)
    return found


def facts(app: Flask) -> list[object]:
    """Return all that a fetch decides, to compare before and after."""
    with app.app_context():
        queries = (
            sa.select(*(getattr(Subscription, name) for name in [*differences.COPIED, "is_primary"])),
            sa.select(Payment.stripe_charge_id, Payment.refunded_cents, Payment.dispute_status, Payment.grant_source),
            sa.select(Refund.stripe_id, Refund.stripe_status, Refund.amount_cents),
            sa.select(Dispute.stripe_id, Dispute.stripe_status),
            sa.select(CheckoutIntent.stripe_session_id, CheckoutIntent.status),
            sa.select(Account.id, Account.stripe_customer_id),
            sa.text("SELECT source, granted, remaining, clawed FROM buckets ORDER BY id"),
        )
        return [sorted(map(tuple, db.session.execute(query)), key=str) for query in queries]


def test_nothing_is_said_where_all_is_well(app: Flask, ann: Person) -> None:
    assert compared(app) == []
    with app.app_context():
        assert database.write(sync_queue.waiting) == 0


def forget_the_subscription(session: Session) -> None:
    session.execute(sa.delete(Subscription))


def change_the_status(session: Session) -> None:
    session.execute(sa.update(Subscription).values(stripe_status="canceled"))


def change_the_price(session: Session) -> None:
    session.execute(sa.update(Subscription).values(plan_key="basic", amount_cents=1))


def change_the_period(session: Session) -> None:
    session.execute(sa.update(Subscription).values(period_ends_at=app_clock.now() + timedelta(days=400)))


def plan_a_cancellation(session: Session) -> None:
    session.execute(sa.update(Subscription).values(cancels_at=app_clock.now()))


def live_by_none(session: Session) -> None:
    session.execute(sa.update(Subscription).values(is_primary=False))


def forget_that_the_invoice_was_seen(session: Session) -> None:
    session.execute(sa.delete(StripeObject).where(StripeObject.kind == "invoice"))


def see_the_invoice_open(session: Session) -> None:
    opened = sa.func.replace(StripeObject.body, '"status":"paid"', '"status":"open"')
    session.execute(sa.update(StripeObject).where(StripeObject.kind == "invoice").values(body=opened))


def forget_what_the_invoice_brought(session: Session) -> None:
    session.execute(sa.delete(PlanGrant).where(PlanGrant.stripe_invoice_id.is_not(None)))


def forget_until_when_it_paid(session: Session) -> None:
    session.execute(sa.update(PlanGrant).where(PlanGrant.stripe_invoice_id.is_not(None)).values(paid_until=None))


def misread_its_credit_notes(session: Session) -> None:
    noted = sa.func.replace(
        StripeObject.body, '"post_payment_credit_notes_amount":0', '"post_payment_credit_notes_amount":7'
    )
    session.execute(sa.update(StripeObject).where(StripeObject.kind == "invoice").values(body=noted))


def forget_a_payment(session: Session) -> None:
    session.execute(sa.delete(Payment).where(Payment.dispute_status.is_(None)))


def forget_the_refund(session: Session) -> None:
    session.execute(sa.update(Payment).where(Payment.refunded_cents > 0).values(refunded_cents=0))


def forget_the_dispute(session: Session) -> None:
    session.execute(sa.update(Payment).values(dispute_status=None))


def misread_the_dispute(session: Session) -> None:
    session.execute(sa.update(Payment).where(Payment.dispute_status.is_not(None)).values(dispute_status="won"))


def misread_the_dispute_itself(session: Session) -> None:
    session.execute(sa.update(Dispute).values(stripe_status="won"))


def forget_a_single_refund(session: Session) -> None:
    session.execute(sa.delete(Refund))


def give_back_what_was_taken(session: Session) -> None:
    payment = session.scalars(sa.select(Payment).where(Payment.refunded_cents > 0)).one()
    clawback.claw_to(session, payment.account_id, str(payment.grant_source), 0)


def reopen_the_checkout(session: Session) -> None:
    session.execute(sa.update(CheckoutIntent).where(CheckoutIntent.mode == "payment").values(status="open"))


def never_see_the_checkout(session: Session) -> None:
    session.execute(sa.delete(StripeObject).where(StripeObject.kind == "checkout_session"))


def forget_the_customer(session: Session) -> None:
    session.execute(sa.update(Account).values(stripe_customer_id=None))


def forget_all_that_was_bought(session: Session) -> None:
    for table in (Subscription, Payment, StripeObject, SyncTask):
        session.execute(sa.delete(table))


MENDABLE = {
    "subscriptions": [
        forget_the_subscription,
        change_the_status,
        change_the_price,
        change_the_period,
        plan_a_cancellation,
        live_by_none,
    ],
    "invoices": [
        forget_that_the_invoice_was_seen,
        see_the_invoice_open,
        forget_what_the_invoice_brought,
        forget_until_when_it_paid,
        misread_its_credit_notes,
    ],
    "charges": [
        forget_a_payment,
        forget_the_refund,
        forget_the_dispute,
        misread_the_dispute,
        misread_the_dispute_itself,
        forget_a_single_refund,
        give_back_what_was_taken,
    ],
    "checkouts": [reopen_the_checkout, never_see_the_checkout],
    "all": [forget_the_customer, forget_all_that_was_bought],
}


@pytest.mark.parametrize("what", MENDABLE)
def test_what_drifted_is_found_and_mended(app: Flask, stripe: Stripe, ann: Person, what: str) -> None:
    ann.checkout("credits_5")  # first of its page, and nothing is to be said of it
    before = facts(app)
    for drift in MENDABLE[what]:
        with app.app_context():
            database.write(drift)
        found = compared(app)
        assert found, drift.__name__
        assert all(d.is_mendable and d.words for d in found), drift.__name__
        with app.app_context():
            sync.drain()
        assert facts(app) == before, drift.__name__
    assert compared(app) == []


def test_what_happened_a_moment_ago_is_no_drift(app: Flask, stripe: Stripe, ann: Person) -> None:
    stripe.api.v1.subscriptions.update(stripe.sandbox_object("subscription")["id"], {"cancel_at_period_end": True})
    stripe.discard_deliveries()
    assert compared(app) == []
    stripe.settle()
    with app.app_context():
        assert db.session.scalars(sa.select(Subscription.cancels_at)).one() is not None


def test_rows_that_stripe_does_not_know_are_told_and_end_as_dead_letters(
    app: Flask, stripe: Stripe, ann: Person, clock: Clock
) -> None:
    stripe.expect_violation("No such")
    with app.app_context():
        database.write(invent_rows)
    found = compared(app)
    assert {(d.kind, d.object_id) for d in found} == {
        ("subscription", "sub_elsewhere"),
        ("charge", "ch_elsewhere"),
        ("checkout_session", "cs_elsewhere"),
    }
    with app.app_context():
        for _ in range(2 * sync_queue.MAX_ATTEMPTS):
            sync.drain()
            clock.advance(minutes=61)
        assert database.write(sync_queue.given_up) == 3


def invent_rows(session: Session) -> None:
    for table, column, changes in (
        (Subscription, "stripe_id", {"stripe_id": "sub_elsewhere", "is_primary": False}),
        (Payment, "stripe_charge_id", {"stripe_charge_id": "ch_elsewhere", "id": 991}),
        (
            CheckoutIntent,
            "stripe_session_id",
            {
                "stripe_session_id": "cs_elsewhere",
                "id": 992,
                "public_id": "elsewhere",
                "status": "open",
                "expires_at": app_clock.now() - timedelta(hours=2),
            },
        ),
    ):
        row = session.scalars(sa.select(table).order_by(getattr(table, column))).first()
        values = {c.key: getattr(row, c.key) for c in table.__table__.columns}
        session.execute(sa.insert(table).values({**values, **changes}))


def test_what_happened_while_an_account_had_forgotten_its_customer_is_made_up_for(
    app: Flask, stripe: Stripe, ann: Person
) -> None:
    with app.app_context():
        database.write(forget_the_customer)
        stripe.api.v1.refunds.create({"charge": db.session.scalars(whole_charges()).one()})
        stripe.settle()
        assert db.session.scalars(whole_charges()).all(), "nobody is there to be told"
        assert compare.step() == 1
        sync.drain()
        assert not db.session.scalars(whole_charges()).all()


def whole_charges() -> sa.Select[tuple[str]]:
    """Select the charge of the plan, as long as nothing of it went back."""
    return sa.select(Payment.stripe_charge_id).where(Payment.kind == "subscription", Payment.refunded_cents == 0)


def test_charges_are_looked_at_for_35_days_and_what_went_back_for_120(app: Flask, stripe: Stripe, clock: Clock) -> None:
    ben = sign_up(app, "ben@example.com")
    stripe.pay(ben.checkout("credits_30"))
    stripe.settle()
    stripe.api.v1.refunds.create({"charge": stripe.sandbox_object("charge")["id"], "amount": 500})
    stripe.settle()

    def is_found_after(drift: Callable[[Session], None], **days: float) -> bool:
        clock.advance(**days)
        with app.app_context():
            database.write(drift)
        found = compared(app)
        with app.app_context():
            sync.drain()
        return bool(found)

    assert is_found_after(forget_the_refund, days=34.5)
    assert not is_found_after(forget_the_refund, days=1)
    assert is_found_after(forget_a_single_refund, days=119.5 - 35.5)
    assert not is_found_after(forget_a_single_refund, days=1)


@pytest.mark.parametrize(("days", "is_told"), [(33.5, True), (34.5, False)])
def test_own_payments_are_looked_at_for_a_day_less_than_the_charges_that_prove_them(
    app: Flask, stripe: Stripe, ann: Person, days: float, is_told: bool
) -> None:
    with app.app_context():
        database.write(invent_rows)
        paid_at = app_clock.now() - timedelta(days=days)
        elsewhere = sa.update(Payment).where(Payment.stripe_charge_id == "ch_elsewhere").values(paid_at=paid_at)
        database.write(lambda session: session.execute(elsewhere))
    stripe.expect_violation("No such")
    assert ("charge" in {d.kind for d in compared(app)}) == is_told


@pytest.mark.parametrize(("ago", "is_told"), [({"hours": 1}, False), ({"hours": 1, "seconds": 1}, True)])
def test_own_checkouts_are_asked_for_when_they_ran_out_more_than_an_hour_ago(
    app: Flask, stripe: Stripe, ann: Person, still_time: None, ago: dict[str, int], is_told: bool
) -> None:
    with app.app_context():
        database.write(invent_rows)
        ran_out = sa.update(CheckoutIntent).where(CheckoutIntent.stripe_session_id == "cs_elsewhere")
        ran_out = ran_out.values(expires_at=app_clock.now() - timedelta(**ago))
        database.write(lambda session: session.execute(ran_out))
    stripe.expect_violation("No such")
    assert ("checkout_session" in {d.kind for d in compared(app)}) == is_told


def test_own_rows_come_in_pages_and_each_of_them_once(app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "PAGE", 2)
    own_payments = next(part for part in compare.PARTS if part.name == "own payments")
    place = compare.Place(int(app_clock.now().timestamp()), own_payments.name, None)
    with app.app_context():
        first = own_payments.page(place)
        second = own_payments.page(replace(place, after=first[-1]["id"]))
        query = sa.select(Payment.stripe_charge_id).order_by(Payment.stripe_charge_id)
        assert [row["id"] for row in first + second] == db.session.scalars(query).all()
    assert (len(first), len(second)) == (2, 1)


def test_a_customer_whom_nobody_here_owns_is_told_when_it_is_charged(
    app: Flask, stripe: Stripe, ann: Person, log: LogCapture
) -> None:
    with app.app_context():
        database.write(lambda session: session.execute(sa.update(Account).values(stripe_customer_id="cus_other")))
    (found,) = compared(app)
    assert found.kind == "subscription"
    assert "whom no account here owns" in found.words
    assert not found.is_mendable
    (said,) = [e for e in log.entries if e["event"] == "differs from Stripe"]
    assert (said["log_level"], said["object_id"], said["words"]) == ("error", found.object_id, found.words)


def test_a_payment_whose_credits_are_in_no_ledger_is_told(app: Flask, stripe: Stripe, ann: Person) -> None:
    with app.app_context():
        pack = sa.update(Payment).where(Payment.kind == "pack", Payment.refunded_cents > 0)
        database.write(lambda session: session.execute(pack.values(grant_source="charge:nowhere")))
    (found,) = compared(app)
    assert "which is not in the ledger" in found.words
    with app.app_context():
        nothing = sa.update(Payment).where(Payment.grant_source == "charge:nowhere").values(grant_source=None)
        database.write(lambda session: session.execute(nothing))
    assert compared(app) == [], "it paid for something without credits"


def test_a_subscription_of_somebody_else_is_told(app: Flask, stripe: Stripe, ann: Person) -> None:
    ben = sign_up(app, "ben@example.com")
    with app.app_context():
        database.write(lambda s: s.execute(sa.update(Subscription).values(account_id=ben.account_id)))
    (found,) = compared(app)
    assert not found.is_mendable
    assert f"account {ben.account_id}'s here" in found.words


def test_charges_that_others_make_of_the_same_customer_are_none_of_ours(
    app: Flask, stripe: Stripe, ann: Person
) -> None:
    with app.app_context():
        customer = db.session.scalars(sa.select(Account.stripe_customer_id).where(Account.id == ann.account_id)).one()
    charge_by_hand = {"amount": 700, "currency": "usd", "customer": customer, "payment_method": "pm_card_visa"}
    stranger = stripe.api.v1.customers.create({"email": "stranger@example.com"}).id
    by_hand = stripe.api.v1.payment_intents.create({**charge_by_hand, "confirm": True, "off_session": True})
    foreign = {**charge_by_hand, "customer": stranger, "confirm": True}
    stripe.api.v1.payment_intents.create(foreign)  # first of the page
    card = stripe.api.v1.payment_methods.attach("pm_card_visa", {"customer": stranger}).id
    price = stripe.api.v1.prices.list({"lookup_keys": ["cv_basic_monthly"]}).data[0].id
    stripe.api.v1.subscriptions.create(
        {"customer": stranger, "items": [{"price": price}], "default_payment_method": card}
    )
    stripe.settle()
    assert compared(app) == []
    with app.app_context():
        ours = set(db.session.scalars(sa.select(Payment.stripe_charge_id)))
        ours |= set(db.session.scalars(sa.select(Payment.stripe_invoice_id))) - {None}
        database.write(lambda session: session.execute(sa.delete(Payment)))
        database.write(forget_that_the_invoice_was_seen)
    assert {d.object_id for d in compared(app)} == ours - {by_hand.latest_charge}


def test_a_pack_bought_by_one_click_is_missed_where_its_payment_was_forgotten(app: Flask, stripe: Stripe) -> None:
    ann = with_card(app, stripe)
    submit(ann, "/billing", "/billing/top-up/credits_30")
    stripe.settle()
    before = facts(app)
    with app.app_context():
        charge_id = db.session.scalars(sa.select(Payment.stripe_charge_id).where(Payment.amount_cents == 2000)).one()
        database.write(lambda session: session.execute(sa.delete(Payment).where(Payment.stripe_charge_id == charge_id)))
    (found,) = compared(app)
    assert (found.kind, found.object_id, found.words) == ("charge", charge_id, "is recorded nowhere")
    with app.app_context():
        sync.drain()
    assert facts(app) == before


# When it runs -------------------------------------------------------------------------------------------------------


def steps() -> int:
    count = 0
    while compare.step():
        count += 1
    return count


def test_it_runs_once_a_day(context: Flask, stripe: Stripe, clock: Clock) -> None:
    assert steps() == len(compare.PARTS)
    assert steps() == 0
    clock.advance(hours=23, minutes=59)
    assert steps() == 0
    clock.advance(minutes=1)
    assert steps() == len(compare.PARTS)


def test_it_goes_page_by_page_and_goes_on_where_it_stopped(
    app: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "PAGE", 2)
    people = [sign_up(app, f"person{number}@example.com") for number in range(5)]
    for person in people:
        stripe.pay(person.checkout("basic_monthly"))
    stripe.settle()
    with app.app_context():
        database.write(forget_the_subscription)
        for _ in range(4):  # three pages of customers, one of subscriptions
            assert compare.step() == 1
        assert database.write(sync_queue.waiting) == 2
        stripe.sandbox.break_api("500")
        with pytest.raises(errors.StripeUnavailable):
            compare.step()
        stripe.sandbox.heal()
        for _ in range(2):
            compare.step()
        assert database.write(sync_queue.waiting) == 5
        steps()
        sync.drain()
        assert len(db.session.scalars(sa.select(Subscription)).all()) == 5


def test_two_workers_do_not_skip_a_page(context: Flask, stripe: Stripe) -> None:
    first = database.write(compare._place)
    assert first is not None
    assert first == database.write(compare._place)
    part = compare.PARTS[0]
    database.write(compare._take_in, first, part, [], [])
    database.write(compare._take_in, first, part, [], [])
    second = database.write(compare._place)
    assert second is not None
    assert second.part == compare.PARTS[1].name


def test_a_page_begins_anew_when_the_object_before_it_is_gone(
    context: Flask, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = compare.Place(int(app_clock.now().timestamp()), "charges", "ch_gone")
    stripe.expect_violation("No such charge")
    assert compare.PARTS[3].page(place) == []


def test_no_known_charge_is_asked_for_by_itself(
    app: Flask, stripe: Stripe, ann: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: str) -> bool:
        raise AssertionError("asked for by itself")

    for module, name in (
        (stripe_lists, "knows"),
        (gateway, "find_invoice_of_payment"),
        (gateway, "find_checkout_session"),
    ):
        monkeypatch.setattr(module, name, never)
    clock.advance(minutes=1)
    assert compared(app) == []
    with app.app_context():
        database.write(forget_the_refund)
    assert len(compared(app)) == 1


def test_the_command_says_what_differs_and_fails(app: Flask, ann: Person) -> None:
    runner = app.test_cli_runner()
    assert runner.invoke(args=["compare"]).output == "Everything is what Stripe says.\n"
    with app.app_context():
        database.write(change_the_status)
    result = runner.invoke(args=["compare"])
    assert result.exit_code == 1
    assert "differs in stripe_status" in result.output
    assert "1 differences" in result.output
    with app.app_context():
        assert db.session.scalar(sa.select(Cursor.last_id).where(Cursor.name == compare.CURSOR)) is None
