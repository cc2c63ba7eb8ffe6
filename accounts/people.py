"""Who is who: users by address, the personal account made with each user, accounts by their ids."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.identity import email_key
from accounts.models import OWNER, Account, Membership, User

AccountHook = Callable[[Session, int], None]

_account_hooks: list[AccountHook] = []


class AccountNotFound(LookupError):
    """No account answers to this id."""


def after_account_created(hook: AccountHook) -> None:
    """Call `hook(session, account_id)` in the transaction that makes an account; an exception undoes the sign-up.

    Billing grants the free plan's credits this way, so that `accounts` need not know of billing.
    """
    if hook not in _account_hooks:
        _account_hooks.append(hook)


def create_personal_account(session: Session, user: User) -> Account:
    """Make the account that bills one person, with that person as its owner, and run the hooks.

    The name is the address's part before the @ until its owner chooses another.
    """
    session.flush()
    account = Account(name=user.email.partition("@")[0], personal_user_id=user.id)
    session.add(account)
    session.flush()
    session.add(Membership(account_id=account.id, user_id=user.id, role=OWNER))
    session.flush()
    for hook in _account_hooks:
        hook(session, account.id)
    return account


def personal_account(session: Session, user_id: int) -> Account:
    """Return the account that was made with the user; raise AccountNotFound when there is none."""
    account = session.scalar(select(Account).where(Account.personal_user_id == user_id))
    if account is None:
        raise AccountNotFound(f"user {user_id} has no personal account")
    return account


def get_account(session: Session, account_id: int) -> Account:
    """Return an account by its id; raise AccountNotFound."""
    account = session.get(Account, account_id)
    if account is None:
        raise AccountNotFound(f"there is no account {account_id}")
    return account


def find_account(session: Session, *, public_id: str) -> Account | None:
    """Return the account with this public id."""
    return session.scalar(select(Account).where(Account.public_id == public_id))


def find_account_of_customer(session: Session, stripe_customer_id: str) -> Account | None:
    """Return the account that a Stripe customer belongs to."""
    return session.scalar(select(Account).where(Account.stripe_customer_id == stripe_customer_id))


def find_user(session: Session, email: str) -> User | None:
    """Return the person behind an address, however it is spelled (identity.email_key)."""
    return session.scalar(select(User).where(User.email_key == email_key(email)))


def owner_email(session: Session, account_id: int) -> str:
    """Return the address that mail about an account goes to: its first owner's; raise AccountNotFound."""
    owners = (
        select(User.email)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.account_id == account_id, Membership.role == OWNER)
        .order_by(Membership.id)
    )
    email = session.scalar(owners.limit(1))
    if email is None:
        raise AccountNotFound(f"account {account_id} has no owner")
    return email
