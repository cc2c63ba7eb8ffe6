"""Who shares an account: its members and their roles, and which accounts a person may act for.

How an account changes hands: accounts/ownership.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session, aliased

import clock
from accounts import audit, people
from accounts.identity import email_key
from accounts.models import ADMIN, OWNER, ROLES, Account, Invitation, Membership, User

ADDRESS_LENGTH = 254


class OwnerStays(Exception):
    """The owner of an account can neither be removed nor leave, nor take another role: it is billed to them."""


class OwnerDecides(Exception):
    """What somebody wanted of a team is its owner's to decide; `owner` is whom to ask."""

    def __init__(self, owner: str) -> None:
        super().__init__("for the owner of the account")
        self.owner = owner


@dataclass(frozen=True)
class Member:
    """One member of an account, as its list shows them."""

    user_id: int
    email: str
    role: str
    since: datetime


@dataclass(frozen=True)
class Belonging:
    """One account that a person belongs to, and whom to ask about it."""

    account: Account
    role: str
    owner: str


_owners = aliased(Membership)
_BELONGINGS = (
    select(
        Account,
        Membership.role,
        select(User.email)
        .join(_owners, _owners.user_id == User.id)
        .where(_owners.account_id == Account.id, _owners.role == OWNER)
        .order_by(_owners.id)
        .limit(1)
        .correlate(Account)
        .scalar_subquery(),
    )
    .join(Membership, Membership.account_id == Account.id)
    .where(Membership.user_id == bindparam("user_id"))
)
# Built once: every page of somebody who acts for another's account begins with it.
_CHOSEN = _BELONGINGS.where(Account.public_id == bindparam("public_id"))
_ALL = _BELONGINGS.order_by(Membership.role != OWNER, Membership.id)


def is_at_least(role: str, wanted: str) -> bool:
    """Tell whether a role may do what another one may: an owner everything, an admin what a member may."""
    return ROLES.index(role) >= ROLES.index(wanted)


def find(session: Session, user_id: int, public_id: str) -> Belonging | None:
    """Find an account that a person belongs to, by its public id; None for all others."""
    row = session.execute(_CHOSEN, {"public_id": public_id, "user_id": user_id}).one_or_none()
    return None if row is None else Belonging(*row)


def of_account(session: Session, account_id: int) -> list[Member]:
    """List the members of an account, its owner first, then as they came."""
    query = (
        select(User.id, User.email, Membership.role, Membership.created_at)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.account_id == account_id)
        .order_by(Membership.role != OWNER, Membership.id)
    )
    return [Member(*row) for row in session.execute(query)]


def of_person(session: Session, user_id: int) -> list[Belonging]:
    """List the accounts that a person belongs to, their own first."""
    return [Belonging(*row) for row in session.execute(_ALL, {"user_id": user_id})]


def count(session: Session, account_id: int) -> int:
    """Return how many people an account has, its owner among them."""
    query = select(func.count()).select_from(Membership).where(Membership.account_id == account_id)
    return session.scalar(query) or 0


def has_address(session: Session, account_id: int, email: str) -> bool:
    """Tell whether a member has this address, however it is spelled."""
    return find_member(session, account_id, email) is not None


def add(session: Session, account_id: int, user_id: int, role: str) -> None:
    """Make a person a member; whoever is one already keeps their role. The caller holds the account's lock."""
    known = select(Membership.id).where(Membership.account_id == account_id, Membership.user_id == user_id)
    if session.scalar(known) is None:
        session.add(Membership(account_id=account_id, user_id=user_id, role=role))
        session.flush()


def remove(session: Session, account_id: int, email: str, *, actor: str, key: str) -> bool:
    """Take the member with this address out of an account, once per key; return whether there is such a member.

    What they made stays with the account; invitations of theirs that wait are withdrawn, so that nobody leaves a door
    open behind them. `actor` is the address of whoever does it: an admin removes members, only the owner
    removes admins. Raises OwnerStays and OwnerDecides. The account's row is locked first, so that counting members and
    changing them take turns.
    """
    people.lock_account(session, account_id)
    if audit.is_done(session, key):
        return True
    membership = find_member(session, account_id, email)
    if membership is None:
        return False
    if membership.role == OWNER:
        raise OwnerStays(account_id)
    is_leaving = email_key(actor) == email_key(email)
    if membership.role == ADMIN and not is_leaving:
        ensure_owner(session, account_id, actor)
    session.delete(membership)
    withdrawn = _withdraw_invitations_by(session, account_id, membership.user_id)
    audit.record(
        session,
        actor=actor,
        action="team.left" if is_leaving else "team.removed",
        about=("member", email[:ADDRESS_LENGTH]),
        key=key,
        account_id=account_id,
        before={"role": membership.role},
        after={"withdrawn_invitations": withdrawn},
    )
    return True


def change_role(session: Session, account_id: int, email: str, role: str, *, actor: str, key: str) -> bool:
    """Make the member with this address an admin or a member, once per key; return whether there is such a member.

    Whoever is no admin any more loses the invitations that they sent and nobody has accepted. Raises OwnerDecides
    unless `actor` owns the account, and OwnerStays for the owner's own role.
    """
    people.lock_account(session, account_id)
    if audit.is_done(session, key):
        return True
    ensure_owner(session, account_id, actor)
    membership = find_member(session, account_id, email)
    if membership is None:
        return False
    if membership.role == OWNER:
        raise OwnerStays(account_id)
    before, membership.role = membership.role, role
    withdrawn = [] if role == ADMIN else _withdraw_invitations_by(session, account_id, membership.user_id)
    audit.record(
        session,
        actor=actor,
        action="team.role_changed",
        about=("member", email[:ADDRESS_LENGTH]),
        key=key,
        account_id=account_id,
        before={"role": before},
        after={"role": role, "withdrawn_invitations": withdrawn},
    )
    return True


def ensure_owner(session: Session, account_id: int, email: str) -> None:
    """Raise OwnerDecides unless the person with this address owns the account; the caller holds its lock."""
    membership = find_member(session, account_id, email)
    if membership is None or membership.role != OWNER:
        raise OwnerDecides(people.owner_email(session, account_id))


def find_member(session: Session, account_id: int, email: str) -> Membership | None:
    """Find the membership of the person with this address, however it is spelled."""
    query = (
        select(Membership)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id == account_id, User.email_key == email_key(email))
    )
    return session.scalar(query)


def _withdraw_invitations_by(session: Session, account_id: int, user_id: int) -> list[str]:
    waiting = (
        update(Invitation)
        .where(Invitation.account_id == account_id, Invitation.invited_by == user_id)
        .where(Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None))
        .values(withdrawn_at=clock.now())
        .returning(Invitation.email)
    )
    return sorted(session.scalars(waiting))
