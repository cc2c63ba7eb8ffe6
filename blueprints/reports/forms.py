"""The form of the CV checker; what is readable text is for the checker to say."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import HiddenField, TextAreaField
from wtforms.validators import InputRequired


class CvForm(FlaskForm):
    """A CV, perhaps an advert, and the price that the visitor was shown."""

    text = TextAreaField("Your CV", validators=[InputRequired("Paste the text of your CV.")])
    advert = TextAreaField("The job advert")
    shown_credits = HiddenField()
