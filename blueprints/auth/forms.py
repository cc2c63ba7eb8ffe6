"""The forms of signing up and in, with errors that say what to do."""

from __future__ import annotations

from typing import Any

import email_validator
from flask import current_app
from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import BooleanField, EmailField, Field, HiddenField, PasswordField, ValidationError
from wtforms.validators import InputRequired

from accounts import passwords


class _Form(FlaskForm):  # type: ignore[misc]
    """Keeps the page that was asked for across the form."""

    next = HiddenField()


def valid_address(_form: FlaskForm, field: Field) -> None:
    """Refuse what is no e-mail address, and tidy what is one."""
    try:
        checked = email_validator.validate_email(
            (field.data or "").strip(), check_deliverability=False, allow_smtputf8=False
        )
    except email_validator.EmailNotValidError as error:
        raise ValidationError("Enter an e-mail address in the form name@example.com.") from error
    field.data = checked.normalized


class NewPassword:
    """Refuse a new password that is easy to guess; `email_field` names the field with the address, if there is one."""

    def __init__(self, email_field: str | None = None) -> None:
        self.email_field = email_field

    def __call__(self, form: FlaskForm, field: Field) -> None:
        problem = passwords.problem(
            field.data or "", email=self._email(form), app_name=current_app.config["TOLLGATE"].app_name
        )
        if problem:
            raise ValidationError(problem)

    def _email(self, form: FlaskForm) -> str:
        if self.email_field is not None:
            return form[self.email_field].data or ""
        return getattr(current_user, "email", "")


def _email() -> EmailField:
    return EmailField("E-mail address", validators=[InputRequired("Enter your e-mail address."), valid_address])


def _password(label: str = "Password", *checks: Any) -> PasswordField:
    return PasswordField(label, validators=[InputRequired(f"Enter your {label.lower()}."), *checks])


class RegisterForm(_Form):
    """Sign up."""

    email = _email()
    password = _password("Password", NewPassword("email"))


class ResendForm(FlaskForm):  # type: ignore[misc]
    """Ask for the mail again: nothing to fill in."""


class ConfirmForm(FlaskForm):  # type: ignore[misc]
    """Confirm an address in the browser that signed up: nothing to fill in."""


class ConfirmElsewhereForm(FlaskForm):  # type: ignore[misc]
    """Confirm an address in any other browser."""

    password = _password()


class LoginForm(_Form):
    """Log in."""

    email = _email()
    password = _password()
    remember = BooleanField("Keep me logged in for 30 days")


class PasswordForm(_Form):
    """Give the password again while logged in."""

    password = _password()


class ForgotForm(FlaskForm):  # type: ignore[misc]
    """Ask for a link that sets a new password."""

    email = _email()


class ResetForm(FlaskForm):  # type: ignore[misc]
    """Set a new password through the mailed link."""

    password = _password("New password", NewPassword())


class ChangeForm(FlaskForm):  # type: ignore[misc]
    """Set a new password while logged in."""

    current = _password("Current password")
    password = _password("New password", NewPassword())
