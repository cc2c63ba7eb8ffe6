"""Ask for help: a form, and what became of everything that one asked."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField, TextAreaField
from wtforms.validators import DataRequired, Length

import clock
import database
from billing import catalog
from config import Config
from extensions import db, limiter
from support import desk, mails
from support.desk import Asker
from support.hours import Desk
from support.models import MAX_MESSAGE, MAX_SUBJECT
from web import filters, gates, idempotency, typed_text
from web.current import current_account

__all__ = ["bp", "mails"]

bp = Blueprint("support", __name__, url_prefix="/support")


class SupportForm(FlaskForm):
    """A question."""

    subject = StringField(
        "Subject",
        filters=[typed_text.one_line],
        validators=[
            DataRequired("Say in a few words what it is about."),
            Length(max=MAX_SUBJECT, message=f"Use at most {MAX_SUBJECT} characters."),
        ],
    )
    message = TextAreaField(
        "Message",
        filters=[typed_text.as_written],
        validators=[
            DataRequired("Write what happened, and what you expected."),
            Length(min=1, max=MAX_MESSAGE, message=f"Use at most {MAX_MESSAGE:,} characters; send the rest after it."),
        ],
    )


def current_desk() -> Desk:
    """Return the working hours and promises of the catalogue."""
    says = catalog.current().policies
    return Desk(says.support_opens_hour, says.support_closes_hour, says.support_priority_hours, says.support_days)


@bp.get("")
@gates.requires(personal=True)
def index() -> str:
    """Show the form, how soon an answer comes, and what was asked before."""
    return _page(SupportForm(formdata=None))


@bp.post("")
@gates.requires(personal=True)
@limiter.limit("60 per hour")
def ask() -> Response | tuple[str, int]:
    """Keep the question and mail it; sent twice it is asked once."""
    form = SupportForm()
    if not form.validate():
        return _page(form), 422
    config: Config = current_app.config["TOLLGATE"]
    asker = Asker(current_user.id, current_account().id, current_user.email)
    try:
        asked = database.write(
            desk.ask,
            asker,
            subject=form.subject.data,
            message=form.message.data,
            is_priority=gates.may("priority"),
            desk=current_desk(),
            operator=config.support_email,
            key=idempotency.key(),
        )
    except desk.TooManyRequests:
        form.form_errors.append(
            f"You have sent {desk.MOST_PER_HOUR} messages within an hour. All of them arrived; this one did not. "
            "Send it in an hour, or add it to our answer."
        )
        return _page(form), 429
    flash(f"Your message is with us. You get an answer by {filters.moment(asked.due_at)}.", "success")
    return redirect(url_for("support.index"), 303)


def _page(form: SupportForm) -> str:
    return render_template(
        "support/index.html",
        form=form,
        desk=current_desk(),
        asked=desk.asked_by(db.session(), current_user.id),
        now=clock.now(),
    )
