"""Refunds: what one would give back and take, and the one button that does exactly that."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import RadioField, SelectChoice, StringField, TextAreaField
from wtforms.validators import InputRequired, Length

import database
from accounts.models import Account
from billing import errors, refund_making, refunding, sync
from billing.models import Payment
from billing.money import ZERO_DECIMAL
from billing.refunding import Quote, RefundNotPossible
from blueprints.admin.base import actor, bp, get_payment, own_pages
from extensions import db, limiter
from ledger import statement
from ledger.clawback import Outlook
from web import filters, gates, idempotency, sealed

PURPOSE = "refund"
LIFETIME = timedelta(minutes=30)
MAX_NOTE = 500


class RefundForm(FlaskForm):  # type: ignore[misc]
    """How much, why in Stripe's words, and why in ours."""

    amount = StringField("Amount", validators=[InputRequired("Enter an amount, such as 12.50.")])
    reason = RadioField(
        "Reason",
        choices=[SelectChoice(value, words) for value, words in refunding.REASONS.items()],
        validators=[InputRequired("Choose a reason: Stripe and the bank see it.")],
    )
    note = TextAreaField(
        "Note",
        validators=[
            InputRequired("Say why: it is kept in the audit log."),
            Length(max=MAX_NOTE, message="Use at most 500 characters."),
        ],
    )


@bp.route("/admin/payments/<charge>/refund", methods=["GET", "POST"])
@gates.requires(staff=True, recent=True)
@limiter.limit("60 per minute")
def refund(charge: str) -> str | Response | tuple[str, int]:
    """Ask how much and why; sent, show what that does before anything is done. Changes nothing."""
    payment = get_payment(charge)
    form = RefundForm()
    if not form.is_submitted():
        form.amount.data = _plain(refunding.refundable_cents(payment), payment.currency)
        return _form_page(payment, form)
    if not form.validate():
        return _form_page(payment, form), 422
    cents = cents_of(form.amount.data, payment.currency)
    if cents is None:
        form.amount.errors = ["Enter an amount, such as 12.50."]
        return _form_page(payment, form), 422
    try:
        quoted = refunding.quote(db.session(), payment, cents)
    except RefundNotPossible as refused:
        form.amount.errors = [str(refused)]
        return _form_page(payment, form), refused.status
    return _preview(quoted, form.reason.data, form.note.data)


@bp.post("/admin/payments/<charge>/refund/confirm")
@gates.requires(staff=True)
@limiter.limit("60 per hour")
def confirm_refund(charge: str) -> Response:
    """Make the refund that the preview showed; credits follow when the charge is looked at again.

    The preview's seal stands for a password given lately: whoever has read the preview is not asked once more.
    """
    key = idempotency.key()
    charge_id, cents, left, effect, reason, note = sealed.unseal(
        PURPOSE, request.form.get("quote", ""), lifetime=LIFETIME
    )
    payment = get_payment(charge)
    there = url_for("admin.customer", account=_public_id_of(payment))
    if charge_id != charge:
        flash("This form belongs to another payment. Nothing was refunded.", "error")
        return redirect(there, 303)
    expected = (left, Outlook(*effect) if effect is not None else None)
    amount = filters.money(cents, payment.currency)
    try:
        intent = database.write(
            refunding.decide, payment.id, cents, expected, reason=reason, note=note, actor=actor(), key=key
        )
    except RefundNotPossible as refused:
        flash(f"Nothing was refunded. {refused}", "error")
        return redirect(url_for("admin.refund", charge=charge), 303)
    try:
        is_made = refund_making.carry_out(intent.id)
    except errors.StripeUnavailable:
        flash(f"Stripe does not answer. {amount} is refunded as soon as it does; you need do nothing.", "warning")
        return redirect(there, 303)
    with suppress(errors.BillingError):
        sync.run_now("charge", charge)
    if is_made:
        flash(f"{amount} refunded.", "success")
    else:
        flash("Stripe refused the refund, and nothing was refunded. The audit log has its words.", "error")
    return redirect(there, 303)


def cents_of(text: str, currency: str) -> int | None:
    """Return an amount as people type it, in the currency's smallest unit; None when it is none."""
    try:
        value = Decimal(text.strip().lstrip("$").replace(",", "")) * (1 if currency in ZERO_DECIMAL else 100)
    except InvalidOperation:
        return None
    return int(value) if value.is_finite() and value == value.to_integral_value() and 0 < value < 10**12 else None


def _preview(quoted: Quote, reason: str, note: str) -> str:
    payment, effect = quoted.payment, quoted.effect
    numbers = [getattr(effect, name) for name in Outlook.__slots__] if effect else None
    token = sealed.seal(
        PURPOSE, [payment.stripe_charge_id, quoted.amount_cents, quoted.left_cents, numbers, reason, note]
    )
    facts = {
        "payment": payment,
        "quote": quoted,
        "before": statement.balance(db.session(), payment.account_id),
        "reason": refunding.REASONS[reason],
        "note": note,
        "token": token,
        "account": db.session.get_one(Account, payment.account_id),
        "pages": own_pages("admin.list_customers"),
    }
    credit_note = refund_making.preview_invoice(quoted)
    return render_template("admin/refund_preview.html", credit_note=credit_note, **facts)


def _form_page(payment: Payment, form: RefundForm) -> str:
    return render_template(
        "admin/refund.html",
        form=form,
        payment=payment,
        left=refunding.refundable_cents(payment),
        obstacle=refunding.obstacle(db.session(), payment),
        account=db.session.get_one(Account, payment.account_id),
        pages=own_pages("admin.list_customers"),
    )


def _public_id_of(payment: Payment) -> str:
    return db.session.get_one(Account, payment.account_id).public_id


def _plain(cents: int, currency: str) -> str:
    return str(cents) if currency in ZERO_DECIMAL else f"{cents / 100:.2f}"
