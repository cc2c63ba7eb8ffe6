"""Money that goes back: refunds, disputes, credit notes - and what is left in the account's balance."""

from __future__ import annotations

import pytest
import stripe

DAY = 86400
FEE = 1500  # A dispute's fee in cents.


def buy(client, goods, card="pm_card_visa", amount=5000):
    """Take a payment and return its charge."""
    intent = client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "customer": goods.customer,
            "payment_method": card,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "expand": ["latest_charge"],
        }
    )
    return intent.latest_charge


def net(client):
    return sum(entry.net for entry in client.v1.balance_transactions.list({"limit": 100}).auto_paging_iter())


def kinds(sandbox, prefix):
    return [event["type"] for event in sandbox.events() if event["type"].startswith(prefix)]


def test_refunds_in_parts_add_up_to_the_charge(sandbox, client, goods):
    charge = buy(client, goods)
    assert net(client) == 5000 - (145 + 30)
    for part, left in ((2000, 3000), (2500, 500)):
        client.v1.refunds.create({"charge": charge.id, "amount": part})
        now = client.v1.charges.retrieve(charge.id)
        assert (now.amount_refunded, now.refunded) == (5000 - left, False)
    with pytest.raises(stripe.InvalidRequestError, match=r"greater than unrefunded amount \(\$5.00\)"):
        client.v1.refunds.create({"charge": charge.id, "amount": 501})
    client.v1.refunds.create({"charge": charge.id})
    assert client.v1.charges.retrieve(charge.id).refunded is True
    assert net(client) == -175
    assert kinds(sandbox, "refund.") == ["refund.created"] * 3
    sandbox.violations.clear()


def test_a_refund_that_fails_later_brings_the_money_back(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_refundFail")
    refund = client.v1.refunds.create({"charge": charge.id, "amount": 2000})
    assert (refund.status, net(client)) == ("succeeded", 5000 - 175 - 2000)
    sandbox.advance(minutes=2)
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert client.v1.charges.retrieve(charge.id).amount_refunded == 0
    assert net(client) == 5000 - 175
    assert kinds(sandbox, "refund.") == ["refund.created", "refund.updated", "refund.failed"]


def test_a_pending_refund_succeeds_later(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_pendingRefund")
    refund = client.v1.refunds.create({"charge": charge.id})
    assert refund.status == "pending"
    sandbox.advance(minutes=2)
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"


def test_a_disputed_charge_takes_the_money_and_a_fee(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 5000)
    assert [(entry.amount, entry.fee, entry.net) for entry in dispute.balance_transactions] == [(-5000, FEE, -6500)]
    assert client.v1.charges.retrieve(charge.id).disputed is True
    assert net(client) == 5000 - 175 - 5000 - FEE
    assert kinds(sandbox, "charge.dispute") == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        client.v1.refunds.create({"charge": charge.id})
    sandbox.violations.clear()


def test_winning_evidence_brings_money_and_fee_back(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    answered = client.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": "winning_evidence", "customer_name": "Jenny"}}
    )
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    sandbox.advance(minutes=2)
    won = client.v1.disputes.retrieve(dispute.id)
    assert (won.status, len(won.balance_transactions)) == ("won", 2)
    assert net(client) == 5000 - 175
    assert kinds(sandbox, "charge.dispute")[2:] == [
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]


def test_losing_evidence_loses(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "losing_evidence"}})
    sandbox.advance(minutes=2)
    assert client.v1.disputes.retrieve(dispute.id).status == "lost"
    assert net(client) == -175 - FEE


def test_evidence_can_be_gathered_before_it_is_submitted(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    kept = client.v1.disputes.update(dispute.id, {"evidence": {"customer_name": "Jenny"}, "submit": False})
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    assert kept.evidence_details.submission_count == 0


def test_a_dispute_that_nobody_answers_is_lost_when_its_time_is_up(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    sandbox.advance(dispute.evidence_details.due_by - sandbox.clock.now() - 1)
    assert client.v1.disputes.retrieve(dispute.id).status == "needs_response"
    sandbox.advance(1)
    lost = client.v1.disputes.retrieve(dispute.id)
    assert (lost.status, lost.evidence_details.past_due) == ("lost", True)


def test_accepting_a_dispute_loses_it_at_once(sandbox, client, goods):
    charge = buy(client, goods, "pm_card_createDispute")
    dispute = client.v1.disputes.list({"charge": charge.id}).data[0]
    assert client.v1.disputes.close(dispute.id).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute.id)
    sandbox.violations.clear()


def test_an_inquiry_takes_no_money_unless_it_escalates(sandbox, client, goods):
    first, second = (buy(client, goods, "pm_card_createDisputeInquiry") for _ in range(2))
    asked = client.v1.disputes.list({"charge": first.id}).data[0]
    assert (asked.status, asked.is_charge_refundable) == ("warning_needs_response", True)
    assert list(asked.balance_transactions) == []
    worse = client.v1.disputes.list({"charge": second.id}).data[0]
    client.v1.disputes.update(worse.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}})
    assert client.v1.disputes.retrieve(worse.id).status == "needs_response"
    assert net(client) == 2 * (5000 - 175) - 5000 - FEE
    sandbox.advance(days=130)
    assert client.v1.disputes.retrieve(asked.id).status == "warning_closed"


def test_a_credit_note_lowers_an_open_invoice(sandbox, client, goods):
    method = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": goods.customer})
    invoice = open_invoice(client, goods, method.id)
    note = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 1000, "reason": "order_change"})
    assert (note.type, note.pre_payment_amount, note.number) == ("pre_payment", 1000, f"{invoice.number}-CN-01")
    lower = client.v1.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert (lower.amount_remaining, lower.pre_payment_credit_notes_amount, lower.total) == (3000, 1000, 4000)
    assert lower.payments.data[0].amount_requested == 3000
    undone = client.v1.credit_notes.void_credit_note(note.id)
    assert undone.status == "void"
    client.v1.credit_notes.create({"invoice": invoice.id, "amount": 500})
    paid = client.v1.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.amount_paid) == ("paid", 3500)


def open_invoice(client, goods, method):
    client.v1.invoice_items.create(
        {"customer": goods.customer, "currency": "usd", "amount": 4000, "description": "Work"}
    )
    invoice = client.v1.invoices.create(
        {
            "customer": goods.customer,
            "pending_invoice_items_behavior": "include",
            "default_payment_method": method,
            "auto_advance": False,
        }
    )
    return client.v1.invoices.finalize_invoice(invoice.id)


def test_a_credit_note_over_a_paid_invoice_refunds_or_credits(sandbox, client, goods):
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    invoice = client.v1.invoices.pay(open_invoice(client, goods, method.id).id)
    refunded = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 1500, "refund_amount": 1500})
    assert refunded.refunds[0].amount_refunded == 1500
    assert client.v1.refunds.retrieve(refunded.refunds[0].refund).amount == 1500
    credited = client.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": invoice.lines.data[0].id, "amount": 500}],
            "credit_amount": 500,
        }
    )
    assert credited.customer_balance_transaction is not None
    assert client.v1.customers.retrieve(goods.customer).balance == -500
    assert client.v1.invoices.retrieve(invoice.id).post_payment_credit_notes_amount == 2000
    with pytest.raises(stripe.InvalidRequestError, match="what is left to be credited"):
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 2001, "credit_amount": 2001})
    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 500})
    assert [note.id for note in client.v1.credit_notes.list({"invoice": invoice.id})] == [credited.id, refunded.id]
    sandbox.violations.clear()


def test_a_credit_note_can_be_previewed(sandbox, client, goods):
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    invoice = open_invoice(client, goods, method.id)
    preview = client.v1.credit_notes.preview({"invoice": invoice.id, "amount": 700})
    assert preview.total == 700
    assert client.v1.credit_notes.list({"invoice": invoice.id}).data == []


def test_voided_and_uncollectible_invoices_are_not_charged(sandbox, client, goods):
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": goods.customer})
    client.v1.customers.balance_transactions.create(goods.customer, {"amount": -1000, "currency": "usd"})
    used = open_invoice(client, goods, method.id)
    assert (used.amount_due, used.ending_balance) == (3000, 0)
    assert client.v1.customers.retrieve(goods.customer).balance == 0
    client.v1.invoices.void_invoice(used.id)
    assert client.v1.customers.retrieve(goods.customer).balance == -1000
    other = open_invoice(client, goods, method.id)
    given_up = client.v1.invoices.mark_uncollectible(other.id)
    assert given_up.status == "uncollectible"
    assert client.v1.invoices.pay(other.id).status == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.void_invoice(other.id)
    sandbox.violations.clear()
