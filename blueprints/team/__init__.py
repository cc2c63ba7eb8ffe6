"""The team of an account: who shares it, and who is asked in. For owner and admins, and for members to see.

It is there where the catalogue names a feature `members`. What a person may choose and accept: blueprints/team/own.py;
what only the owner may: blueprints/team/ownership.py.
"""

from __future__ import annotations

from flask import Flask, abort, flash, redirect, render_template, request, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import EmailField, RadioField, SelectChoice
from wtforms.validators import InputRequired

import database
from accounts import audit, invitations, memberships, people
from accounts.invitations import AlreadyInvited, AlreadyMember, Token
from accounts.models import ADMIN, MEMBER, OWNER, Invitation
from billing import catalog, limits, seats
from blueprints.auth.forms import valid_address
from blueprints.team import answers, mails, own, ownership
from blueprints.team.base import SEE_OTHER, UNPROCESSABLE, bp, form_key, manager
from extensions import db, limiter
from web import errors, gates
from web.current import acting, current_account

__all__ = ["bp", "init_app", "own", "ownership"]

ROLE_WORDS = {"owner": "Owner", "admin": "Admin", "member": "Member"}


class InviteForm(FlaskForm):  # type: ignore[misc]
    """Whom to ask in, and as what."""

    email = EmailField("E-mail address", validators=[InputRequired("Enter an e-mail address."), valid_address])
    role = RadioField(
        "Role",
        choices=[
            SelectChoice(MEMBER, "Member: spends the credits and sees the reports"),
            SelectChoice(ADMIN, "Admin: also pays, changes the plan and invites"),
        ],
        default=MEMBER,
        validators=[InputRequired("Choose a role.")],
    )


def init_app(app: Flask) -> None:
    """Add the pages, where the catalogue sells accounts that several people share."""
    sold: catalog.Catalog = app.extensions["catalog"]
    if any(feature.key == seats.FEATURE for feature in sold.features):
        app.register_blueprint(bp)
        errors.add(app, answers.ANSWERS)


@bp.get("/team")
@gates.requires(role=MEMBER)
def index() -> str:
    """Show who shares the account, who is asked in, and the seats; without the feature, which plan brings it."""
    return _page(InviteForm())


@bp.post("/team/invitations")
@gates.requires(verified=True, role=ADMIN, feature="members")
@limiter.limit("60 per hour; 20 per minute", key_func=manager)
def invite() -> Response | tuple[str, int]:
    """Ask somebody in, by mail.

    Seats are looked at in the transaction only: a form sent twice may find its own invitation on the last one.
    """
    form = InviteForm()
    if not form.validate_on_submit():
        return _page(form), UNPROCESSABLE
    try:
        database.write(
            _invite,
            current_account().id,
            inviter=(current_user.id, current_user.email),
            email=form.email.data,
            role=form.role.data,
            token=mails.new_token(),
            key=form_key(),
        )
    except AlreadyMember:
        form.email.errors = ["This person is in the team already."]
        return _page(form), UNPROCESSABLE
    except AlreadyInvited:
        form.email.errors = ["This address is invited already. Send the invitation again in the list below."]
        return _page(form), UNPROCESSABLE
    flash(f"The invitation for {form.email.data} is on its way. It works for a week.", "success")
    return redirect(url_for("team.index"), SEE_OTHER)


@bp.post("/team/invitations/<public_id>/resend")
@gates.requires(verified=True, role=ADMIN, feature="members")
@limiter.limit("60 per hour; 20 per minute", key_func=manager)
def resend(public_id: str) -> Response:
    """Send an invitation again, good for another week, with a link of its own."""
    token, key = mails.new_token(), form_key()
    email = database.write(_resend, current_account().id, public_id, actor=current_user.email, token=token, key=key)
    if email is None:
        abort(404)
    flash(f"The invitation for {email} is on its way again. The link in the mail before works no more.", "success")
    return redirect(url_for("team.index"), SEE_OTHER)


@bp.post("/team/invitations/<public_id>/withdraw")
@gates.requires(role=ADMIN)
def withdraw(public_id: str) -> Response:
    """Take an invitation back; its link stops working at once."""
    email = database.write(_withdraw, current_account().id, public_id, actor=current_user.email, key=form_key())
    if email is None:
        abort(404)
    flash(f"The invitation for {email} is withdrawn.", "success")
    return redirect(url_for("team.index"), SEE_OTHER)


@bp.post("/team/members/role")
@gates.requires(role=OWNER)
def change_role() -> Response:
    """Make a member an admin, or an admin a member; it holds from their next click on."""
    email, role = request.form.get("email", ""), request.form.get("role", "")
    if role not in (ADMIN, MEMBER):
        abort(400, "A role is admin or member.")
    account_id, key = current_account().id, form_key()
    if not database.write(memberships.change_role, account_id, email, role, actor=current_user.email, key=key):
        abort(404)
    flash(f"{email} is {'an admin' if role == ADMIN else 'a member'} now.", "success")
    return redirect(url_for("team.index"), SEE_OTHER)


@bp.post("/team/members/remove")
@gates.requires(role=ADMIN)
def remove() -> Response:
    """Take a member out of the account; it holds from their next click on, also where the plan has lapsed."""
    email = request.form.get("email", "")
    if not database.write(memberships.remove, current_account().id, email, actor=current_user.email, key=form_key()):
        abort(404)
    flash(f"{email} is no longer in the team. What they made stays here.", "success")
    return redirect(url_for("team.index"), SEE_OTHER)


def _invite(
    session: Session, account_id: int, *, inviter: tuple[int, str], email: str, role: str, token: Token, key: str
) -> None:
    people.lock_account(session, account_id)
    if audit.is_done(session, key):
        return
    seats.ensure_seat_for_invitation(session, account_id)
    row = invitations.invite(session, account_id, email, role=role, invited_by=inviter[0], token=token)
    mails.queue_invitation(session, row)
    _note(session, "team.invited", row, actor=inviter[1], key=key, after={"role": role})


def _resend(session: Session, account_id: int, public_id: str, *, actor: str, token: Token, key: str) -> str | None:
    row = invitations.claim(session, account_id, public_id)
    if row is None:
        return None
    if audit.is_done(session, key):
        return row.email
    invitations.ensure_unanswered(session, row)
    if invitations.state_of(row) is invitations.State.EXPIRED:
        seats.ensure_seat_for_invitation(session, account_id)
    invitations.renew(session, row, token)
    mails.queue_invitation(session, row)
    _note(session, "team.invited_again", row, actor=actor, key=key)
    return row.email


def _withdraw(session: Session, account_id: int, public_id: str, *, actor: str, key: str) -> str | None:
    row = invitations.claim(session, account_id, public_id)
    if row is None:
        return None
    if audit.is_done(session, key):
        return row.email
    invitations.ensure_unanswered(session, row)
    invitations.withdraw(session, row)
    _note(session, "team.withdrew", row, actor=actor, key=key)
    return row.email


def _note(
    session: Session, action: str, row: Invitation, *, actor: str, key: str, after: dict[str, str] | None = None
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        about=("invitation", row.public_id),
        key=key,
        account_id=row.account_id,
        after={"email": row.email, **(after or {})},
    )


def _page(form: InviteForm) -> str:
    session, account = db.session(), current_account()
    room = limits.room(session, account.id, seats.LIMIT)
    roomy = limits.plans_with_room(seats.LIMIT, room.used)
    return render_template(
        "team/index.html",
        form=form,
        team=account,
        members=memberships.of_account(session, account.id),
        invitations=invitations.of_account(session, account.id),
        state_of=invitations.state_of,
        role=acting().role,
        role_words=ROLE_WORDS,
        room=room,
        larger_plan=next(iter(roomy), None),
    )
