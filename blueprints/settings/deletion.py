"""The end of an account: what it means and what has to be done before are said first, then one click does it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import flash, redirect, render_template, url_for
from flask_login import current_user
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response
from wtforms import BooleanField
from wtforms.validators import InputRequired

import database
import failpoints
from accounts import memberships
from accounts.models import OWNER, User
from billing import closing
from billing.closing import CannotDelete, Obstacle, Why
from blueprints.settings import mails
from blueprints.settings.base import SEE_OTHER, UNPROCESSABLE, View, bp, person
from extensions import db, limiter
from ledger import statement
from mail import outbox
from web import filters, gates, known_browsers, navigation, sessions
from web.answers import Action

CONFLICT = 409


class DeleteForm(FlaskForm):  # type: ignore[misc]
    """Say yes to it."""

    agree = BooleanField(
        "Delete my account for good", validators=[InputRequired("Tick the box if this is what you want.")]
    )


@dataclass(frozen=True)
class Step:
    """What has to be done before, in words, and where."""

    words: str
    label: str | None = None
    url: str | None = None


@bp.route("/delete", methods=["GET", "POST"])
@gates.requires(personal=True, recent=True)
@limiter.limit("5 per minute; 20 per hour", key_func=person, methods=["POST"])
def delete_account() -> View:
    """Say what happens, and delete the account on one more click."""
    form = DeleteForm()
    if not form.validate_on_submit():
        return _page(form, UNPROCESSABLE if form.errors else 200)
    try:
        database.write(_delete, current_user.id)
    except CannotDelete:
        return _page(form, CONFLICT)
    failpoints.hit("person.committed")
    sessions.sign_out()
    flash("Your account is deleted. A mail confirms it.", "success")
    response: Response = redirect(url_for("pages.index"), SEE_OTHER)
    known_browsers.forget(response)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def _delete(session: Session, user_id: int) -> None:
    gone = closing.close(session, user_id)
    if gone is None:
        return  # the other of two clicks has done it
    outbox.forget_address(session, gone.email, gone.nobody)
    mails.queue_farewell(session, gone)


def _page(form: DeleteForm, status: int) -> View:
    session = db.session()
    belongings = memberships.of_person(session, current_user.id)
    own = [each.account for each in belongings if each.role == OWNER]
    page = render_template(
        "settings/delete.html",
        form=form,
        steps=[
            step_of(obstacle, len(own))
            for obstacle in closing.obstacles(session, session.get_one(User, current_user.id))
        ],
        credits_left=sum(statement.balance(session, account.id).total for account in own),
        teams=[each.account.name for each in belongings if each.role != OWNER],
    )
    return (page, status) if status != 200 else page


def step_of(obstacle: Obstacle, accounts: int) -> Step:
    """Say what somebody has to do before they can go; the account is named where they have several."""
    of = f" of {obstacle.account}" if accounts > 1 else ""
    where = STEPS[obstacle.why]
    words = where[0].format(of=of, count=obstacle.count, credits=filters.credits(obstacle.count))
    action = where[1]
    endpoint = next((each for each in action.endpoints if navigation.has_page(each)), None)
    return Step(words, action.label, url_for(endpoint)) if endpoint else Step(words)


STEPS: dict[Why, tuple[str, Action]] = {
    Why.STAFF: (
        "You are a member of staff. Have somebody take that from you first: flask staff remove.",
        Action("Go to the back office", ("admin.index",)),
    ),
    Why.MEMBERS: (
        "Others are in the team{of}. Hand it over to one of them, or remove them, so that nobody loses it by surprise.",
        Action("Go to the team", ("team.index",)),
    ),
    Why.SUBSCRIPTION: (
        "A plan{of} still runs. End it first, so that you see what that costs and nothing is charged afterwards.",
        Action("End the plan", ("billing.cancel_now",)),
    ),
    Why.UNDER_WAY: (
        "A payment or refund{of} is under way. Come back in a few minutes, so that it ends before you go.",
        Action("Go to billing", ("billing.index",)),
    ),
    Why.FROZEN: (
        "Spending{of} is paused over a payment, a dispute for example. Write to us, and we settle it together first.",
        Action("Write to support", ("support.index",)),
    ),
    Why.DEBT: (
        "{credits}{of} from a refunded payment were spent before and are still owed. Buy credits to make up for them, "
        "or write to us.",
        Action("Write to support", ("support.index",)),
    ),
}
