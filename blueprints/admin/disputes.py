"""Disputes and warnings of fraud: what is due when, and the evidence."""

from __future__ import annotations

from contextlib import suppress

from flask import abort, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import SelectChoice, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, Optional

import database
from accounts import audit
from accounts.models import Account
from billing import back_office, catalog, errors, evidence, evidence_files, stripe_reversals, sync
from billing.evidence_files import EvidenceFile, NotEvidence
from billing.models import Payment
from billing.reversals import Dispute, FraudWarning
from blueprints.admin.base import actor, bp, own_pages
from extensions import db, limiter
from web import gates, idempotency

NEWEST = 100
FORM_BYTES = 16 * 1024  # what a form holds beside its file
MOST = [
    Optional(strip_whitespace=False),
    Length(max=evidence.MAX_LENGTH, message=f"Use at most {evidence.MAX_LENGTH:,} characters."),
]


class EvidenceForm(FlaskForm):  # type: ignore[misc]
    """The text fields that Stripe takes; evidence.FIELDS holds their words."""

    product_description = TextAreaField(validators=MOST)
    customer_email_address = StringField(validators=MOST)
    customer_name = StringField(validators=MOST)
    service_date = StringField(validators=MOST)
    access_activity_log = TextAreaField(validators=MOST)
    cancellation_rebuttal = TextAreaField(validators=MOST)
    refund_refusal_explanation = TextAreaField(validators=MOST)
    duplicate_charge_explanation = TextAreaField(validators=MOST)
    uncategorized_text = TextAreaField(validators=MOST)


class FileForm(FlaskForm):  # type: ignore[misc]
    """A file, and what it shows."""

    kind = SelectField(
        "What it is",
        choices=[SelectChoice(kind, words) for kind, words in evidence_files.KINDS.items()],
        validators=[InputRequired("Choose what the file is.")],
    )
    file = FileField("Choose a file, or drop it here", validators=[FileRequired("Choose a file.")])


@bp.get("/admin/disputes")
@gates.requires(staff=True)
def list_disputes() -> str:
    """List disputes, those that wait for an answer first and by their due date, and the banks' warnings."""
    session = db.session()
    disputes = session.execute(
        select(Dispute, Account).join(Account).order_by(Dispute.created_at.desc()).limit(NEWEST)
    ).all()
    # Sorting is stable: what is open comes first, by its due date; the rest stays newest first.
    disputes = sorted(disputes, key=lambda row: _urgency(row[0]))
    warnings = session.execute(
        select(FraudWarning, Payment, Account)
        .join(Account, Account.id == FraudWarning.account_id)
        .outerjoin(Payment, Payment.stripe_charge_id == FraudWarning.stripe_charge_id)
        .order_by(FraudWarning.created_at.desc())
        .limit(NEWEST)
    ).all()
    return render_template(
        "admin/disputes.html",
        disputes=disputes,
        is_open=evidence.is_open,
        warnings=warnings,
        policy=catalog.current().policies.fraud_warning,
        pages=own_pages("admin.list_disputes"),
    )


@bp.get("/admin/disputes/<dispute>")
@gates.requires(staff=True)
def dispute(dispute: str) -> str:
    """Show a dispute with its evidence: a form while it can be given, else what was given."""
    found = _get(dispute)
    return _page(found, EvidenceForm(formdata=None, data=evidence.filled_in(db.session(), found)))


@bp.post("/admin/disputes/<dispute>")
@gates.requires(staff=True)
@limiter.limit("60 per hour")
def give_evidence(dispute: str) -> Response | tuple[str, int]:
    """Keep the evidence at Stripe as a draft, or send it to the bank, which can be done once."""
    found, form, key = _get(dispute), EvidenceForm(), idempotency.key()
    is_submitted = request.form.get("action") == "submit"
    if not form.validate_on_submit():
        return _page(found, form), 422
    given = {name: text for name in evidence.FIELDS if (text := _tidy(form[name].data))}
    if emptied := evidence.held(found).keys() - given.keys():
        form[min(emptied)].errors = ["Stripe keeps what was saved: write other words instead of none."]
        return _page(found, form), 422
    if not evidence.is_open(found):
        flash("Evidence can no longer be given: the bank has it, or the dispute is decided.", "warning")
        return redirect(url_for("admin.dispute", dispute=dispute), 303)
    if not given:
        form.product_description.errors = ["There is nothing to keep or send. Fill in at least one field."]
        return _page(found, form), 422
    stripe_id, charge_id, account_id = found.stripe_id, found.stripe_charge_id, found.account_id
    database.write(back_office.note_evidence, stripe_id, given, is_submitted=is_submitted, actor=actor(), key=key)
    try:
        # Asked again under the same number, Stripe answers as before: a form sent twice acts once.
        stripe_reversals.update_dispute(
            stripe_id, {"evidence": given, "submit": is_submitted}, idempotency_key=f"evidence:{key}"
        )
    except errors.StripeRefused as error:
        database.write(_note_refusal, stripe_id, account_id, str(error), key)
        flash("Stripe refused the evidence. The audit log has its words; look at the dispute again.", "error")
        return redirect(url_for("admin.dispute", dispute=stripe_id), 303)
    with suppress(errors.BillingError):
        sync.run_now("charge", charge_id)
    flash("Sent to the bank. Its decision can take two months." if is_submitted else "Saved at Stripe.", "success")
    return redirect(url_for("admin.dispute", dispute=stripe_id), 303)


@bp.url_value_preprocessor
def _take_larger_bodies(endpoint: str | None, _values: object) -> None:
    # Before anything reads the form, the look at its token included.
    if endpoint == "admin.attach_file":
        request.max_content_length = evidence_files.MAX_BYTES + FORM_BYTES


@bp.post("/admin/disputes/<dispute>/files")
@gates.requires(staff=True)
@limiter.limit("60 per hour")
def attach_file(dispute: str) -> Response | tuple[str, int]:
    """Upload a file to Stripe and keep it with the dispute, as a draft like the words."""
    found, form, key = _get(dispute), FileForm(), idempotency.key()
    file = _read(form) if form.validate_on_submit() else None
    if file is None:
        return _page(found, EvidenceForm(formdata=None, data=evidence.filled_in(db.session(), found)), form), 422
    if not evidence.is_open(found):
        flash("Evidence can no longer be given: the bank has it, or the dispute is decided.", "warning")
        return redirect(url_for("admin.dispute", dispute=dispute), 303)
    stripe_id, charge_id, account_id = found.stripe_id, found.stripe_charge_id, found.account_id
    noted = {file.kind: file.in_words}
    database.write(back_office.note_evidence, stripe_id, noted, is_submitted=False, actor=actor(), key=key)
    try:
        evidence_files.attach(stripe_id, file, key=key)
    except errors.StripeRefused as error:
        database.write(_note_refusal, stripe_id, account_id, str(error), key)
        flash("Stripe refused the file. The audit log has its words.", "error")
        return redirect(url_for("admin.dispute", dispute=stripe_id), 303)
    with suppress(errors.BillingError):
        sync.run_now("charge", charge_id)
    flash("The file is kept at Stripe. The bank gets it when you send the evidence.", "success")
    return redirect(url_for("admin.dispute", dispute=stripe_id), 303)


def _read(form: FileForm) -> EvidenceFile | None:
    try:
        return evidence_files.read(form.kind.data, form.file.data.read())
    except NotEvidence:
        form.file.errors = ["Choose a PDF, JPEG or PNG of at most 5 MB: banks look at nothing else."]
        return None


def _tidy(text: str | None) -> str:
    return (text or "").strip().replace("\r\n", "\n")


def _urgency(found: Dispute) -> tuple[bool, float]:
    is_open = evidence.is_open(found)
    return not is_open, found.due_at.timestamp() if is_open and found.due_at else 0


def _note_refusal(session: Session, stripe_id: str, account_id: int, error: str, key: str) -> None:
    refused = f"refused:{key}"
    if audit.is_done(session, refused):
        return
    audit.record(
        session,
        actor="stripe",
        action="evidence.refused",
        about=("dispute", stripe_id),
        key=refused,
        account_id=account_id,
        reason=error[:2000],
    )


def _get(stripe_id: str) -> Dispute:
    found = db.session.get(Dispute, stripe_id)
    return found if found is not None else abort(404)


def _page(found: Dispute, form: EvidenceForm, file_form: FileForm | None = None) -> str:
    session = db.session()
    payment = session.scalar(select(Payment).where(Payment.stripe_charge_id == found.stripe_charge_id))
    return render_template(
        "admin/dispute.html",
        dispute=found,
        payment=payment,
        account=session.get_one(Account, found.account_id),
        form=file_form or form,
        file_form=file_form or FileForm(formdata=None),
        files=evidence_files.held(found),
        max_bytes=evidence_files.MAX_BYTES,
        fields=[(form[name], words, hint) for name, (words, hint) in evidence.FIELDS.items()],
        is_open=evidence.is_open(found),
        pages=own_pages("admin.list_disputes"),
    )
