"""Ask a person into an account by their address: for a week, once, and taken back at any time.

Only somebody who is signed in with the invited address, and has shown that it is theirs, can accept. The mailed token
shows the invitation to whoever is not signed in yet; it is stored as a hash, and a new one is made for each sending.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

import clock
from accounts import memberships, people
from accounts.identity import email_key
from accounts.models import Account, Invitation, User
from accounts.sessions import hash_of

LIFETIME = timedelta(days=7)


class State(StrEnum):
    """What has become of an invitation."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class InvitationGone(Exception):
    """The invitation cannot be accepted any more; `state` says why, `owner` is whom to ask for another."""

    def __init__(self, state: State, owner: str) -> None:
        super().__init__(f"the invitation is {state}")
        self.state = state
        self.owner = owner


class AlreadyMember(Exception):
    """The invited address belongs to a member of the account."""


class AlreadyInvited(Exception):
    """An invitation to this address waits already."""


@dataclass(frozen=True)
class Token:
    """What a link is made of: a seed that is worthless alone, and the hash of the token that it gives."""

    seed: str
    hash: str


@dataclass(frozen=True)
class Offer:
    """An invitation as the invited person sees it."""

    invitation: Invitation
    account: Account
    inviter: str
    owner: str


def state_of(invitation: Invitation) -> State:
    """Return what has become of an invitation by now."""
    if invitation.accepted_at is not None:
        return State.ACCEPTED
    if invitation.withdrawn_at is not None:
        return State.WITHDRAWN
    return State.EXPIRED if invitation.expires_at <= clock.now() else State.WAITING


def invite(session: Session, account_id: int, email: str, *, role: str, invited_by: int, token: Token) -> Invitation:
    """Write an invitation down; one to the same address that has run out is renewed with what is said now.

    The caller holds the account's lock and has seen that there is room. Raises AlreadyMember and AlreadyInvited.
    """
    if memberships.has_address(session, account_id, email):
        raise AlreadyMember(email)
    known = session.scalar(_open().where(Invitation.account_id == account_id, Invitation.email_key == email_key(email)))
    if known is not None and state_of(known) is State.WAITING:
        raise AlreadyInvited(email)
    row = known or Invitation(account_id=account_id, email_key=email_key(email))
    row.email, row.role, row.invited_by = email, role, invited_by
    session.add(row)
    _issue(row, token)
    session.flush()
    return row


def renew(session: Session, invitation: Invitation, token: Token) -> None:
    """Make an invitation good for another week, by a new link; the old one works no more."""
    _issue(invitation, token)
    session.flush()


def withdraw(session: Session, invitation: Invitation) -> None:
    """Take an invitation back."""
    invitation.withdrawn_at = clock.now()
    session.flush()


def of_account(session: Session, account_id: int) -> list[Invitation]:
    """List an account's invitations that were neither accepted nor withdrawn, also those that have run out."""
    return list(session.scalars(_open().where(Invitation.account_id == account_id).order_by(Invitation.id)))


def count_waiting(session: Session, account_id: int) -> int:
    """Return how many invitations of an account can still be accepted."""
    waiting = _open().where(Invitation.account_id == account_id, Invitation.expires_at > clock.now())
    return session.scalar(select(func.count()).select_from(waiting.subquery())) or 0


def claim(session: Session, account_id: int, public_id: str) -> Invitation | None:
    """Find an account's invitation and lock it, after the account's row; None for those of other accounts."""
    people.lock_account(session, account_id)
    wanted = select(Invitation).where(Invitation.account_id == account_id, Invitation.public_id == public_id)
    return session.scalar(wanted.with_for_update())


def claim_own(session: Session, user: User, public_id: str) -> Invitation | None:
    """Find an invitation to the person's own address and lock it, after the account's row; None for all others."""
    mine = select(Invitation.account_id).where(
        Invitation.public_id == public_id, Invitation.email_key == user.email_key
    )
    account_id = session.scalar(mine) if user.is_verified else None
    return None if account_id is None else claim(session, account_id, public_id)


def accept(session: Session, invitation: Invitation, user: User) -> None:
    """Make the invited person a member; the caller has claimed the invitation and seen that there is a seat.

    Raises InvitationGone when it was accepted before, withdrawn, or has run out.
    """
    ensure_waiting(session, invitation)
    memberships.add(session, invitation.account_id, user.id, invitation.role)
    invitation.accepted_at, invitation.accepted_by = clock.now(), user.id
    session.flush()


def ensure_waiting(session: Session, invitation: Invitation) -> None:
    """Raise InvitationGone unless the invitation can be accepted."""
    state = state_of(invitation)
    if state is not State.WAITING:
        raise InvitationGone(state, people.owner_email(session, invitation.account_id))


def ensure_unanswered(session: Session, invitation: Invitation) -> None:
    """Raise InvitationGone when the invitation was accepted or withdrawn; one that has run out can be renewed."""
    state = state_of(invitation)
    if state in (State.ACCEPTED, State.WITHDRAWN):
        raise InvitationGone(state, people.owner_email(session, invitation.account_id))


def find_by_token(session: Session, token: str) -> Offer | None:
    """Find the invitation that a mailed link leads to, whatever has become of it."""
    invitation = session.scalar(select(Invitation).where(Invitation.token_hash == hash_of(token)))
    return None if invitation is None else _offer(session, invitation)


def find(session: Session, public_id: str) -> Offer | None:
    """Find an invitation by its public id, for the mail that tells of it."""
    invitation = session.scalar(select(Invitation).where(Invitation.public_id == public_id))
    return None if invitation is None else _offer(session, invitation)


def waiting_for(session: Session, user: User) -> list[Offer]:
    """List the invitations that wait for a person who has shown that the address is theirs."""
    if not user.is_verified:
        return []
    waiting = _open().where(Invitation.email_key == user.email_key, Invitation.expires_at > clock.now())
    return [_offer(session, invitation) for invitation in session.scalars(waiting.order_by(Invitation.id))]


def _offer(session: Session, invitation: Invitation) -> Offer:
    account = people.get_account(session, invitation.account_id)
    inviter = session.get_one(User, invitation.invited_by).email
    return Offer(invitation, account, inviter, people.owner_email(session, account.id))


def _open() -> Select[Invitation]:
    return select(Invitation).where(Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None))


def _issue(invitation: Invitation, token: Token) -> None:
    invitation.token_seed, invitation.token_hash = token.seed, token.hash
    invitation.expires_at = clock.now() + LIFETIME
