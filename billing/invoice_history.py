"""Fetch an invoice with all that decides which credits it brings: its trial's card, and what was paid before it.

The invoices of one period share its credits in the order of payment, and money that came back for time that was not
used has taken credits along (docs/adr/0007-invoices-in-the-order-of-payment.md and 0008).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import clock
from billing import fulfilment, gateway, plan_periods, stripe_reversals, subscriptions
from extensions import db

Json = dict[str, Any]


def fetch(invoice_id: str, *, quick: bool = False) -> Json:
    """Fetch an invoice and, under `earlier`, those of its subscription that were paid before it and are not known.

    Under `returned` are the spans of time whose money an invoice right before it gave back, and nothing else.
    """
    invoice = _whole(invoice_id, quick=quick)
    since = plan_periods.others_since(invoice)
    if since is not None:
        stripe_id = str(plan_periods.subscription_of(invoice))
        others = gateway.list_paid_invoices(stripe_id, since=since, quick=quick)
        place = plan_periods.order_of_payment(invoice)
        before = [other for other in others if plan_periods.order_of_payment(other) < place]
        unknown = [other["id"] for other in before if not fulfilment.is_fulfilled(db.session(), other["id"])]
        invoice["earlier"] = [_whole(other_id, quick=quick) for other_id in unknown]
        invoice["returned"] = _returned(before, quick=quick)
    return invoice


def returned_to(stripe_subscription_id: str) -> list[list[int]]:
    """Return the spans of time, in epoch seconds, whose money the last paid invoice of a subscription gave back."""
    since = clock.now() - plan_periods.LOOK_BACK - timedelta(days=1)
    return _returned(gateway.list_paid_invoices(stripe_subscription_id, since=since), quick=False)


def _returned(before: list[Json], *, quick: bool) -> list[list[int]]:
    """Return what the last of some paid invoices gave back, if it did nothing else: a pause's, billed at once."""
    last = max(before, key=plan_periods.order_of_payment, default=None)
    if last is None or not any(line["amount"] < 0 for line in last["lines"]["data"]):
        return []
    whole = _whole(last["id"], quick=quick)
    return [] if plan_periods.plan_line(whole) is not None else plan_periods.spans_taken_back(whole)


def _whole(invoice_id: str, *, quick: bool) -> Json:
    """Fetch an invoice; a trial's with its subscription under `trial`, whose card decides whether it may be one.

    Under `credited` are the cents that credit notes gave back other than by refunds, under `plans` how many plans the
    subscription of a change has.
    """
    invoice = gateway.retrieve_invoice(invoice_id, quick=quick)
    if invoice.get("post_payment_credit_notes_amount"):
        invoice["credited"] = stripe_reversals.credited_besides_refunds(invoice_id)
    if plan_periods.is_change(invoice):
        found = gateway.retrieve_subscription(str(plan_periods.subscription_of(invoice)), quick=quick)
        invoice["plans"] = len(subscriptions.plan_items(found))
    period = plan_periods.of(invoice)
    if period is not None and period.is_trial and period.stripe_subscription_id:
        invoice["trial"] = gateway.retrieve_subscription(period.stripe_subscription_id, quick=quick)
    return invoice
