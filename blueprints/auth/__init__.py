"""Sign up, confirm the address, log in and out, set and change the password.

No answer tells whether an address is known (docs/adr/0004-sign-up-without-telling.md), and no GET changes anything:
programs that open every link of a mail confirm nothing and use nothing up.
"""

from __future__ import annotations

import math

from flask import Blueprint, current_app, flash, redirect, render_template, request, session, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

import clock
import database
import failpoints
from accounts import login_tries, passwords, people, signups
from accounts.login_tries import TooManyTries
from accounts.models import Signup, User
from blueprints.auth import mails
from blueprints.auth.forms import (
    ChangeForm,
    ConfirmElsewhereForm,
    ConfirmForm,
    ForgotForm,
    LoginForm,
    PasswordForm,
    RegisterForm,
    ResendForm,
    ResetForm,
)
from extensions import db, limiter
from web import gates, known_browsers, redirects, sessions, tokens
from web.tokens import TokenInvalid

bp = Blueprint("auth", __name__)

View = str | Response | tuple[str, int]

UNPROCESSABLE = 422
UNAUTHORIZED = 401
GONE = 410
SEE_OTHER = 303
TOO_MANY_REQUESTS = 429
# The key of the browser's secret that marks a sign-up as its own (accounts/signups.py).
SIGNUP_KEY = "signup"
WRONG = (
    "This e-mail address and password do not belong together. If you have just signed up, follow the link in our mail "
    "first."
)
TOO_MANY = (
    "Too many passwords were wrong for this address. Wait {}, then try again; or set a new password by mail, which "
    "lets you in at once."
)


def _typed_address() -> str:
    """Return what a guess is counted by: the address it is for, from this place."""
    return f"{request.remote_addr}:{request.form.get('email', '').strip().casefold()[:320]}"


def _invited_address() -> str:
    """Return the address that an invitation is for, to begin the form with: with another one it could not be used."""
    return request.args.get("email", "")[:254]


@bp.after_request
def _keep_private(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    # Tokens are in the path: other sites must not learn it, while no-referrer would break the CSRF check over HTTPS.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@bp.route("/register", methods=["GET", "POST"])
@gates.public
@limiter.limit("10 per minute; 60 per hour", methods=["POST"])
def register() -> View:
    """Take a sign-up and answer "check your mail", whoever has the address."""
    if current_user.is_authenticated:
        return redirect(redirects.asked_next(home()))
    form = RegisterForm(email=_invited_address())
    if not form.validate_on_submit():
        return _form_page("auth/register.html", form)
    password_hash = passwords.hashed(form.password.data)
    next_path = redirects.asked_next("")
    session[SIGNUP_KEY] = database.write(_start_signup, form.email.data, password_hash, next_path)
    failpoints.hit("signup.committed")
    return redirect(url_for("auth.check_mail"), SEE_OTHER)


@bp.route("/verify", methods=["GET", "POST"])
@gates.public
@limiter.limit("10 per minute; 30 per hour", methods=["POST"])
def check_mail() -> View:
    """Say where the link was sent, and send it again when asked."""
    signup = signups.find_of_browser(db.session(), session.get(SIGNUP_KEY, ""))
    if signup is None:
        return redirect(url_for("auth.register"))
    if signup.confirmed_at is not None:
        return redirect(url_for("auth.login", next=signup.next_path or None))
    form = ResendForm()
    if form.validate_on_submit():
        database.write(_resend, signup.public_id)
        failpoints.hit("signup.resent")
        flash("We have sent the mail again. It may take a minute.", "success")
        return redirect(url_for("auth.check_mail"), SEE_OTHER)
    return render_template("auth/check_mail.html", form=form, signup=signup)


@bp.route("/verify/<token>", methods=["GET", "POST"])
@gates.public
@limiter.limit("10 per minute; 60 per hour", methods=["POST"])
def verify(token: str) -> View:
    """Confirm an address: by a click in the browser that signed up, with the password in any other."""
    signup = _find_signup(token)
    if signup is None:
        return render_template("auth/link_gone.html", again=url_for("auth.register")), GONE
    next_path, public_id = signup.next_path, signup.public_id
    if signup.confirmed_at is not None:
        flash("This address is confirmed. Log in to go on.", "message")
        return redirect(url_for("auth.login", next=next_path or None))
    is_same_browser = signups.is_from(signup, session.get(SIGNUP_KEY, ""))
    form = ConfirmForm() if is_same_browser else ConfirmElsewhereForm()
    if not form.validate_on_submit():
        return _form_page("auth/verify.html", form, signup=signup)
    if not is_same_browser and not passwords.matches(form.password.data, signup.password):
        form.password.errors = ["This is not the password you signed up with."]
        return _form_page("auth/verify.html", form, signup=signup)
    try:
        user_id = database.write(_confirm, public_id)
    except (people.AddressTaken, signups.SignupGone):
        flash("There is an account with this address already. Log in to go on.", "message")
        return redirect(url_for("auth.login", next=next_path or None), SEE_OTHER)
    failpoints.hit("verify.committed")
    sessions.sign_in(db.session.get_one(User, user_id))
    flash("Your address is confirmed. Welcome.", "success")
    return redirect(redirects.safe_next(next_path, home()), SEE_OTHER)


@bp.route("/login", methods=["GET", "POST"])
@gates.public
@limiter.limit("30 per minute", methods=["POST"])
@limiter.limit("10 per 5 minutes", methods=["POST"], key_func=_typed_address)
def login() -> View:
    """Log in and go on to the page that was asked for."""
    if current_user.is_authenticated:
        return redirect(redirects.asked_next(home()))
    form = LoginForm(email=_invited_address())
    if not form.validate_on_submit():
        return _form_page("auth/login.html", form)
    subject = known_browsers.subject(form.email.data)
    try:
        database.write(login_tries.count, subject)
    except TooManyTries as error:
        return _wait("auth/login.html", form, error)
    user = people.find_user(db.session(), form.email.data)
    # Without a user this takes as long, see passwords.matches.
    fits = passwords.matches(form.password.data, user.password if user else None)
    if user is None or not fits or not user.active or not user.is_verified:
        form.form_errors.append(WRONG)
        return render_template("auth/login.html", form=form), UNAUTHORIZED
    email = user.email
    _rehash_if_outdated(user, form.password.data)
    sessions.sign_in(user, remember=form.remember.data)
    database.write(login_tries.forget, subject)
    response = redirect(redirects.asked_next(home()), SEE_OTHER)
    known_browsers.remember(response, email)
    return response


@bp.post("/logout")
@gates.public
def logout() -> Response:
    """End the session, here and for every copy of its cookie."""
    sessions.sign_out()
    flash("You are logged out.", "message")
    response = redirect(url_for("auth.login"), SEE_OTHER)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@bp.route("/password/forgot", methods=["GET", "POST"])
@gates.public
@limiter.limit("10 per minute; 30 per hour", methods=["POST"])
def forgot_password() -> View:
    """Promise a reset link to an address; whether anybody has it is looked up when the mail leaves."""
    form = ForgotForm()
    if not form.validate_on_submit():
        return _form_page("auth/forgot_password.html", form)
    database.write(mails.queue_reset, form.email.data)
    failpoints.hit("reset.promised")
    return redirect(url_for("auth.reset_sent"), SEE_OTHER)


@bp.get("/password/forgot/sent")
@gates.public
def reset_sent() -> str:
    """Say that a mail is on its way, if there is somebody to send it to."""
    return render_template("auth/reset_sent.html")


@bp.route("/password/reset/<token>", methods=["GET", "POST"])
@gates.public
@limiter.limit("10 per minute; 60 per hour", methods=["POST"])
def reset_password(token: str) -> View:
    """Set a new password by a mailed link, once; every session of the person ends."""
    try:
        uniquifier = tokens.read(mails.RESET, token, within=mails.RESET_WITHIN)
        is_unused = people.is_uniquifier(db.session(), uniquifier)
    except TokenInvalid:
        is_unused = False
    if not is_unused:
        return render_template("auth/link_gone.html", again=url_for("auth.forgot_password")), GONE
    form = ResetForm()
    if not form.validate_on_submit():
        return _form_page("auth/reset_password.html", form)
    password_hash = passwords.hashed(form.password.data)
    email = database.write(_reset, uniquifier, password_hash)
    if email is None:
        return render_template("auth/link_gone.html", again=url_for("auth.forgot_password")), GONE
    failpoints.hit("reset.committed")
    sessions.sign_out()
    flash("Your new password is set. Log in with it.", "success")
    response = redirect(url_for("auth.login"), SEE_OTHER)
    # Whoever still guesses from elsewhere cannot keep its owner from the new password.
    known_browsers.remember(response, email)
    return response


@bp.route("/password/change", methods=["GET", "POST"])
@gates.requires(personal=True)
@limiter.limit("10 per minute; 30 per hour", methods=["POST"])
def change_password() -> View:
    """Set a new password; this browser stays logged in under a new session, all others are logged out."""
    form = ChangeForm()
    if not form.validate_on_submit():
        return _form_page("auth/change_password.html", form)
    old_hash = people.password_hash_of(db.session(), current_user.id)
    if not passwords.matches(form.current.data, old_hash):
        form.current.errors = ["This is not your current password."]
        return _form_page("auth/change_password.html", form)
    row = sessions.current_session()
    is_remembered = row is not None and row.is_remembered
    user_id = current_user.id
    password_hash = passwords.hashed(form.password.data)
    if not database.write(_change, user_id, old_hash=old_hash, password_hash=password_hash):
        form.current.errors = ["Your password was changed elsewhere in the meantime."]
        return _form_page("auth/change_password.html", form)
    failpoints.hit("password.committed")
    sessions.sign_in(db.session.get_one(User, user_id), remember=is_remembered)
    flash("Your password is changed. Other browsers are logged out.", "success")
    return redirect(home(), SEE_OTHER)


@bp.route("/password/confirm", methods=["GET", "POST"])
@gates.requires(personal=True)
@limiter.limit("10 per minute; 60 per hour", methods=["POST"])
def confirm_password() -> View:
    """Ask for the password again before something dangerous, and go on to the page that wanted it."""
    form = PasswordForm()
    if not form.validate_on_submit():
        return _form_page("auth/confirm_password.html", form)
    subject = login_tries.by_person(current_user.id)
    try:
        database.write(login_tries.count, subject)
    except TooManyTries as error:
        return _wait("auth/confirm_password.html", form, error)
    if not passwords.matches(form.password.data, people.password_hash_of(db.session(), current_user.id)):
        form.password.errors = ["This is not your password."]
        return _form_page("auth/confirm_password.html", form)
    sessions.confirm()
    database.write(login_tries.forget, subject)
    return redirect(redirects.asked_next(home()), SEE_OTHER)


def home() -> str:
    """Return the page that a person starts from."""
    return url_for("dashboard.index" if "dashboard.index" in current_app.view_functions else "pages.index")


def _form_page(template: str, form: FlaskForm, **facts: object) -> View:
    page = render_template(template, form=form, **facts)
    return (page, UNPROCESSABLE) if form.errors else page


def _wait(template: str, form: FlaskForm, error: TooManyTries) -> Response:
    left = max(math.ceil((error.opens_at - clock.now()).total_seconds()), 1)
    minutes = math.ceil(left / 60)
    form.form_errors.append(TOO_MANY.format("a minute" if minutes == 1 else f"{minutes} minutes"))
    response = Response(render_template(template, form=form), status=TOO_MANY_REQUESTS, mimetype="text/html")
    response.headers["Retry-After"] = str(left)
    return response


def _find_signup(token: str) -> Signup | None:
    try:
        public_id = tokens.read(mails.SIGN_UP, token, within=signups.LIFETIME)
    except TokenInvalid:
        return None
    return signups.find(db.session(), public_id)


def _start_signup(session: Session, email: str, password_hash: str, next_path: str) -> str:
    signup, browser = signups.start(session, email, password_hash=password_hash, next_path=next_path)
    failpoints.hit("signup.stored")
    mails.queue_confirmation(session, signup)
    failpoints.hit("signup.promised")
    return browser


def _resend(session: Session, public_id: str) -> None:
    signup = signups.find(session, public_id)
    if signup is not None:
        mails.queue_confirmation(session, signup)


def _confirm(session: Session, public_id: str) -> int:
    return signups.confirm(session, public_id).id


def _reset(session: Session, uniquifier: str, password_hash: str) -> str | None:
    user = people.find_user_by_uniquifier(session, uniquifier)
    if user is None:
        return None
    login_tries.forget(session, login_tries.by_address(user.email))
    # Whoever could open the link reads the mail of this address.
    people.verify(session, user)
    people.set_password(session, user, password_hash)
    failpoints.hit("reset.password_set")
    mails.queue_password_changed(session, user)
    return user.email


def _change(session: Session, user_id: int, *, old_hash: str, password_hash: str) -> bool:
    user = session.get_one(User, user_id, with_for_update=True)
    if user.password != old_hash:
        return False
    people.set_password(session, user, password_hash)
    failpoints.hit("password.set")
    mails.queue_password_changed(session, user)
    return True


def _rehash_if_outdated(user: User, password: str) -> None:
    if user.password is not None and passwords.needs_rehash(user.password):
        database.write(people.store_rehash, user.id, passwords.hashed(password))
