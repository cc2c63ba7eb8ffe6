"""The mails about a person's address: the link to the new one, and what the old one hears before and after."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

import clock
from accounts import email_changes, people
from accounts.deletion import Deleted
from accounts.email_changes import Changed, EmailChange
from accounts.models import User
from blueprints.auth.mails import has_enough, this_minute
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares
from web import tokens

CHANGE = "email-change"


def queue_link(session: Session, change: EmailChange) -> None:
    """Promise the mail that confirms a new address; one a minute, and few an hour, whoever wants to send them."""
    if has_enough(session, change.email):
        return
    outbox.queue(
        session,
        "email_change",
        to=change.email,
        context={"change": change.public_id},
        dedupe_key=f"email_change:{change.public_id}:{this_minute()}",
        priority=0,
        not_after=change.expires_at,
    )


def queue_notice(session: Session, change: EmailChange, user: User) -> None:
    """Promise the mail that tells the present address what was asked for, once: it may not have been its owner."""
    outbox.queue(
        session,
        "email_change_asked",
        to=user.email,
        context={"new": change.email},
        dedupe_key=f"email_change_asked:{change.public_id}",
        priority=0,
    )


def queue_changed(session: Session, changed: Changed, *, key: str) -> None:
    """Promise the mail that tells the old address that it is no longer the account's."""
    outbox.queue(
        session,
        "email_changed",
        to=changed.old,
        context={"new": changed.new, "at": clock.now().isoformat(timespec="minutes")},
        dedupe_key=f"email_changed:{key}",
        priority=0,
    )


def queue_farewell(session: Session, gone: Deleted) -> None:
    """Promise the mail that confirms the end of an account, to the address that it had."""
    outbox.queue(
        session,
        outbox.FAREWELL,
        to=gone.email,
        context={"at": clock.now().isoformat(timespec="minutes")},
        dedupe_key=f"{outbox.FAREWELL}:{gone.user_id}",
        priority=0,
    )


@prepares(outbox.FAREWELL)
def prepare_farewell(_session: Session, mail: Prepared) -> Prepared:
    """Say when it was."""
    return Prepared(mail.template, mail.to, {**mail.context, "at": datetime.fromisoformat(mail.context["at"])})


@prepares("email_change")
def prepare_link(session: Session, mail: Prepared) -> Prepared:
    """Make the link, or tell whoever has the address already that somebody wanted it."""
    change = email_changes.find_waiting(session, mail.context["change"])
    if change is None:
        raise NotNeeded("the change was confirmed or cancelled, or ran out")
    user = session.get_one(User, change.user_id)
    owner = people.find_user(session, change.email)
    if owner is not None and owner.id != user.id:
        facts = {"login_url": links.to("auth.login"), "reset_url": links.to("auth.forgot_password")}
        return Prepared("email_change_taken", owner.email, facts)
    url = links.to("settings.confirm_email", token=tokens.sign(CHANGE, change.public_id))
    return Prepared(mail.template, change.email, {"url": url, "old": user.email, "expires_at": change.expires_at})


@prepares("email_change_asked")
def prepare_notice(_session: Session, mail: Prepared) -> Prepared:
    """Add the ways to stop it."""
    facts = {"settings_url": links.to("settings.index"), "reset_url": links.to("auth.forgot_password")}
    return Prepared(mail.template, mail.to, {**mail.context, **facts})


@prepares("email_changed")
def prepare_changed(_session: Session, mail: Prepared) -> Prepared:
    """Say when it was."""
    return Prepared(mail.template, mail.to, {**mail.context, "at": datetime.fromisoformat(mail.context["at"])})
