"""Another e-mail address: asked for behind the password, and made by a click of whoever reads the new mailbox.

No answer tells whether somebody has the new address; whoever has it is told by mail, as at a sign-up.
"""

from __future__ import annotations

from flask import flash, g, redirect, render_template, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import EmailField, Field, ValidationError
from wtforms.validators import InputRequired

import database
import failpoints
from accounts import email_changes
from accounts.email_changes import ChangeGone
from accounts.models import User
from accounts.people import AddressTaken
from billing import address_errands
from blueprints.auth.forms import valid_address
from blueprints.settings import mails
from blueprints.settings.base import GONE, SEE_OTHER, UNPROCESSABLE, View, bp, person
from extensions import db, limiter
from mail import outbox
from web import gates, known_browsers, tokens
from web.tokens import TokenInvalid

SENT = "We have sent a link to {}. Your address changes when you open it and confirm; until then nothing does."
SENT_AGAIN = "The mail to {} is on its way again, unless that address has had many of ours within the hour."
TAKEN = "Meanwhile {} has become the address of another account, so yours stays as it was."


def _another(_form: FlaskForm, field: Field) -> None:
    if field.data == current_user.email:
        raise ValidationError("This is your address already. Enter the new one.")


class AddressForm(FlaskForm):  # type: ignore[misc]
    """The new address."""

    email = EmailField(
        "New e-mail address", validators=[InputRequired("Enter your new e-mail address."), valid_address, _another]
    )


class ConfirmForm(FlaskForm):  # type: ignore[misc]
    """Confirm the new address: nothing to fill in."""


@bp.route("/email", methods=["GET", "POST"])
@gates.requires(personal=True, recent=True)
@limiter.limit("5 per minute; 20 per hour", key_func=person, methods=["POST"])
def change_email() -> View:
    """Ask for the new address, and promise a link to it and a notice to the old one."""
    form = AddressForm()
    if not form.validate_on_submit():
        page = render_template("settings/change_email.html", form=form)
        return (page, UNPROCESSABLE) if form.errors else page
    email = form.email.data
    database.write(_start, current_user.id, email)
    failpoints.hit("address.ask_committed")
    flash(SENT.format(email), "success")
    return redirect(url_for("settings.index"), SEE_OTHER)


@bp.post("/email/resend")
@gates.requires(personal=True)
@limiter.limit("3 per minute; 10 per hour", key_func=person)
def resend_email() -> Response:
    """Send the link again."""
    email = database.write(_resend, current_user.id)
    if email is None:
        flash("There is no change of address to confirm.", "message")
    else:
        flash(SENT_AGAIN.format(email), "success")
    return redirect(url_for("settings.index"), SEE_OTHER)


@bp.post("/email/cancel")
@gates.requires(personal=True)
def cancel_email() -> Response:
    """Take the wish back; the mailed link opens nothing any more."""
    if database.write(email_changes.cancel, current_user.id):
        flash("Your address stays as it is. The link in the mail works no more.", "success")
    return redirect(url_for("settings.index"), SEE_OTHER)


@bp.route("/email/<token>", methods=["GET", "POST"])
@gates.requires(personal=True)
@limiter.limit("10 per minute; 60 per hour", key_func=person, methods=["POST"])
def confirm_email(token: str) -> View:
    """Make the new address the person's, by a click of whoever is signed in as them and has the mailed link."""
    try:
        public_id = tokens.read(mails.CHANGE, token, within=email_changes.LIFETIME)
    except TokenInvalid:
        return _gone()
    change = email_changes.find_own(db.session(), current_user.id, public_id)
    if change is None:
        return _gone()
    email = change.email
    if change.confirmed_at is not None:
        return _done(email)
    form = ConfirmForm()
    if not form.validate_on_submit():
        return render_template("settings/confirm_email.html", form=form, change=change)
    try:
        database.write(_confirm, public_id, current_user.id, g.user_session_id)
    except ChangeGone:
        return _gone()
    except AddressTaken:
        database.write(email_changes.cancel, current_user.id)
        flash(TAKEN.format(email), "warning")
        return redirect(url_for("settings.index"), SEE_OTHER)
    failpoints.hit("address.change_committed")
    response = _done(email)
    known_browsers.remember(response, email)
    return response


def _start(session: Session, user_id: int, email: str) -> None:
    change = email_changes.start(session, user_id, email)
    mails.queue_link(session, change)
    mails.queue_notice(session, change, session.get_one(User, user_id))


def _resend(session: Session, user_id: int) -> str | None:
    change = email_changes.pending(session, user_id)
    if change is None:
        return None
    mails.queue_link(session, change)
    return change.email


def _confirm(session: Session, public_id: str, user_id: int, session_id: int) -> None:
    changed = email_changes.confirm(session, public_id, user_id, except_session=session_id)
    if changed is None:
        return  # the other of two clicks has done it
    for account_id in changed.account_ids:
        address_errands.want(session, account_id)
    outbox.readdress(session, changed.old, changed.new, changed.account_ids)
    mails.queue_changed(session, changed, key=public_id)


def _done(email: str) -> Response:
    flash(f"{email} is your address now. Other browsers are logged out.", "success")
    return redirect(url_for("settings.index"), SEE_OTHER)


def _gone() -> View:
    return render_template("settings/link_gone.html"), GONE
