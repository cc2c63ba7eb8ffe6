"""Customers: the list, one timeline for each, and what staff may do to their credits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flask import abort, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from sqlalchemy import select
from werkzeug.wrappers import Response
from wtforms import SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length, NumberRange

import database
from accounts import api_keys, audit, people
from accounts.api_keys import ApiKey
from accounts.models import Account
from billing import access, back_office, customer_search, freezes, history, refunding
from billing.models import Payment
from blueprints.admin.base import actor, asked_id, bp, get_customer, own_pages
from extensions import db
from ledger import statement
from ledger.errors import DebtSmaller, NotEnoughCredits
from ledger.models import Freeze
from web import filters, gates, idempotency
from web.whole_numbers import WholeNumberField

PAGE_SIZE = 50
MAX_CREDITS = 1_000_000
MAX_REASON = 300
NEEDED = InputRequired("Say why: it is kept, and shown where it concerns the customer.")


class CreditsForm(FlaskForm):  # type: ignore[misc]
    """A number of credits and a reason that the customer reads."""

    credits = WholeNumberField(
        "Credits",
        validators=[
            InputRequired("Enter a whole number of credits."),
            NumberRange(-MAX_CREDITS, MAX_CREDITS, f"Use at most {MAX_CREDITS:,}."),
        ],
    )
    reason = StringField("Reason", validators=[NEEDED, Length(max=MAX_REASON, message="Use at most 300 characters.")])


class ReasonForm(FlaskForm):  # type: ignore[misc]
    """Why spending is paused."""

    reason = StringField("Reason", validators=[NEEDED, Length(max=MAX_REASON, message="Use at most 300 characters.")])


class ResumeForm(ReasonForm):
    """Which cause pauses spending no longer, and why."""

    cause = SelectField("Cause")

    def offer(self, pauses: Sequence[Freeze]) -> ResumeForm:
        """Offer the causes that stand."""
        self.cause.choices = [SelectChoice(pause.cause, f"{pause.reason} ({pause.cause})") for pause in pauses]
        return self


class RevokeForm(ReasonForm):
    """Which API key opens nothing any more, and why."""

    api_key = SelectField("Key", validators=[InputRequired("Choose a key.")])

    def offer(self, keys: Sequence[tuple[ApiKey, str]]) -> RevokeForm:
        """Offer the keys that are live."""
        self.api_key.choices = [
            SelectChoice(key.public_id, f"{key.name} ({key.prefix}...)") for key, _ in keys if key.revoked_at is None
        ]
        return self


@bp.get("/admin/customers")
@gates.requires(staff=True)
def list_customers() -> str:
    """List customers, those that a search names or all, the newest first."""
    text = request.args.get("q", "").strip()[:200]
    rows = customer_search.find(db.session(), text, before_id=asked_id("before"), limit=PAGE_SIZE + 1)
    more = {"q": text} if text else {}
    older = rows[PAGE_SIZE - 1].id if len(rows) > PAGE_SIZE else None
    return render_template(
        "admin/customers.html",
        rows=rows[:PAGE_SIZE],
        text=text,
        older_url=url_for("admin.list_customers", before=older, **more) if older else None,
        newer_url=url_for("admin.list_customers", **more) if asked_id("before") else None,
        pages=own_pages("admin.list_customers"),
    )


@bp.get("/admin/customers/<account>")
@gates.requires(staff=True)
def customer(account: str) -> str:
    """Show a customer: credits, plan, payments, pauses, and everything that happened."""
    return _page(get_customer(account))


@bp.post("/admin/customers/<account>/credits")
@gates.requires(staff=True)
def adjust(account: str) -> Response | tuple[str, int]:
    """Add or remove credits."""
    found, form, key = get_customer(account), CreditsForm(prefix="adjust"), idempotency.key()
    if form.validate_on_submit() and form.credits.data == 0:
        form.credits.errors = ["Enter a number other than 0; below 0 removes credits."]
    if form.errors:
        return _page(found, adjust_form=form), 422
    credits, reason = form.credits.data, form.reason.data
    try:
        database.write(back_office.adjust_credits, found.id, credits, reason=reason, actor=actor(), key=key)
    except NotEnoughCredits as error:
        form.credits.errors = [f"Only {filters.credits(error.balance)} are there to remove."]
        return _page(found, adjust_form=form), 409
    words = f"{filters.credits(abs(credits))} {'added' if credits > 0 else 'removed'}."
    flash(words, "success")
    return redirect(url_for("admin.customer", account=account), 303)


@bp.post("/admin/customers/<account>/debt")
@gates.requires(staff=True)
def forgive(account: str) -> Response | tuple[str, int]:
    """Cancel a debt, in whole or in part."""
    found, form, key = get_customer(account), CreditsForm(prefix="forgive"), idempotency.key()
    if form.validate_on_submit() and form.credits.data < 1:
        form.credits.errors = ["Enter how many of the owed credits to cancel, from 1."]
    if form.errors:
        return _page(found, forgive_form=form), 422
    credits, reason = form.credits.data, form.reason.data
    try:
        database.write(back_office.forgive_debt, found.id, credits, reason=reason, actor=actor(), key=key)
    except DebtSmaller as error:
        form.credits.errors = [f"Only {filters.credits(error.debt)} are owed."]
        return _page(found, forgive_form=form), 409
    flash(f"{filters.credits(credits)} of debt cancelled.", "success")
    return redirect(url_for("admin.customer", account=account), 303)


@bp.post("/admin/customers/<account>/pause")
@gates.requires(staff=True)
def pause(account: str) -> Response | tuple[str, int]:
    """Stop a customer's spending until staff lets it go on."""
    found, form, key = get_customer(account), ReasonForm(prefix="pause"), idempotency.key()
    if not form.validate_on_submit():
        return _page(found, pause_form=form), 422
    database.write(back_office.pause_spending, found.id, reason=form.reason.data, actor=actor(), key=key)
    flash("Spending is paused. The customer gets a mail.", "success")
    return redirect(url_for("admin.customer", account=account), 303)


@bp.post("/admin/customers/<account>/resume")
@gates.requires(staff=True)
def resume(account: str) -> Response | tuple[str, int]:
    """Let a customer spend although of one cause, for good."""
    found, key = get_customer(account), idempotency.key()
    if audit.is_done(db.session(), key):
        return redirect(url_for("admin.customer", account=account), 303)  # sent twice
    form = ResumeForm(prefix="resume").offer(freezes.causes(db.session(), found.id))
    if not form.validate_on_submit():
        return _page(found, resume_form=form), 422
    cause, reason = form.cause.data, form.reason.data
    database.write(back_office.resume_spending, found.id, cause, reason=reason, actor=actor(), key=key)
    flash("That cause no longer pauses spending.", "success")
    return redirect(url_for("admin.customer", account=account), 303)


@bp.post("/admin/customers/<account>/api-keys/revoke")
@gates.requires(staff=True)
def revoke_api_key(account: str) -> Response | tuple[str, int]:
    """End one of a customer's API keys, and tell them."""
    found, key = get_customer(account), idempotency.key()
    if audit.is_done(db.session(), key):
        return redirect(url_for("admin.customer", account=account), 303)  # sent twice
    form = RevokeForm(prefix="revoke").offer(api_keys.listed(db.session(), found.id))
    if not form.validate_on_submit():
        return _page(found, revoke_form=form), 422
    public_id, reason = form.api_key.data, form.reason.data
    database.write(back_office.revoke_api_key, found.id, public_id, reason=reason, actor=actor(), key=key)
    flash("The key is revoked. The customer gets a mail.", "success")
    return redirect(url_for("admin.customer", account=account), 303)


def _page(account: Account, **forms: FlaskForm) -> str:
    session = db.session()
    view = request.args.get("view", "all")
    if view not in history.VIEWS:
        abort(404)
    before = _asked_instant()
    subscription = access.subscription_of(session, account.id)
    payments = session.scalars(
        select(Payment).where(Payment.account_id == account.id).order_by(Payment.paid_at.desc()).limit(PAGE_SIZE)
    ).all()
    pauses = freezes.causes(session, account.id)
    keys = api_keys.listed(session, account.id)
    timeline = history.page(session, account, view, before=before, limit=PAGE_SIZE)
    older = timeline.older_than
    return render_template(
        "admin/customer.html",
        account=account,
        email=people.owner_email(session, account.id),
        plan=access.plan_opened_by(subscription),
        subscription=subscription,
        balance=statement.balance(session, account.id),
        pauses=pauses,
        payments=[(payment, refunding.obstacle(session, payment)) for payment in payments],
        timeline=[{**vars(entry), "url": _url_of(entry)} for entry in timeline.entries],
        views=[
            (words, url_for("admin.customer", account=account.public_id, view=key), key == view)
            for key, (words, _) in history.VIEWS.items()
        ],
        older_url=(
            url_for("admin.customer", account=account.public_id, view=view, before=older.isoformat()) if older else None
        ),
        newer_url=url_for("admin.customer", account=account.public_id, view=view) if before else None,
        pages=own_pages("admin.list_customers"),
        adjust_form=forms.get("adjust_form") or CreditsForm(formdata=None, prefix="adjust"),
        forgive_form=forms.get("forgive_form") or CreditsForm(formdata=None, prefix="forgive"),
        pause_form=forms.get("pause_form") or ReasonForm(formdata=None, prefix="pause"),
        resume_form=forms.get("resume_form") or ResumeForm(formdata=None, prefix="resume").offer(pauses),
        keys=keys,
        revoke_form=forms.get("revoke_form") or RevokeForm(formdata=None, prefix="revoke").offer(keys),
        form=next(iter(forms.values()), None),
    )


def _url_of(entry: history.Entry) -> str | None:
    kind, object_id = entry.about or ("", "")
    if kind == "payment":
        return url_for("admin.refund", charge=object_id)
    return url_for("admin.dispute", dispute=object_id) if kind == "dispute" else None


def _asked_instant() -> datetime | None:
    given = request.args.get("before", "")
    if not given:
        return None
    try:
        instant = datetime.fromisoformat(given)
    except ValueError:
        abort(404)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
