"""The mails about money that moved: one receipt for each payment, one note for each amount that was paid back.

Both follow from the rows that a charge's sync wrote. Where `RECEIPT_MAILS` is off, because Stripe sends its own,
neither is sent.
"""

from __future__ import annotations

from datetime import timedelta

from flask import current_app
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
from accounts import people
from billing.models import Invoice, Payment
from billing.money import in_words
from billing.purchase_tables import TopUp
from billing.reversals import Refund
from config import Config
from ledger.models import Bucket
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares

# What is older was told long ago, or by somebody else: a sync of old payments sends nothing.
NEWS = timedelta(days=3)


def after_charge(session: Session, account_id: int, stripe_charge_id: str) -> None:
    """Promise the receipt of a recorded payment, and the note of what was paid back of it so far; once each."""
    payment = _find(session, stripe_charge_id)
    config: Config = current_app.config["TOLLGATE"]
    if payment is None or not config.receipt_mails:
        return
    try:
        email = people.owner_email(session, account_id)
    except people.AccountNotFound:
        return  # nobody to write to
    since = clock.now() - NEWS
    if payment.paid_at >= since and payment.amount_cents > 0 and not _is_told_otherwise(session, payment):
        _promise(session, "receipt", payment, email, f"receipt:{stripe_charge_id}")
    last_refund = session.scalar(select(func.max(Refund.created_at)).where(Refund.stripe_charge_id == stripe_charge_id))
    if payment.refunded_cents and last_refund is not None and last_refund >= since:
        key = f"refund:{stripe_charge_id}:{payment.refunded_cents}"
        _promise(session, "refund", payment, email, key, refunded_cents=payment.refunded_cents)


@prepares("receipt")
def prepare_receipt(session: Session, mail: Prepared) -> Prepared:
    """Say what was paid and what it brought; raise NotNeeded when the payment is unknown."""
    payment = _get(session, mail)
    return Prepared(mail.template, mail.to, {**mail.context, **_facts(session, payment)})


@prepares("refund")
def prepare_refund(session: Session, mail: Prepared) -> Prepared:
    """Say what was paid back; raise NotNeeded when the refund has failed or a later one says more."""
    payment = _get(session, mail)
    if payment.refunded_cents != mail.context["refunded_cents"]:
        raise NotNeeded(f"{payment.refunded_cents} cents are paid back now")
    back = {
        "refunded": in_words(payment.refunded_cents, payment.currency),
        "is_whole": payment.refunded_cents >= payment.amount_cents,
    }
    return Prepared(mail.template, mail.to, {**mail.context, **_facts(session, payment), **back})


def _promise(session: Session, template: str, payment: Payment, email: str, key: str, **facts: int) -> None:
    outbox.queue(
        session,
        template,
        to=email,
        context={"stripe_charge_id": payment.stripe_charge_id, **facts},
        dedupe_key=key,
        account_id=payment.account_id,
        not_after=clock.now() + NEWS,
    )


def _is_told_otherwise(session: Session, payment: Payment) -> bool:
    """Tell whether an auto top-up has made the payment, whose own mail says what was charged."""
    query = select(TopUp.id).where(
        TopUp.kind == "auto", TopUp.stripe_payment_intent_id == payment.stripe_payment_intent_id
    )
    return payment.stripe_payment_intent_id is not None and session.scalar(query) is not None


def _find(session: Session, stripe_charge_id: str) -> Payment | None:
    return session.scalars(select(Payment).where(Payment.stripe_charge_id == stripe_charge_id)).first()


def _get(session: Session, mail: Prepared) -> Payment:
    payment = _find(session, mail.context["stripe_charge_id"])
    if payment is None:
        raise NotNeeded("the payment is unknown")
    return payment


def _what(session: Session, payment: Payment) -> str:
    """Return what was paid for as the list of invoices says it, so that both can be laid side by side."""
    listed = select(Invoice.description).where(Invoice.stripe_id == payment.stripe_invoice_id)
    known = session.scalar(listed) if payment.stripe_invoice_id else None
    return known or payment.description


def _facts(session: Session, payment: Payment) -> dict[str, object]:
    brought = select(Bucket.granted).where(
        Bucket.account_id == payment.account_id, Bucket.source == payment.grant_source
    )
    return {
        "what": _what(session, payment),
        "amount": in_words(payment.amount_cents, payment.currency),
        "paid_at": payment.paid_at,
        "credits": session.scalar(brought) if payment.grant_source else None,
        "receipt_url": links.to("billing.receipt", key=payment.stripe_invoice_id or payment.stripe_charge_id),
    }
