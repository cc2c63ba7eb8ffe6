"""Whose an account is, and what it is called: handed over to a member, and renamed, by its owner alone."""

from __future__ import annotations

from sqlalchemy.orm import Session

from accounts import audit, memberships, people
from accounts.models import ADMIN, OWNER, Membership, User

MAX_NAME = 60


class CannotOwn(Exception):
    """The person cannot own an account: they are disabled, or have never shown that their address is theirs."""


def hand_over(session: Session, account_id: int, email: str, *, actor: str, key: str) -> User | None:
    """Make the member with this address the owner, and whoever owned it an admin; return the new owner.

    None when there is no such member, or when this key has done it before. At any moment exactly one person owns the
    account: its lock lets two who hand it over at once take turns, and the second finds that it is no longer theirs to
    give. The personal account of the old owner stops being personal, and they get a new one. Raises OwnerDecides
    unless `actor` owns it, and CannotOwn.
    """
    people.lock_account(session, account_id)
    if audit.is_done(session, key):
        return None
    memberships.ensure_owner(session, account_id, actor)
    giver, heir = (memberships.find_member(session, account_id, each) for each in (actor, email))
    if giver is None or heir is None or giver is heir:
        return None
    owner = session.get_one(User, heir.user_id)
    if not owner.active or not owner.is_verified:
        raise CannotOwn(email)
    before = {"owner": actor, "role": heir.role}
    _swap(session, giver, heir)
    _part(session, account_id, session.get_one(User, giver.user_id))
    audit.record(
        session,
        actor=actor,
        action="team.handed_over",
        about=("member", owner.email),
        key=key,
        account_id=account_id,
        before=before,
        after={"owner": owner.email, "role": OWNER},
    )
    return owner


def rename(session: Session, account_id: int, name: str, *, actor: str, key: str) -> None:
    """Give an account another name, once per key; raise OwnerDecides unless `actor` owns it."""
    people.lock_account(session, account_id)
    if audit.is_done(session, key):
        return
    memberships.ensure_owner(session, account_id, actor)
    account = people.get_account(session, account_id)
    before, account.name = account.name, name
    audit.record(
        session,
        actor=actor,
        action="team.renamed",
        about=("account", account.public_id),
        key=key,
        account_id=account_id,
        before={"name": before},
        after={"name": name},
    )


def _swap(session: Session, giver: Membership, heir: Membership) -> None:
    # One after the other: the database takes no second owner, not even for a moment.
    giver.role = ADMIN
    session.flush()
    heir.role = OWNER
    session.flush()


def _part(session: Session, account_id: int, giver: User) -> None:
    account = people.get_account(session, account_id)
    if account.personal_user_id == giver.id:
        account.personal_user_id = None
        people.create_personal_account(session, giver)
