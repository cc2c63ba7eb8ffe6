"""The mails of a team: who joined, who owns it, and the one that invites.

The link of an invitation is made when the mail leaves, and an address gets few of them from one account.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

import clock
from accounts import invitations, people
from accounts.invitations import State, Token
from accounts.models import Account, Invitation, User, new_public_id
from accounts.sessions import hash_of
from billing import seats
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares
from web import tokens

INVITATION = "invitation"
# So that nobody can fill a stranger's mailbox through our forms.
MAILS_PER_HOUR = 3


class EnoughMails(Exception):
    """The account has sent this address as many mails within the hour as it may."""


def new_token() -> Token:
    """Make what a link is made of; the token itself is kept nowhere."""
    seed = new_public_id()
    return Token(seed, hash_of(tokens.derived(INVITATION, seed)[0]))


def queue_invitation(session: Session, invitation: Invitation) -> None:
    """Promise the mail with the link of an invitation; raise EnoughMails."""
    since = clock.now() - timedelta(hours=1)
    sent = outbox.queued_since(session, invitation.email, since, account_id=invitation.account_id)
    if sent >= MAILS_PER_HOUR:
        raise EnoughMails(invitation.email)
    outbox.queue(
        session,
        INVITATION,
        to=invitation.email,
        context={"invitation": invitation.public_id},
        dedupe_key=f"invitation:{invitation.token_hash}",
        account_id=invitation.account_id,
        priority=0,
        not_after=invitation.expires_at,
    )


def queue_joined(session: Session, invitation: Invitation, user: User) -> None:
    """Promise the mail that tells the owner who has joined, once per invitation."""
    account = people.get_account(session, invitation.account_id)
    outbox.queue(
        session,
        "team_joined",
        to=people.owner_email(session, account.id),
        context={"joined": user.email, "team": account.name, "role": invitation.role},
        dedupe_key=f"team_joined:{invitation.public_id}",
        account_id=account.id,
    )


def queue_handed_over(session: Session, account: Account, *, giver: str, owner: str, key: str) -> None:
    """Promise the mails about a new owner: to them, and to whoever owned the account, who may not have done it."""
    for email in (owner, giver):
        outbox.queue(
            session,
            "team_handed_over",
            to=email,
            context={"team": account.name, "giver": giver, "owner": owner},
            dedupe_key=f"team_handed_over:{key}:{email}",
            account_id=account.id,
        )


@prepares(INVITATION)
def prepare_invitation(session: Session, mail: Prepared) -> Prepared:
    """Make the link of the invitation as it is now."""
    offer = invitations.find(session, mail.context["invitation"])
    if offer is None or invitations.state_of(offer.invitation) is not State.WAITING:
        raise NotNeeded("the invitation was accepted or withdrawn, or has run out")
    if not seats.are_open(session, offer.account.id):
        raise NotNeeded("the plan no longer holds members")
    row = offer.invitation
    made = tokens.derived(INVITATION, row.token_seed)
    token = next((token for token in made if hash_of(token) == row.token_hash), None)
    if token is None:
        raise NotNeeded("the secret key that the link was made with is gone: send the invitation again")
    facts = {
        "url": links.to("team.invitation", token=token),
        "inviter": offer.inviter,
        "team": offer.account.name,
        "role": row.role,
        "expires_at": row.expires_at,
    }
    return Prepared(INVITATION, row.email, facts)
