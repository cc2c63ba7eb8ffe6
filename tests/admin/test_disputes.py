"""Disputes and warnings: answered with evidence, followed to the credit, and told to whom they concern."""

from __future__ import annotations

import dataclasses
import json

import pytest
from flask import Flask

from billing import catalog, refund_making, sync
from billing.reversals import FraudWarning
from ledger.errors import WalletFrozen
from mail import outbox
from mail.models import Email
from stripe_sandbox.engine import disputes
from tests.admin.office import Office
from tests.billing.forms import open_form, send
from tests.billing.test_notices import words
from tests.persons import Person
from tests.worlds import Clock

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])
DISPUTED, INQUIRY, WARNED = "4000000000000259", "4000000000001976", "4000000000005423"


def credits(office: Office, ann: Person) -> tuple[int, int, bool]:
    balance = office.balance(ann)
    return balance.total, balance.debt, balance.frozen_reason is not None


def disputed(office: Office, *, spent: int = 0) -> Person:
    """Make a customer who paid, used some of it, and disputes the payment."""
    ann = office.customer()
    if spent:
        office.spend(ann, spent)
    with office.stripe.sandbox.world() as world:
        disputes.open_dispute(world, world.get("charge", office.payment(ann).stripe_charge_id))
    office.stripe.settle()
    return ann


def answer(office: Office, action: str, times: int = 1, **fields: str):  # type: ignore[no-untyped-def]
    path = f"/admin/disputes/{office.dispute().stripe_id}"
    return office.act(path, path, times=times, action=action, **fields)


def test_the_form_begins_with_what_we_know(office: Office) -> None:
    disputed(office, spent=13)
    page = office.staff.client.get(f"/admin/disputes/{office.dispute().stripe_id}").text
    for said in ("used 13 credits: CV report, some pages", "ann@example.com", "30 credits", "signed in from"):
        assert said in page, said
    assert "in 7 days" in office.words("/admin/disputes")
    assert "Disputes to answer 1" in " ".join(office.words("/admin").split())


def test_a_draft_is_kept_at_stripe_and_can_be_changed(office: Office) -> None:
    disputed(office)
    answer(office, "save", uncategorized_text="A first thought", product_description="Credits")
    assert office.dispute().submissions == 0
    assert json.loads(office.dispute().evidence)["uncategorized_text"] == "A first thought"
    refused = answer(office, "save", uncategorized_text="", product_description="Credits")
    assert refused.status_code == 422
    assert "Stripe keeps what was saved" in refused.text
    answer(office, "save", uncategorized_text="A second one", product_description="Credits")
    held = json.loads(office.dispute().evidence)
    assert held == {"uncategorized_text": "A second one", "product_description": "Credits"}
    assert office.audit() == [("evidence.saved", "staff@example.com")] * 2


@ORDERS
def test_a_dispute_that_is_won_gives_every_credit_back(office: Office, clock: Clock, order: str, times: int) -> None:
    ann = disputed(office, spent=13)
    assert credits(office, ann) == (0, 10, True)
    answer(office, "submit", times=2, uncategorized_text="winning_evidence")
    assert (office.dispute().stripe_status, office.dispute().submissions) == ("under_review", 1)
    assert "The bank has it" in office.words(f"/admin/disputes/{office.dispute().stripe_id}")
    clock.advance(minutes=5)
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (20, 0, False)
    assert "Won" in office.words(f"/admin/disputes/{office.dispute().stripe_id}")
    assert "Dispute won" in office.words(office.path(ann))


@ORDERS
def test_a_dispute_that_is_lost_keeps_the_credits_and_lets_spending_go_on(
    office: Office, clock: Clock, order: str, times: int
) -> None:
    ann = disputed(office, spent=13)
    answer(office, "submit", uncategorized_text="losing_evidence")
    clock.advance(minutes=5)
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (0, 10, False)
    assert office.dispute().stripe_status == "lost"
    assert office.dispute().closed_at is not None


def test_evidence_that_was_sent_cannot_be_sent_again(office: Office) -> None:
    disputed(office)
    path = f"/admin/disputes/{office.dispute().stripe_id}"
    fields = open_form(office.staff, path, path)
    answer(office, "submit", uncategorized_text="Proof")
    later = send(office.staff, path, {**fields, "action": "submit", "uncategorized_text": "More"})
    assert later.status_code == 303
    assert "can no longer be given" in office.staff.client.get(path).text
    assert office.dispute().submissions == 1


def test_nothing_and_too_much_are_not_sent(office: Office) -> None:
    disputed(office)
    assert answer(office, "submit").status_code == 422
    assert answer(office, "save", uncategorized_text="x" * 20_001).status_code == 422
    assert office.audit() == []


def test_the_customer_hears_when_spending_stops_and_when_it_goes_on(office: Office, clock: Clock) -> None:
    ann = disputed(office)
    office.stripe.settle(times=3)
    assert office.mails(ann) == ["spending_paused"]
    with office.staff.app.app_context():
        outbox.send_due()
    answer(office, "submit", uncategorized_text="winning_evidence")
    clock.advance(minutes=5)
    office.stripe.settle(times=3)
    assert office.mails(ann) == ["spending_paused", "spending_resumed"]
    assert "can be spent again" in words(ann, "spending_resumed")


def test_who_never_heard_of_a_pause_hears_nothing_of_its_end(office: Office, clock: Clock) -> None:
    ann = disputed(office)
    answer(office, "submit", uncategorized_text="winning_evidence")
    clock.advance(minutes=5)
    office.stripe.settle()
    with office.staff.app.app_context():
        outbox.send_due()
    told = [mail for mail in office.all(Email) if mail.account_id == ann.account_id and mail.template != "receipt"]
    assert {mail.status for mail in told} == {"cancelled"}


def test_staff_can_let_spending_go_on_for_good(office: Office) -> None:
    ann = disputed(office, spent=1)
    path = office.path(ann)
    cause = f"dispute:{office.payment(ann).stripe_charge_id}"
    done = office.act(path, f"{path}/resume", times=2, **{"resume-cause": cause, "resume-reason": "A known customer"})
    assert done.status_code == 303
    office.stripe.api.v1.disputes.update(office.dispute().stripe_id, {"metadata": {"looked": "at"}})
    office.stripe.settle(times=2)
    assert credits(office, ann)[2] is False
    assert office.audit() == [("spending.resumed", "staff@example.com")]
    assert office.changes() == ({"paused_by": [cause]}, {"paused_by": []})


def test_an_inquiry_takes_nothing_and_is_listed(office: Office) -> None:
    ann = office.customer(card=INQUIRY)
    assert credits(office, ann) == (33, 0, False)
    assert "Inquiry about $20.00" in office.words(f"/admin/disputes/{office.dispute().stripe_id}")


def under(app: Flask, policy: str) -> None:
    """Sell the same catalogue with another policy for warnings."""
    current = app.extensions["catalog"]
    app.extensions["catalog"] = dataclasses.replace(
        current, policies=dataclasses.replace(current.policies, fraud_warning=policy)
    )


@pytest.fixture
def policy(app: Flask):  # type: ignore[no-untyped-def]
    before = app.extensions["catalog"]
    yield lambda name: under(app, name)
    app.extensions["catalog"] = before


@ORDERS
def test_a_warning_pauses_spending_until_the_payment_is_refunded(office: Office, order: str, times: int) -> None:
    ann = office.customer(card=WARNED)
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (33, 0, True)
    with pytest.raises(WalletFrozen):
        office.spend(ann, 1)
    assert "made with stolen card" in office.words("/admin/disputes")
    assert "Warnings of fraud 1" in " ".join(office.words("/admin").split())
    office.refund(ann, "20.00", reason="fraudulent")
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (3, 0, False)
    assert [warning.is_actionable for warning in office.all(FraudWarning)] == [False]


def test_spending_does_not_go_on_before_the_credits_are_taken_back(office: Office) -> None:
    ann = office.customer(card=WARNED)
    office.stripe.api.v1.refunds.create({"charge": office.payment(ann).stripe_charge_id})
    (warning,) = office.all(FraudWarning)
    office.stripe.inside(sync.run_now, "fraud_warning", warning.stripe_id)
    assert [w.is_actionable for w in office.all(FraudWarning)] == [False]
    assert credits(office, ann) == (33, 0, True)
    office.stripe.settle()
    assert credits(office, ann) == (3, 0, False)


def test_a_warning_can_be_shown_only(office: Office, policy) -> None:  # type: ignore[no-untyped-def]
    policy("show")
    ann = office.customer(card=WARNED)
    assert credits(office, ann) == (33, 0, False)
    assert "Nothing happens by itself" in office.words("/admin/disputes")


@ORDERS
def test_a_warning_can_refund_by_itself_once(  # type: ignore[no-untyped-def]
    office: Office, policy, clock: Clock, order: str, times: int
) -> None:
    policy("refund")
    ann = office.customer(card=WARNED)
    office.stripe.settle(order=order, times=times)
    clock.advance(minutes=5)
    assert office.stripe.inside(refund_making.carry_out_due) == 1
    office.stripe.settle(order=order, times=times)
    assert office.stripe.inside(refund_making.carry_out_due) == 0
    assert credits(office, ann) == (3, 0, False)
    assert office.payment(ann).refunded_cents == 2000
    assert office.audit() == [("refund.decided", "policy")]


def test_a_warning_that_becomes_a_dispute_leaves_one_pause(office: Office) -> None:
    ann = office.customer(card=WARNED)
    with office.stripe.sandbox.world() as world:
        disputes.open_dispute(world, world.get("charge", office.payment(ann).stripe_charge_id))
    office.stripe.settle(order="reversed")
    assert credits(office, ann) == (3, 0, True)
    assert office.words(office.path(ann)).count("Spending is paused since") == 1


def test_a_warning_stands_while_its_bank_only_inquires(office: Office) -> None:
    ann = office.customer(card=WARNED)
    with office.stripe.sandbox.world() as world:
        charge = world.get("charge", office.payment(ann).stripe_charge_id)
        disputes.open_dispute(world, charge, inquiry=True)
    office.stripe.settle(order="reversed")
    assert credits(office, ann) == (33, 0, True)


def test_the_policies_are_those_of_the_catalogue() -> None:
    assert catalog.FRAUD_POLICIES == ("show", "pause", "refund")
