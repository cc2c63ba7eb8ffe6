"""What only the owner of an account does: hand it over to somebody of the team, and give it another name."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import Field, RadioField, SelectChoice, StringField, ValidationError
from wtforms.validators import DataRequired, InputRequired, Length

import database
from accounts import audit, memberships, ownership, people
from accounts.models import ADMIN, OWNER
from billing import address_errands, auto_top_ups, saved_cards
from blueprints.team import mails
from blueprints.team.base import SEE_OTHER, UNPROCESSABLE, bp, form_key, manager
from extensions import db, limiter
from web import gates
from web.current import choose, current_account

View = str | Response | tuple[str, int]


def _plain_name(_form: FlaskForm, field: Field) -> None:
    # Invitations carry the name to strangers: it must not carry a link or turn their text around.
    if not field.data.isprintable() or "://" in field.data or "www." in field.data.casefold():
        raise ValidationError("Use letters, figures and spaces; no links.")


class NameForm(FlaskForm):  # type: ignore[misc]
    """What the account is called."""

    name = StringField(
        "Name",
        filters=[lambda text: " ".join(text.split()) if text else text],
        validators=[
            DataRequired("Enter a name."),
            Length(max=ownership.MAX_NAME, message=f"Use at most {ownership.MAX_NAME} characters."),
            _plain_name,
        ],
    )


class OwnerForm(FlaskForm):  # type: ignore[misc]
    """Who shall own the account."""

    email = RadioField("New owner", validators=[InputRequired("Choose who shall own the account.")])

    def offer(self, members: list[memberships.Member]) -> OwnerForm:
        """Offer the people of the team but its owner."""
        others = [member.email for member in members if member.role != OWNER]
        self.email.choices = [SelectChoice(email, email) for email in others]
        return self


@bp.route("/team/name", methods=["GET", "POST"])
@gates.requires(role=OWNER)
def rename() -> View:
    """Give the account another name."""
    form = NameForm(data={"name": current_account().name})
    if form.validate_on_submit():
        key = form_key()
        database.write(ownership.rename, current_account().id, form.name.data, actor=current_user.email, key=key)
        flash(f"The account is called {form.name.data} now.", "success")
        return redirect(url_for("team.index"), SEE_OTHER)
    page = render_template("team/rename.html", form=form)
    return (page, UNPROCESSABLE) if form.errors else page


@bp.get("/team/owner")
@gates.requires(verified=True, role=OWNER, recent=True)
def choose_owner() -> str:
    """Ask who shall own the account, and say what that means."""
    return _page(OwnerForm(formdata=None).offer(_members()))


@bp.post("/team/owner")
@gates.requires(verified=True, role=ADMIN, recent=True)
@limiter.limit("20 per hour", key_func=manager)
def hand_over() -> View:
    """Hand the account over; whoever owned it stays as an admin, and has an account of their own again.

    The gate lets admins pass, because whoever sends the form twice is one by then.
    """
    account, key = current_account(), form_key()
    if audit.is_done(db.session(), key):
        return redirect(url_for("team.index"), SEE_OTHER)
    gates.ensure(gates.Demands(role=OWNER))
    form = OwnerForm().offer(_members())
    if not form.validate_on_submit():
        return _page(form), UNPROCESSABLE
    account_id, name = account.id, account.name
    if not database.write(_hand_over, account_id, form.email.data, actor=current_user.email, key=key):
        abort(404)
    choose(people.get_account(db.session(), account_id))
    flash(
        f"{name} belongs to {form.email.data} now. You are an admin of it, and have an account of your own.", "success"
    )
    return redirect(url_for("team.index"), SEE_OTHER)


def _hand_over(session: Session, account_id: int, email: str, *, actor: str, key: str) -> bool:
    owner = ownership.hand_over(session, account_id, email, actor=actor, key=key)
    if owner is None:
        return audit.is_done(session, key)
    auto_top_ups.switch_off(session, account_id)  # who agreed to it does not own the account any more
    account = people.get_account(session, account_id)
    address_errands.want(session, account_id)
    mails.queue_handed_over(session, account, giver=actor, owner=owner.email, key=key)
    return True


def _members() -> list[memberships.Member]:
    return memberships.of_account(db.session(), current_account().id)


def _page(form: OwnerForm) -> str:
    account = current_account()
    card, rule = saved_cards.find(db.session(), account.id), auto_top_ups.find(db.session(), account.id)
    return render_template(
        "team/owner.html",
        form=form,
        team=account,
        saved_card=saved_cards.in_words(card) if card else None,
        tops_up=rule is not None and rule.is_on,
    )
