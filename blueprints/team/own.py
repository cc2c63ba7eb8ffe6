"""What is a person's own: the accounts they belong to and may act for, and the invitations that wait for them."""

from __future__ import annotations

from flask import abort, flash, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

import database
from accounts import audit, invitations, memberships
from accounts.invitations import State
from accounts.models import Account, User
from billing import seats
from blueprints.team import mails
from blueprints.team.base import SEE_OTHER, bp, form_key
from extensions import db, limiter
from web import gates
from web.current import act_for_oneself, acting, choose

FORBIDDEN = 403


@bp.get("/accounts")
@gates.requires(personal=True)
def accounts() -> str:
    """Show the accounts that the person may act for, and the invitations that wait for them."""
    session = db.session()
    return render_template(
        "team/accounts.html",
        chosen=acting().account,
        belongings=memberships.of_person(session, current_user.id),
        offers=invitations.waiting_for(session, current_user),
    )


@bp.post("/accounts/switch")
@gates.requires(personal=True)
def switch() -> Response:
    """Act for another account from now on, in this browser."""
    found = memberships.find(db.session(), current_user.id, request.form.get("account", ""))
    if found is None:
        abort(404)
    choose(found.account)
    flash(f"You act for {found.account.name} now.", "success")
    return redirect(url_for("dashboard.index"), SEE_OTHER)


@bp.post("/accounts/<public_id>/leave")
@gates.requires(personal=True)
def leave(public_id: str) -> Response:
    """Leave an account of others; what was made there stays there."""
    found = memberships.find(db.session(), current_user.id, public_id)
    if found is None:
        flash("You are not in that team.", "message")
        return redirect(url_for("team.accounts"), SEE_OTHER)
    account_id, name, email = found.account.id, found.account.name, current_user.email
    database.write(memberships.remove, account_id, email, actor=email, key=form_key())
    if acting().account.id == account_id:
        act_for_oneself()
    flash(f"You have left {name}.", "success")
    return redirect(url_for("team.accounts"), SEE_OTHER)


@bp.get("/invitations/<token>")
@gates.public
@limiter.limit("60 per minute")
def invitation(token: str) -> str | tuple[str, int] | Response:
    """Show who invites, and how to accept; whether the invited address is known here is not told."""
    offer = invitations.find_by_token(db.session(), token)
    if offer is None:
        abort(404, "There is no such invitation. The link may have been cut off, or a newer mail has replaced it.")
    is_invited = current_user.is_authenticated and current_user.email_key == offer.invitation.email_key
    if is_invited and invitations.state_of(offer.invitation) is State.ACCEPTED:
        return redirect(url_for("team.accounts"))
    invitations.ensure_waiting(db.session(), offer.invitation)
    page = render_template("team/invitation.html", offer=offer, is_invited=is_invited)
    return (page, FORBIDDEN) if current_user.is_authenticated and not is_invited else page


@bp.post("/invitations/<public_id>/accept")
@gates.requires(verified=True, personal=True)
def accept(public_id: str) -> Response:
    """Join the team that invited this person's address, and act for it from now on."""
    account = database.write(_accept, public_id, current_user.id)
    if account is None:
        abort(404, "There is no such invitation for your address.")
    choose(account)
    flash(f"Welcome. You act for {account.name} now: its credits and reports are here.", "success")
    return redirect(url_for("dashboard.index"), SEE_OTHER)


def _accept(session: Session, public_id: str, user_id: int) -> Account | None:
    user = session.get_one(User, user_id)
    row = invitations.claim_own(session, user, public_id)
    if row is None:
        return None
    account = session.get_one(Account, row.account_id)
    # Sent twice, by a double click or a reload: the first has done it.
    if row.accepted_by == user_id and memberships.find(session, user_id, account.public_id):
        return account
    invitations.ensure_waiting(session, row)
    seats.ensure_seat_for_member(session, account.id)
    invitations.accept(session, row, user)
    mails.queue_joined(session, row, user)
    audit.record(
        session,
        actor=user.email,
        action="team.joined",
        about=("invitation", row.public_id),
        key=f"team:joined:{row.public_id}",
        account_id=account.id,
        after={"role": row.role},
    )
    return account
