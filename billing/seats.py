"""Seats: how many people may share an account by its plan, and whether the plan lets anybody share it at all.

The feature and the limit of the catalogue are both called `members`. A seat is taken by each member, the owner among
them, and by each invitation that waits, so that nobody is asked in for whom there is no room.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from accounts import invitations, memberships, people
from billing import access, catalog, limits
from billing.errors import TeamClosed, TeamFull

FEATURE = "members"
LIMIT = "members"


@limits.counts(LIMIT)
def taken(session: Session, account_id: int) -> int:
    """Return how many seats are taken: by members, and by invitations that wait."""
    return memberships.count(session, account_id) + invitations.count_waiting(session, account_id)


def are_sold() -> bool:
    """Tell whether the catalogue knows of shared accounts."""
    return any(feature.key == FEATURE for feature in catalog.current().features)


def are_open(session: Session, account_id: int) -> bool:
    """Tell whether an account's plan lets others than its owner act for it now."""
    return FEATURE in access.plan_of(session, account_id).features


def ensure_seat_for_invitation(session: Session, account_id: int) -> None:
    """Raise LimitReached unless one more may be asked in; the caller holds the account's lock."""
    limits.ensure_room(session, account_id, LIMIT)


def ensure_seat_for_member(session: Session, account_id: int) -> None:
    """Raise TeamClosed or TeamFull unless one more may become a member; the caller holds the account's lock.

    Invitations do not count here: after a change to a smaller plan there can be more of them than seats, and then
    whoever comes first gets in.
    """
    plan = access.plan_of(session, account_id)
    if FEATURE not in plan.features:
        raise TeamClosed(people.owner_email(session, account_id))
    if not limits.has_room(memberships.count(session, account_id), limits.allowed(plan, LIMIT)):
        raise TeamFull(people.owner_email(session, account_id))
