"""The mails of signing up and in: what is promised by the pages, and the links that are made when they leave."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

import clock
from accounts import people, signups
from accounts.identity import email_key
from accounts.models import Signup, User
from accounts.sessions import hash_of
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares
from web import tokens

SIGN_UP = "sign-up"
RESET = "reset"
RESET_WITHIN = timedelta(minutes=30)
RESET_NOT_AFTER = timedelta(hours=2)
# So that nobody can fill a stranger's mailbox through our forms.
MAILS_PER_HOUR = 6


def queue_confirmation(session: Session, signup: Signup) -> None:
    """Promise the mail that confirms a sign-up; at most one per minute and sign-up, and few per address and hour."""
    if has_enough(session, signup.email):
        return
    outbox.queue(
        session,
        "sign_up",
        to=signup.email,
        context={"signup": signup.public_id},
        dedupe_key=f"sign_up:{signup.public_id}:{this_minute()}",
        priority=0,
        not_after=signup.expires_at,
    )


def queue_reset(session: Session, email: str) -> None:
    """Promise the mail with a reset link, without looking whether anybody has this address: the sender will."""
    if has_enough(session, email):
        return
    outbox.queue(
        session,
        "reset",
        to=email,
        context={},
        dedupe_key=f"reset:{hash_of(email_key(email))}:{this_minute()}",
        priority=0,
        not_after=clock.now() + RESET_NOT_AFTER,
    )


def queue_password_changed(session: Session, user: User) -> None:
    """Promise the mail that tells somebody their password was changed."""
    outbox.queue(
        session,
        "password_changed",
        to=user.email,
        context={"at": clock.now().isoformat(timespec="minutes")},
        dedupe_key=f"password_changed:{user.fs_uniquifier}",
        priority=0,
    )


@prepares("sign_up")
def prepare_confirmation(session: Session, mail: Prepared) -> Prepared:
    """Make the link, or tell the owner of a known address that somebody tried to sign up with it."""
    signup = signups.find(session, mail.context["signup"])
    if signup is None:
        raise NotNeeded("the sign-up ran out")
    user = people.find_user(session, signup.email)
    if user is not None and signup.confirmed_at is None:
        facts = {"login_url": links.to("auth.login"), "reset_url": links.to("auth.forgot_password")}
        return Prepared("already_registered", user.email, facts)
    url = links.to("auth.verify", token=tokens.sign(SIGN_UP, signup.public_id))
    return Prepared("sign_up", signup.email, {"url": url})


@prepares("reset")
def prepare_reset(session: Session, mail: Prepared) -> Prepared:
    """Make the reset link for the stored spelling of the address: mail never goes to a look-alike."""
    user = people.find_user(session, mail.to)
    if user is None or not user.active:
        raise NotNeeded("nobody has this address")
    url = links.to("auth.reset_password", token=tokens.sign(RESET, user.fs_uniquifier))
    minutes = int(RESET_WITHIN.total_seconds() // 60)
    return Prepared("reset", user.email, {"url": url, "minutes": minutes})


@prepares("password_changed")
def prepare_password_changed(_session: Session, mail: Prepared) -> Prepared:
    """Add the way back in for somebody who did not change it."""
    facts = {"at": datetime.fromisoformat(mail.context["at"]), "reset_url": links.to("auth.forgot_password")}
    return Prepared(mail.template, mail.to, facts)


def has_enough(session: Session, email: str) -> bool:
    """Tell whether an address has had as many mails within the hour as strangers may cause."""
    return outbox.queued_since(session, email, clock.now() - timedelta(hours=1)) >= MAILS_PER_HOUR


def this_minute() -> int:
    """Return a number that is another one each minute, so that a mail asked for twice at once leaves once."""
    return int(clock.now().timestamp() // 60)
