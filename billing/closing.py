"""Whether somebody may delete their account, and what that means for money: nothing is charged after it.

Who may not is told why and what to do first. What runs at Stripe by itself is ended there before, by a click that says
what it costs; and the customer is deleted at Stripe by an errand of the worker, so that neither a forgotten checkout
nor a card can be charged again. Payments, invoices and the ledger stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from accounts import deletion, memberships
from accounts.deletion import Deleted
from accounts.models import Account, User
from billing import access, address_errands, auto_top_ups, subscriptions
from billing.errors import BillingError
from billing.models import TrialUse
from billing.purchase_tables import LinkPurchase, SavedCard, TopUp
from billing.refunding import CREATING
from billing.reversals import RefundIntent
from ledger.models import Freeze, Wallet


class Why(StrEnum):
    """What has to be done before somebody can go."""

    STAFF = "staff"
    MEMBERS = "members"
    SUBSCRIPTION = "subscription"
    UNDER_WAY = "under_way"
    FROZEN = "frozen"
    DEBT = "debt"


@dataclass(frozen=True)
class Obstacle:
    """One reason, and the account that it is about; `count` is of members or of credits owed."""

    why: Why
    account: str = ""
    count: int = 0


class CannotDelete(BillingError):
    """Something has to be done before; nothing was changed."""

    status = 409

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        super().__init__(", ".join(obstacle.why for obstacle in obstacles))
        self.obstacles = tuple(obstacles)


def obstacles(session: Session, user: User) -> list[Obstacle]:
    """Return what keeps a person from going, by all accounts that are billed to them."""
    found = [Obstacle(Why.STAFF)] if user.is_staff else []
    for account in deletion.owned(session, user.id):
        found += _obstacles_of(session, account)
    return found


def close(session: Session, user_id: int) -> Deleted | None:
    """Delete a person and close their accounts; None when they are gone already. Raises CannotDelete.

    Everything that they belong to is locked first, so that a purchase, a new member or a dispute in the same moment
    comes before, and is seen, or comes after, and finds a closed account.
    """
    user = deletion.lock(session, user_id)
    if user is None:
        return None
    found = obstacles(session, user)
    if found:
        raise CannotDelete(found)
    gone = deletion.delete(session, user)
    for account_id in gone.account_ids:
        _end_buying(session, account_id, gone.nobody)
    return gone


def _obstacles_of(session: Session, account: Account) -> list[Obstacle]:
    found = []
    others = memberships.count(session, account.id) - 1
    if others:
        found.append(Obstacle(Why.MEMBERS, account.name, others))
    subscription = subscriptions.latest(session, account.id)
    primary = access.subscription_of(session, account.id)
    if any(each is not None and each.stripe_status in access.LIVE for each in (subscription, primary)):
        found.append(Obstacle(Why.SUBSCRIPTION, account.name))
    if _is_under_way(session, account.id):
        found.append(Obstacle(Why.UNDER_WAY, account.name))
    if session.scalar(select(Freeze.cause).where(Freeze.account_id == account.id).limit(1)) is not None:
        found.append(Obstacle(Why.FROZEN, account.name))
    debt = session.scalar(select(Wallet.debt).where(Wallet.account_id == account.id)) or 0
    if debt:
        found.append(Obstacle(Why.DEBT, account.name, debt))
    return found


def _is_under_way(session: Session, account_id: int) -> bool:
    buying = select(TopUp.id).where(TopUp.account_id == account_id, TopUp.status.in_(("asking", "challenged")))
    refunding = select(RefundIntent.id).where(RefundIntent.account_id == account_id, RefundIntent.status == CREATING)
    return any(session.scalar(query.limit(1)) is not None for query in (buying, refunding))


def _end_buying(session: Session, account_id: int, nobody: str) -> None:
    auto_top_ups.switch_off(session, account_id)
    session.execute(delete(SavedCard).where(SavedCard.account_id == account_id))
    # The account's own key stays, and the mailbox's hash leads to it: whoever comes back has had the trial.
    session.execute(delete(TrialUse).where(TrialUse.account_id == account_id, TrialUse.key.startswith("email:")))
    session.execute(update(LinkPurchase).where(LinkPurchase.account_id == account_id).values(email_key=nobody))
    address_errands.want(session, account_id)
