"""Every component in every state on one page, for those who change the look; absent from a public site."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from flask import Blueprint, render_template
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from wtforms import BooleanField, EmailField, PasswordField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import Email, InputRequired, Length

import clock
from web import gates

bp = Blueprint("gallery", __name__, url_prefix="/dev")

USAGE = (0, 2, 0, 0, 3, 6, 1, 0, 0, 2, 4, 8, 0, 0, 1, 2, 5, 0, 3, 0, 0, 7, 2, 1, 0, 4, 0, 0, 2, 3)


class SampleForm(FlaskForm):
    """A form with one field of each kind."""

    class Meta:
        csrf = False  # the form is sent nowhere

    email = EmailField("E-mail address", [InputRequired("Enter your e-mail address."), Email("Enter a whole address.")])
    password = PasswordField("Password", [InputRequired("Enter a password."), Length(min=10)])
    company = StringField("Company")
    country = SelectField("Country", [InputRequired("Choose a country.")], choices=["Austria", "Ireland", "Portugal"])
    advert = TextAreaField("Job advert")
    interval = RadioField(
        "Pay", [InputRequired("Choose how to pay.")], choices={"month": "Monthly", "year": "Yearly, two months free"}
    )
    agree = BooleanField("I accept the terms", [InputRequired("Accept the terms to go on.")])
    cv = FileField("Choose your CV, or drop it here")


@bp.get("/gallery")
@gates.public
def index() -> str:
    """Show the components."""
    now = clock.now()
    with_errors = SampleForm(formdata=None, prefix="wrong-")
    with_errors.validate()
    return render_template(
        "gallery/index.html",
        sample=SampleForm(formdata=None),
        wrong=with_errors,
        sources=[
            _thing(kind="plan", remaining=34, granted=50, expires_at=now + timedelta(days=12)),
            _thing(kind="purchase", remaining=28, granted=30, expires_at=None),
            _thing(kind="trial", remaining=5, granted=10, expires_at=now + timedelta(days=1)),
        ],
        entries=[
            _thing(title="CV report", detail="anna-lindqvist.pdf, 2 pages", at=now - timedelta(minutes=4), amount=-2),
            _thing(title="30 credits bought", detail="$20.00, Visa 4242", at=now - timedelta(hours=5), amount=30),
            _thing(title="Signed up", at=now - timedelta(days=20)),
        ],
        usage=[(f"{(now - timedelta(days=29 - i)):%-d %b}", value) for i, value in enumerate(USAGE)],
        plan=_thing(key="pro", name="Pro", tagline="For people who apply every week.", is_recommended=True),
        price=_thing(amount_cents=3000, currency="usd", interval="month"),
        pack=_thing(
            key="credits_30", credits=30, cents_per_credit=66.7, price=_thing(amount_cents=2000, currency="usd")
        ),
    )


def _thing(**facts: Any) -> SimpleNamespace:
    return SimpleNamespace(**facts)
