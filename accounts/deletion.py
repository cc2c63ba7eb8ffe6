"""The end of a person: nobody signs in as them any more, and nothing says who they were; the books stay whole.

Rows that money hangs on stay, without a name: payments and the ledger are kept as the law wants, and a refund or a
dispute that comes later still finds its account. Whether somebody may go is for billing to say (billing/closing.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete as delete_from
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import audit, former_mailboxes, memberships, people
from accounts.api_keys import ApiKey
from accounts.email_changes import EmailChange
from accounts.models import OWNER, Account, Invitation, Membership, Signup, User, UserSession

NAME = "Deleted account"


@dataclass(frozen=True)
class Deleted:
    """Who is gone: the address that they had, the one that stands for nobody now, and the accounts that closed."""

    user_id: int
    email: str
    nobody: str
    account_ids: tuple[int, ...]


def owned(session: Session, user_id: int) -> list[Account]:
    """Return the accounts that are billed to a person."""
    mine = select(Membership.account_id).where(Membership.user_id == user_id, Membership.role == OWNER)
    return list(session.scalars(select(Account).where(Account.id.in_(mine)).order_by(Account.id)))


def lock(session: Session, user_id: int) -> User | None:
    """Lock every account that a person belongs to, then the person; None when they are gone already."""
    mine = select(Membership.account_id).where(Membership.user_id == user_id)
    session.execute(select(Account.id).where(Account.id.in_(mine)).order_by(Account.id).with_for_update())
    user = session.get_one(User, user_id, with_for_update=True, populate_existing=True)
    return user if user.active else None


def delete(session: Session, user: User) -> Deleted:
    """Make a person nobody: the caller has locked them and seen that they may go.

    Sessions, keys and waiting invitations end; they leave the teams of others; their own accounts close and keep no
    name. The hooks of `people.after_account_closed` remove what the product kept.
    """
    email, nobody = user.email, people.nobody(user.id)
    accounts = tuple(account.id for account in owned(session, user.id))
    _leave_teams(session, user, accounts)
    for account_id in accounts:
        _close(session, account_id, email)
    _end_keys_and_invitations(session, user, accounts, nobody)
    session.execute(delete_from(Signup).where(Signup.email_key == user.email_key))
    session.execute(delete_from(EmailChange).where(EmailChange.user_id == user.id))
    _end_sessions(session, user.id)
    user.email = user.email_key = nobody
    user.password, user.active, user.confirmed_at = None, False, None
    user.fs_uniquifier = people.new_uniquifier()
    session.flush()
    audit.record(
        session,
        actor=nobody,
        action="person.deleted",
        about=("user", str(user.id)),
        key=f"person_deleted:{user.id}",
        account_id=accounts[0] if accounts else None,
    )
    failpoints.hit("person.deleted")
    return Deleted(user.id, email, nobody, accounts)


def _leave_teams(session: Session, user: User, owned_ids: tuple[int, ...]) -> None:
    others = select(Membership.account_id).where(Membership.user_id == user.id, Membership.account_id.not_in(owned_ids))
    for account_id in session.scalars(others.order_by(Membership.account_id)).all():
        key = f"person_deleted:{user.id}:{account_id}"
        memberships.remove(session, account_id, user.email, actor=user.email, key=key)
    session.flush()


def _close(session: Session, account_id: int, email: str) -> None:
    closed = update(Account).where(Account.id == account_id)
    session.execute(closed.values(name=NAME, closed_at=clock.now(), billing_notice=None))
    former_mailboxes.remember(session, account_id, email)
    people.run_closed_hooks(session, account_id)


def _end_keys_and_invitations(session: Session, user: User, accounts: tuple[int, ...], nobody: str) -> None:
    now = clock.now()
    keys = update(ApiKey).where(or_(ApiKey.account_id.in_(accounts), ApiKey.created_by == user.id))
    session.execute(keys.where(ApiKey.revoked_at.is_(None)).values(revoked_at=now))
    sent = update(Invitation).where(or_(Invitation.account_id.in_(accounts), Invitation.invited_by == user.id))
    waiting = sent.where(Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None))
    session.execute(waiting.values(withdrawn_at=now))
    known = update(Invitation).where(or_(Invitation.account_id.in_(accounts), Invitation.accepted_by == user.id))
    session.execute(known.values(email=nobody, email_key=nobody))


def _end_sessions(session: Session, user_id: int) -> None:
    mine = update(UserSession).where(UserSession.user_id == user_id)
    session.execute(mine.where(UserSession.revoked_at.is_(None)).values(revoked_at=clock.now()))
    session.execute(mine.values(address="", user_agent=""))
