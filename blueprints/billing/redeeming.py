"""Redeem a code that gives credits."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import StringField
from wtforms.validators import InputRequired, Length

import database
from accounts.models import ADMIN
from billing import credit_codes, errors
from blueprints.billing.base import bp
from blueprints.billing.topping_up import buyer
from extensions import db, limiter
from ledger import statement
from web import filters, gates, idempotency
from web.current import current_account

REFUSALS = {
    "unknown": "There is no such code. Check each letter and digit; capitals make no difference.",
    "used": "You have used this code already. It counts once per account.",
    "expired": "This code has expired.",
    "gone": "This code has been used as often as it may be.",
}


class RedeemForm(FlaskForm):  # type: ignore[misc]
    """A code, as somebody typed or pasted it."""

    code = StringField(
        "Code",
        validators=[InputRequired("Type or paste the code."), Length(max=80, message="No code is as long as that.")],
    )


@bp.route("/billing/redeem", methods=["GET", "POST"])
@gates.requires(verified=True, role=ADMIN)
@limiter.limit("10 per hour; 5 per minute", methods=["POST"], key_func=buyer)
@limiter.limit("60 per hour", methods=["POST"])
def redeem() -> str | Response | tuple[str, int]:
    """Take a code and give its credits, once; guessing is slow."""
    form = RedeemForm()
    if form.validate_on_submit():
        idempotency.key()
        try:
            credits = database.write(credit_codes.redeem, current_account().id, form.code.data or "")
        except errors.CodeRefused as refused:
            form.code.errors = [REFUSALS[refused.reason]]
        else:
            flash(f"{filters.credits(credits)} added. They never expire.", "success")
            return redirect(url_for("billing.redeem"), 303)
    page = render_template(
        "billing/redeem.html", form=form, balance=statement.balance(db.session(), current_account().id).total
    )
    return (page, 422) if form.errors else page
