"""Credits for what was paid, worked out from what Stripe says of a checkout, a charge or an invoice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, select

import clock as app_clock
import database
from billing import allowances, catalog, charges, fulfilment, plan_grants
from billing.models import Payment, PlanGrant, SyncTask
from billing.reversals import Dispute
from extensions import db
from ledger.models import Bucket, CreditKind
from tests.billing.test_what_an_invoice_pays_for import JUNE, MAY, PRORATED, invoice, line
from tests.persons import Person, sign_up
from tests.worlds import Clock

Json = dict[str, Any]
CHARGED = {"id": "pi_1", "latest_charge": "ch_1", "amount_received": 800, "currency": "usd", "created": 1_800_000_000}


@pytest.fixture
def ann(app: Flask) -> Person:
    return sign_up(app)


def paid(*lines: tuple[str | None, int], payment: object = CHARGED, **more: object) -> Json:
    """Return a paid checkout of some packs and their quantities."""
    prices = [{"id": "price_1", "metadata": {"price_key": key} if key else {}} for key, _ in lines]
    return {
        "id": "cs_1",
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": payment,
        "line_items": {
            "data": [{"price": price, "quantity": quantity} for price, (_, quantity) in zip(prices, lines, strict=True)]
        },
        **more,
    }


def fulfil(ann: Person, checkout: Json) -> list[tuple[str, int]]:
    """Fulfil a checkout twice; return the sources of what was bought, and how much."""
    with ann.app.app_context():
        for _ in range(2):
            database.write(fulfilment.fulfil_session, ann.account_id, checkout)
        query = select(Bucket.source, Bucket.granted).where(Bucket.kind == "purchase")
        return [(source, granted) for source, granted in db.session.execute(query)]


def payments(ann: Person) -> list[tuple[str, str | None, int]]:
    with ann.app.app_context():
        rows = db.session.scalars(select(Payment)).all()
        assert {(t.kind, t.object_id) for t in db.session.scalars(select(SyncTask))} == {
            ("charge", row.stripe_charge_id) for row in rows
        }
        return [(row.description, row.grant_source, row.amount_cents) for row in rows]


def test_packs_are_granted_by_their_charge_and_the_payment_is_recorded(ann: Person) -> None:
    assert fulfil(ann, paid(("credits_5", 2), ("credits_30", 1))) == [("charge:ch_1", 40)]
    assert payments(ann) == [("5 credits, 30 credits", "charge:ch_1", 800)]


@pytest.mark.parametrize("payment", [None, "pi_1", {**CHARGED, "latest_charge": None}])
def test_packs_that_cost_nothing_are_granted_by_their_checkout(ann: Person, payment: object) -> None:
    assert fulfil(ann, paid(("credits_5", 1), payment=payment)) == [("session:cs_1", 5)]
    assert payments(ann) == []


@pytest.mark.parametrize("origin", [{"intent": "int_1"}, {"link": "plink_1"}])
def test_what_was_promised_is_granted_whatever_the_catalogue_says_now(ann: Person, origin: dict[str, str]) -> None:
    promised = {**origin, "credits": "77", "name": "An old pack"}
    assert fulfil(ann, paid((None, 1), metadata=promised)) == [("charge:ch_1", 77)]
    assert payments(ann) == [("An old pack", "charge:ch_1", 800)]


@pytest.mark.parametrize("notes", [{"credits": "77", "name": "Mine"}, {"intent": "int_1"}, {}, None])
def test_notes_that_are_no_promise_of_ours_promise_nothing(ann: Person, notes: dict[str, str] | None) -> None:
    assert fulfil(ann, paid(("credits_5", 1), metadata=notes)) == [("charge:ch_1", 5)]


@pytest.mark.parametrize(
    "checkout",
    [
        paid(("credits_5", 1), mode="subscription"),
        paid(("credits_5", 1), payment_status="unpaid"),
        paid((None, 1)),
        paid(("pro_monthly", 1)),
    ],
    ids=["a plan", "not paid yet", "sold by somebody else", "no pack"],
)
def test_nothing_is_granted_for(ann: Person, checkout: Json) -> None:
    assert fulfil(ann, checkout) == []
    assert payments(ann) == []


def test_a_checkout_of_ours_for_what_is_listed_no_more_is_not_passed_over(ann: Person) -> None:
    with pytest.raises(fulfilment.UnknownPurchase, match="cs_1"):
        fulfil(ann, paid((None, 1), client_reference_id=str(ann.account_id)))
    assert fulfil(ann, paid(("credits_5", 1), client_reference_id=str(ann.account_id))) == [("charge:ch_1", 5)]


@pytest.mark.parametrize(
    ("purchase", "is_paid", "asked"),
    [(("invoice", "in_1"), True, ["in_1"]), (("invoice", "in_1"), False, []), (None, True, [])],
)
def test_an_unknown_charge_has_what_it_paid_for_asked_for(
    ann: Person, purchase: tuple[str, str] | None, is_paid: bool, asked: list[str]
) -> None:
    with ann.app.app_context():
        database.write(charges.apply, ann.account_id, {"id": "ch_1", "purchase": purchase, "paid": is_paid})
        assert list(db.session.scalars(select(SyncTask.object_id))) == asked


# The periods before -------------------------------------------------------------------------------------------------


def grant(ann: Person, source: str, credits: int, starts_at: datetime, ends_at: datetime, **more: str) -> None:
    """Grant a period's credits as an invoice before did."""
    kind = CreditKind(more.pop("kind", "plan"))
    row = PlanGrant(
        account_id=ann.account_id,
        plan_key="pro",
        stripe_subscription_id=more.get("subscription", "sub_1"),
        source=source,
        credits=credits,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    database.write(plan_grants.add, row, kind=kind, note="Test")


def test_a_period_is_granted_and_noted_once_whoever_comes_with_it_again(ann: Person) -> None:
    with ann.app.app_context():
        for credits in (50, 70):
            grant(ann, "invoice:in_1", credits, MAY, JUNE)
        assert granted() == [50]
        assert db.session.scalars(select(Bucket.granted).where(Bucket.source == "invoice:in_1")).all() == [50]


@pytest.mark.parametrize(
    ("paid_at", "lasts_until"),
    [
        (None, JUNE),
        (JUNE - timedelta(seconds=1), JUNE),
        (JUNE, JUNE + timedelta(days=31)),
        (JUNE + timedelta(days=3), JUNE + timedelta(days=34)),
    ],
)
def test_a_period_paid_for_after_its_end_lasts_as_long_from_then_on(
    ann: Person, paid_at: datetime | None, lasts_until: datetime
) -> None:
    row = PlanGrant(
        account_id=ann.account_id, plan_key="pro", source="invoice:in_1", credits=50, starts_at=MAY, ends_at=JUNE
    )
    with ann.app.app_context():
        database.write(plan_grants.add, row, kind=CreditKind.PLAN, note="Test", paid_at=paid_at)
        ends = db.session.scalars(select(Bucket.expires_at).where(Bucket.source == "invoice:in_1")).one()
        assert ends == plan_grants.expires_at(lasts_until)


def test_a_later_month_of_a_plan_brings_its_credits_be_it_one_and_none_if_it_has_none(
    ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ann.app.app_context():
        plan = next(plan for plan in catalog.current().plans if plan.key == "pro")
        span = {"ends_at": JUNE, "paid_until": MAY + timedelta(days=365)}
        for credits in (0, 1):
            sold = replace(plan, credits=credits)
            monkeypatch.setattr(plan_grants, "_plan_paid_at", lambda *_, sold=sold: sold)
            added = database.write(plan_grants.add_month, ann.account_id, "sub_1", starts_at=MAY, **span)
            assert (added, granted()) == (credits == 1, [1] * credits)


def test_a_month_is_due_from_the_instant_at_which_the_last_one_ends(
    ann: Person, clock: Clock, still_time: None
) -> None:
    with ann.app.app_context():
        now = app_clock.now()
        grant(ann, "plan:swept", 50, now, now + timedelta(days=400))
        clock.advance(days=400, microseconds=-1)
        assert allowances.due_accounts(db.session()) == []
        clock.advance(microseconds=1)
        assert allowances.due_accounts(db.session()) == [ann.account_id]


def test_an_accounts_row_is_locked_before_its_month_is_looked_at(ann: Person) -> None:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(" ".join(statement.split()))

    with ann.app.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
        database.write(allowances.grant_due, ann.account_id)
        event.remove(db.engine, "before_cursor_execute", note)
        first = next(statement for statement in seen if not statement.startswith("BEGIN"))
        assert "FROM accounts WHERE accounts.id" in first
        assert first.endswith("FOR UPDATE") or db.engine.dialect.name == "sqlite"


def due(ann: Person, found: Json) -> int:
    return fulfilment.credits_of(db.session(), ann.account_id, found)


UPGRADE = invoice(line("team_monthly", 5000, MAY + timedelta(days=5), JUNE, **PRORATED))  # of 200 credits


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_the_same_period_brought_is_taken_off_whole_and_of_another_the_unused_share(
    ann: Person, order: tuple[int, int]
) -> None:
    cut_short = MAY - timedelta(days=20), MAY + timedelta(days=10)  # of its 30 days 5 are left
    spans = [("invoice:in_same", 50, MAY, JUNE), ("invoice:in_other", 30, *cut_short)]
    with ann.app.app_context():
        for number in order:
            grant(ann, *spans[number])
        assert due(ann, UPGRADE) == 200 - 50 - 5


def test_what_pays_for_no_plan_brings_no_credits(ann: Person) -> None:
    with ann.app.app_context():
        assert due(ann, invoice(line(None, 700))) == 0


def test_of_a_period_that_began_at_the_same_instant_the_unused_share_is_taken_off(ann: Person) -> None:
    with ann.app.app_context():
        grant(ann, "invoice:in_other", 30, MAY, MAY + timedelta(days=10))
        assert due(ann, invoice(line("pro_monthly", 3000))) == 50 - 30


def test_a_month_is_of_the_plan_whose_invoice_was_the_last_for_the_instant_it_began(ann: Person) -> None:
    def know(source: str, plan_key: str, starts_at: datetime, subscription: str = "sub_1") -> None:
        row = PlanGrant(
            account_id=ann.account_id,
            plan_key=plan_key,
            stripe_subscription_id=subscription,
            stripe_invoice_id=source if source.startswith("in_") else None,
            source=source,
            credits=1,
            starts_at=starts_at,
            ends_at=JUNE,
        )
        database.write(plan_grants.add, row, kind=CreditKind.PLAN, note="Test")

    def credits_of_the_month(starts_at: datetime) -> int:
        ends_at = starts_at + timedelta(days=30)
        span = {"starts_at": starts_at, "ends_at": ends_at, "paid_until": starts_at + timedelta(days=365)}
        if not database.write(plan_grants.add_month, ann.account_id, "sub_1", **span):
            return 0
        return granted()[-1]

    with ann.app.app_context():
        know("in_other", "team", MAY, "sub_2")
        assert credits_of_the_month(MAY) == 0, "nothing is known of it"
        for source, plan_key, starts_at in (("in_1", "basic", MAY), ("in_2", "pro", MAY), ("in_3", "team", JUNE)):
            know(source, plan_key, starts_at)
        know("plan:swept", "basic", MAY + timedelta(days=3))
        assert [credits_of_the_month(at) for at in (JUNE - timedelta(days=1), JUNE)] == [50, 200]


def test_what_has_nothing_to_do_with_a_period_takes_nothing_off_it(ann: Person) -> None:
    upgrade_at = MAY + timedelta(days=5)
    with ann.app.app_context():
        assert due(ann, UPGRADE) == 200
        grant(ann, "invoice:in_over", 30, MAY - timedelta(days=25), upgrade_at)
        grant(ann, "invoice:in_next", 30, JUNE, JUNE + timedelta(days=30))
        grant(ann, "invoice:in_sub_2", 30, MAY, JUNE, subscription="sub_2")
        grant(ann, "invoice:in_trial", 30, MAY, MAY + timedelta(days=14), kind="trial")
        assert due(ann, UPGRADE) == 200


def test_no_more_is_taken_off_than_a_period_brings(ann: Person) -> None:
    with ann.app.app_context():
        grant(ann, "invoice:in_same", 500, MAY, JUNE)
        assert due(ann, UPGRADE) == 0


@pytest.mark.parametrize(("margin", "taken_off"), [(timedelta(0), 0), (timedelta(seconds=1), 13)])
def test_credits_that_had_expired_unspent_when_a_period_began_are_not_taken_off_it(
    ann: Person, margin: timedelta, taken_off: int
) -> None:
    with ann.app.app_context():
        grace = timedelta(hours=catalog.current().policies.plan_credit_grace_hours)
        ended = JUNE - grace + margin  # so they expire at JUNE, or a second later
        grant(ann, "invoice:in_1", 30, ended - timedelta(days=30), ended)
        back = [[int((ended - timedelta(days=13)).timestamp()), int(ended.timestamp())]]
        assert due(ann, invoice(line("pro_monthly", 3000, JUNE, JUNE + timedelta(days=30)), returned=back)) == (
            50 - taken_off
        )


def test_of_a_period_heard_of_late_only_the_share_before_the_next_one_is_due(ann: Person) -> None:
    with ann.app.app_context():
        grant(ann, "invoice:in_later", 200, MAY + timedelta(days=10), JUNE + timedelta(days=10))
        assert due(ann, invoice(line("pro_monthly", 3000))) == 50 - 34  # 21 of its 31 days came back
        assert due(ann, invoice(line("pro_monthly", 0))) == 50, "a trial gave no money back"


# Payments and charges of invoices -----------------------------------------------------------------------------------

INTENT = {"id": "pi_1", "latest_charge": "ch_1", "currency": "usd", "created": int(MAY.timestamp())}
PAID = {"status": "paid", "amount_paid": 3000, "payment": {"payment_intent": INTENT}}


def granted() -> list[int]:
    """Return the credits of the plan that is paid for."""
    mine = select(PlanGrant.credits).where(PlanGrant.stripe_subscription_id == "sub_1")
    return list(db.session.scalars(mine.order_by(PlanGrant.id)))


@pytest.mark.parametrize(
    ("payment", "recorded"),
    [
        (PAID, [("1 x pro_monthly", "invoice:in_1", 3000)]),
        ({**PAID, "status": "open"}, []),
        ({**PAID, "payment": {"payment_intent": None}}, []),
        ({**PAID, "payment": {"payment_intent": "pi_1"}}, []),
        ({**PAID, "payment": {"payment_intent": {**INTENT, "latest_charge": None}}}, []),
    ],
    ids=["by card", "not paid", "from the balance", "outside of Stripe", "without a charge"],
)
def test_an_invoice_brings_its_credits_and_records_what_was_charged_for_it(
    ann: Person, payment: Json, recorded: list[tuple[str, str, int]]
) -> None:
    found = invoice(line("pro_monthly", 3000), id="in_1", payments={"data": [payment]})
    with ann.app.app_context():
        for _ in range(2):
            database.write(fulfilment.fulfil_invoice, ann.account_id, found)
        assert granted() == [50]
    assert payments(ann) == recorded


@pytest.mark.parametrize(("transitions", "paid_at"), [(None, MAY), ({"paid_at": int(JUNE.timestamp())}, JUNE)])
def test_a_payment_is_dated_by_when_the_invoice_was_paid(ann: Person, transitions: object, paid_at: datetime) -> None:
    payment = {**PAID, "status_transitions": transitions}
    found = invoice(line("pro_monthly", 3000), id="in_1", payments={"data": [payment]})
    with ann.app.app_context():
        database.write(fulfilment.fulfil_invoice, ann.account_id, {**found, "status": "open"})
        assert granted() == []
        database.write(fulfilment.fulfil_invoice, ann.account_id, found)
        assert db.session.scalars(select(Payment.paid_at)).one() == paid_at


def test_money_back_for_what_had_no_credits_takes_none(ann: Person) -> None:
    found = invoice(line(None, 700), id="in_1", payments={"data": [PAID]})
    with ann.app.app_context():
        database.write(fulfilment.fulfil_invoice, ann.account_id, found)
        charge = {"id": "ch_1", "amount_refunded": 700, "refunds": {"data": []}, "disputes": []}
        database.write(charges.apply, ann.account_id, charge)
        payment = db.session.scalars(select(Payment)).one()
        assert (payment.grant_source, payment.refunded_cents) == (None, 700)
        assert granted() == []


@pytest.mark.parametrize(("known", "brings", "source"), [(500, 0, None), (199, 1, "invoice:in_2")])
@pytest.mark.parametrize("is_told_at_once", [True, False])
def test_only_an_invoice_that_brought_credits_has_some_to_take_back(
    ann: Person, known: int, brings: int, source: str | None, is_told_at_once: bool
) -> None:
    found = {**UPGRADE, "id": "in_2", "payments": {"data": [PAID]}}
    with ann.app.app_context():
        grant(ann, "invoice:in_same", known, MAY, JUNE)
        first = found if is_told_at_once else {**found, "payments": None}
        for each in (first, found):
            database.write(fulfilment.fulfil_invoice, ann.account_id, each)
        assert granted() == [known, brings]
    assert payments(ann) == [("1 x team_monthly", source, 3000)]


def test_a_payment_knows_from_the_first_that_it_brought_a_single_credit(ann: Person) -> None:
    with ann.app.app_context():
        grant(ann, "invoice:in_same", 199, MAY, JUNE)
        upgrade = {**UPGRADE, "id": "in_2", "payments": {"data": [PAID]}}
        database.write(fulfilment.fulfil_invoice, ann.account_id, upgrade)
    assert payments(ann) == [("1 x team_monthly", "invoice:in_2", 3000)]


def test_a_payment_that_was_stored_before_its_plan_was_listed_learns_of_its_credits(ann: Person) -> None:
    sources = []
    for price_key in (None, "pro_monthly", None):
        found = invoice(line(price_key, 3000), id="in_1", payments={"data": [PAID]})
        with ann.app.app_context():
            database.write(fulfilment.fulfil_invoice, ann.account_id, found)
        sources += [source for _, source, _ in payments(ann)]
    assert sources == [None, "invoice:in_1", "invoice:in_1"]


def test_a_period_whose_money_all_came_back_is_taken_off_whole(ann: Person) -> None:
    ended = JUNE - timedelta(hours=1)
    began = ended - timedelta(days=30)
    with ann.app.app_context():
        grant(ann, "invoice:in_1", 30, began, ended)
        back = [[int(began.timestamp()), int(ended.timestamp())]]
        assert due(ann, invoice(line("pro_monthly", 3000, JUNE, JUNE + timedelta(days=30)), returned=back)) == 50 - 30


def changed_before(price_key: str, amount: int) -> Json:
    """Return a renewal of that plan which bills, too, that it began ten days before the old period's end."""
    since = JUNE - timedelta(days=10)
    swap = line("basic_monthly", -500, since, JUNE, **PRORATED), line(price_key, amount // 3, since, JUNE, **PRORATED)
    return invoice(*swap, line(price_key, amount, JUNE, JUNE + timedelta(days=30)))


def test_a_change_that_the_renewal_bills_takes_off_only_what_the_new_plan_has_less(ann: Person) -> None:
    begins = JUNE - timedelta(days=30)
    with ann.app.app_context():
        assert due(ann, changed_before("pro_monthly", 3000)) == 50, "nothing was granted before"
        grant(ann, "invoice:in_1", 20, begins, JUNE)
        assert due(ann, changed_before("pro_monthly", 3000)) == 50, "a larger plan was paid for in the old one's place"
        grant(ann, "invoice:in_2", 30, JUNE - timedelta(days=15), JUNE)
        assert due(ann, changed_before("pro_monthly", 3000)) == 50 - (7 + 20 - 17)
        assert due(ann, changed_before("basic_monthly", 1500)) == 20 - (7 + 20 - 7)


def dispute(number: int, status: str) -> Json:
    return {
        "id": f"dp_{number}",
        "status": status,
        "reason": "fraudulent",
        "amount": 3000,
        "currency": "usd",
        "created": int(MAY.timestamp()),
        "evidence": {"product_description": "Credits", "customer_name": "", "receipt": None, "files": {"id": "file_1"}},
        "evidence_details": {"due_by": None, "submission_count": 0},
    }


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        ([], None),
        (["won", "needs_response"], "needs_response"),
        (["won", "lost"], "lost"),
        (["warning_closed", "won"], "warning_closed"),
    ],
)
def test_of_several_disputes_the_one_that_keeps_the_money_counts_else_the_newest(
    ann: Person, statuses: list[str], counts: str | None
) -> None:
    found = invoice(line("pro_monthly", 3000), id="in_1", payments={"data": [PAID]})
    disputes = [dispute(number, status) for number, status in enumerate(statuses)]
    charge = {"id": "ch_1", "amount_refunded": 0, "refunds": {"data": []}, "disputes": disputes}
    with ann.app.app_context():
        database.write(fulfilment.fulfil_invoice, ann.account_id, found)
        database.write(charges.apply, ann.account_id, charge)
        assert db.session.scalars(select(Payment.dispute_status)).one() == counts
        kept = '{"product_description": "Credits"}'
        assert db.session.scalars(select(Dispute.evidence)).all() == [kept] * len(statuses)
        clawed = db.session.scalars(select(Bucket.clawed).where(Bucket.source == "invoice:in_1")).one()
        assert clawed == (50 if counts in {"needs_response", "lost"} else 0)
