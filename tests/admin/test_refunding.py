"""Refunds by staff: shown before, made once, followed to the credit, and told of when they fail later."""

from __future__ import annotations

import pytest

from billing import refund_making, refunding
from billing.reversals import RefundIntent
from tests.admin.office import Office
from tests.billing.forms import hidden_fields, send
from tests.persons import Person
from tests.worlds import Clock

ORDERS = pytest.mark.parametrize(("order", "times"), [("as_is", 1), ("reversed", 2)])


def credits(office: Office, ann: Person) -> tuple[int, int]:
    balance = office.balance(ann)
    return balance.total, balance.debt


@ORDERS
def test_a_full_refund_does_what_its_preview_says(office: Office, order: str, times: int) -> None:
    ann = office.customer()
    office.spend(ann, 23)
    assert credits(office, ann) == (10, 0)
    page = office.preview(ann, "20.00").text
    for said in ("$20.00", "a refund to the card", "Credits taken from the balance", "20 credits were spent already"):
        assert said in page, said
    assert office.refund(ann, "20.00").status_code == 303
    # The three free credits were spent first: they expire, the bought ones do not.
    assert credits(office, ann) == (0, 20)
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (0, 20)
    assert [(refund.amount_cents, refund.stripe_status) for refund in office.refunds()] == [(2000, "succeeded")]
    assert office.audit() == [("refund.decided", "staff@example.com")]
    assert "Refunded $20.00" in office.words(office.path(ann))
    refund_page = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund"
    assert "It has been refunded in full" in office.words(refund_page)


@ORDERS
def test_partial_refunds_take_their_share_and_leave_the_rest(office: Office, order: str, times: int) -> None:
    ann = office.customer()
    for left in (25, 20):
        office.refund(ann, "3.34")
        office.stripe.settle(order=order, times=times)
        # 3.34 of 20.00 is 5.01 credits of 30: rounded up over all refunds together.
        assert credits(office, ann)[0] == left - 1 + 3 if left == 25 else 22
    assert office.payment(ann).refunded_cents == 668
    assert len(office.intents()) == 2


def test_a_refund_confirmed_twice_is_made_once(office: Office) -> None:
    ann = office.customer()
    office.refund(ann, "5", times=3)
    assert len(office.stripe.api.v1.refunds.list().data) == 1
    assert len(office.intents()) == 1
    assert office.payment(ann).refunded_cents == 500


@pytest.mark.parametrize(("order", "times"), [("as_is", 2), ("reversed", 2)])
def test_a_refund_that_fails_later_gives_the_credits_back_and_says_so(
    office: Office, clock: Clock, order: str, times: int
) -> None:
    ann = office.customer(card="4000000000005126")
    office.spend(ann, 13)
    office.refund(ann, "20.00")
    assert credits(office, ann) == (0, 10)
    clock.advance(minutes=5)
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (20, 0)
    assert [refund.stripe_status for refund in office.refunds()] == ["failed"]
    assert "Refund of $20.00 failed" in office.words(office.path(ann))
    assert "Refunds refused or failed 1" in " ".join(office.words("/admin").split())
    assert "It failed at the bank: expired or canceled card" in office.words("/admin")
    assert office.payment(ann).refunded_cents == 0


@ORDERS
def test_an_invoice_is_refunded_by_a_credit_note(office: Office, order: str, times: int) -> None:
    ann = office.customer("pro_monthly")
    page = office.preview(ann, "15.00").text
    assert "a credit note of $15.00" in page
    office.refund(ann, "15.00")
    office.stripe.settle(order=order, times=times)
    assert credits(office, ann) == (3 + 25, 0)
    (note,) = office.stripe.api.v1.credit_notes.list().data
    assert (note.total, note.memo) == (1500, "As agreed by mail")
    invoice = office.stripe.api.v1.invoices.retrieve(str(office.payment(ann).stripe_invoice_id))
    assert invoice.post_payment_credit_notes_amount == 1500
    assert office.intents()[0].method == "credit_note"
    assert [refund.amount_cents for refund in office.refunds()] == [1500]


def test_when_stripe_does_not_answer_the_worker_makes_the_refund_once(office: Office, clock: Clock) -> None:
    ann = office.customer()
    preview = office.preview(ann, "20").text
    office.stripe.sandbox.break_api("500", times=9, path="/v1/refunds")
    action = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund/confirm"
    assert send(office.staff, action, hidden_fields(preview, action)).status_code == 303
    office.stripe.sandbox.heal()
    assert [intent.status for intent in office.intents()] == [refunding.CREATING]
    assert "A refund of it is under way" in office.words(action.removesuffix("/confirm"))
    clock.advance(minutes=10)
    assert office.stripe.inside(refund_making.carry_out_due) == 1
    assert office.stripe.inside(refund_making.carry_out_due) == 0
    office.stripe.settle()
    assert [intent.status for intent in office.intents()] == [refunding.MADE]
    assert len(office.stripe.api.v1.refunds.list().data) == 1
    assert credits(office, ann) == (3, 0)


def test_a_refund_whose_answer_was_lost_is_found_again_and_not_made_twice(office: Office, clock: Clock) -> None:
    ann = office.customer()
    preview = office.preview(ann, "5").text
    office.stripe.sandbox.break_api("500_after", times=9, path="/v1/refunds")
    action = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund/confirm"
    send(office.staff, action, hidden_fields(preview, action))
    office.stripe.sandbox.heal()
    clock.advance(days=3)
    office.stripe.inside(refund_making.carry_out_due)
    assert [intent.status for intent in office.intents()] == [refunding.MADE]
    assert len(office.stripe.api.v1.refunds.list().data) == 1


def test_what_changed_since_the_preview_is_shown_again_instead_of_refunded(office: Office) -> None:
    ann = office.customer()
    page = office.preview(ann, "20").text
    action = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund/confirm"
    office.spend(ann, 10)
    answer = send(office.staff, action, hidden_fields(page, action))
    assert answer.location.endswith("/refund")
    assert "have changed since you looked" in office.staff.client.get(answer.location).text
    assert office.intents() == []
    assert office.payment(ann).refunded_cents == 0


def test_a_refund_that_stripe_refuses_changes_nothing_and_is_told(office: Office) -> None:
    ann = office.customer()
    page = office.preview(ann, "20").text
    charge = office.payment(ann).stripe_charge_id
    # Somebody refunded it in Stripe's Dashboard a moment ago, and nobody told us yet.
    office.stripe.api.v1.refunds.create({"charge": charge, "amount": 100})
    office.stripe.expect_violation("greater than unrefunded amount")
    action = f"/admin/payments/{charge}/refund/confirm"
    send(office.staff, action, hidden_fields(page, action))
    assert [intent.status for intent in office.intents()] == [refunding.REFUSED]
    assert office.audit()[-1] == ("refund.refused", "stripe")
    assert "Stripe refused it: " in office.words("/admin")
    office.stripe.settle()
    assert office.payment(ann).refunded_cents == 100
    assert office.refund(ann, "1").status_code == 303


@pytest.mark.parametrize("amount", ["", "0", "-5", "20.01", "1.005", "all", "1e99", "NaN"])
def test_an_amount_that_makes_no_sense_is_said_so(office: Office, amount: str) -> None:
    ann = office.customer()
    answer = office.preview(ann, amount)
    assert answer.status_code in {409, 422}
    assert "Error:" in answer.text
    assert office.intents() == []


def test_a_quote_of_another_payment_or_a_forged_one_refunds_nothing(office: Office) -> None:
    ann = office.customer()
    page = office.preview(ann, "20").text
    action = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund/confirm"
    fields = hidden_fields(page, action)
    assert send(office.staff, action, {**fields, "quote": fields["quote"][:-2]}).status_code == 400
    assert send(office.staff, action, {**fields, "_idem": ""}).status_code == 400
    office.stripe.pay(ann.checkout("credits_5"))
    office.stripe.settle()
    other = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund/confirm"
    assert send(office.staff, other, fields).status_code == 303
    assert office.all(RefundIntent) == []


def test_a_disputed_payment_is_not_refunded(office: Office) -> None:
    ann = office.customer(card="4000000000000259")
    path = f"/admin/payments/{office.payment(ann).stripe_charge_id}/refund"
    assert "Its bank has a dispute about it" in office.words(path)
