"""Who is who: users by address, the personal account made with each user, accounts by their ids."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import clock
import failpoints
from accounts import sessions
from accounts.identity import email_key
from accounts.models import OWNER, Account, Membership, User
from prepared import Reading

AccountHook = Callable[[Session, int], None]

VerifiedHook = Callable[[Session, User], object]

# The domain of addresses that stand for nobody: RFC 2606 keeps it from ever being one.
NOBODY = "deleted.invalid"

_account_hooks: list[AccountHook] = []
_closed_hooks: list[AccountHook] = []
_verified_hooks: list[VerifiedHook] = []

# Built once: pages of a signed-in person ask for them.
_PERSONAL = select(Account).where(Account.personal_user_id == bindparam("user_id"))
_OWNERS = Reading(
    select(User.email)
    .join(Membership, Membership.user_id == User.id)
    .where(Membership.account_id == bindparam("account_id"), Membership.role == OWNER)
    .order_by(Membership.id)
    .limit(1),
    str,
)


class AccountNotFound(LookupError):
    """No account answers to this id."""


class AddressTaken(Exception):
    """Somebody has this address already, perhaps in another spelling."""


def after_account_created(hook: AccountHook) -> None:
    """Call `hook(session, account_id)` in the transaction that makes an account; an exception undoes the sign-up.

    Billing grants the free plan's credits this way, so that `accounts` need not know of billing.
    """
    if hook not in _account_hooks:
        _account_hooks.append(hook)


def after_verified(hook: VerifiedHook) -> None:
    """Call `hook(session, user)` in the transaction that shows an address to be a person's.

    Billing hands over what was paid with that address this way.
    """
    if hook not in _verified_hooks:
        _verified_hooks.append(hook)


def after_account_closed(hook: AccountHook) -> None:
    """Call `hook(session, account_id)` in the transaction that closes an account.

    A product removes what it kept for the account this way: `accounts` knows of none.
    """
    if hook not in _closed_hooks:
        _closed_hooks.append(hook)


def run_closed_hooks(session: Session, account_id: int) -> None:
    """Tell everybody who asked for it that an account closes."""
    for hook in _closed_hooks:
        hook(session, account_id)


def nobody(user_id: int) -> str:
    """Return the address of a person who is gone: no mail goes there."""
    return f"deleted-{user_id}@{NOBODY}"


def is_nobody(email: str) -> bool:
    """Tell whether an address stands for a person who is gone."""
    return email.endswith(f"@{NOBODY}")


def verify(session: Session, user: User) -> None:
    """Write down that a person has shown that the address is theirs, unless it was known; run the hooks."""
    user.confirmed_at = user.confirmed_at or clock.now()
    session.flush()
    for hook in _verified_hooks:
        hook(session, user)


def create_user(
    session: Session, *, email: str, password_hash: str | None, confirmed_at: datetime | None = None
) -> User:
    """Make a person and, in the same transaction, their personal account; raise AddressTaken.

    `password_hash` comes from passwords.hashed, which is slow: make it before the transaction.
    """
    if find_user(session, email) is not None:
        raise AddressTaken(email)
    user = User(
        email=email,
        email_key=email_key(email),
        password=password_hash,
        confirmed_at=confirmed_at,
        fs_uniquifier=new_uniquifier(),
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        # Two sign-ups of one address, confirmed in the same moment: the second finds the first only here.
        raise AddressTaken(email) from error
    failpoints.hit("verify.user_stored")
    create_personal_account(session, user)
    if user.is_verified:
        verify(session, user)
    return user


def set_password(session: Session, user: User, password_hash: str) -> None:
    """Change a password and end every session and every reset link of the person.

    Raises StaleDataError when the person's row was changed since it was read.
    """
    user.password = password_hash
    user.fs_uniquifier = new_uniquifier()
    sessions.revoke_all(session, user.id)
    session.flush()


def new_uniquifier() -> str:
    """Return the random key that Flask-Security's tokens are bound to."""
    return secrets.token_hex(32)


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
    failpoints.hit("verify.account_stored")
    for hook in _account_hooks:
        hook(session, account.id)
    return account


def personal_account(session: Session, user_id: int) -> Account:
    """Return the account that was made with the user; raise AccountNotFound when there is none."""
    account = session.scalar(_PERSONAL, {"user_id": user_id})
    if account is None:
        raise AccountNotFound(f"user {user_id} has no personal account")
    return account


def get_account(session: Session, account_id: int) -> Account:
    """Return an account by its id; raise AccountNotFound."""
    account = session.get(Account, account_id)
    if account is None:
        raise AccountNotFound(f"there is no account {account_id}")
    return account


def lock_account(session: Session, account_id: int) -> None:
    """Lock an account's row, before anything else is locked, so that what touches the account takes turns."""
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())


def find_account(session: Session, *, public_id: str) -> Account | None:
    """Return the account with this public id."""
    return session.scalar(select(Account).where(Account.public_id == public_id))


def find_user(session: Session, email: str) -> User | None:
    """Return the person behind an address, however it is spelled (identity.email_key)."""
    return session.scalar(select(User).where(User.email_key == email_key(email)))


def password_hash_of(session: Session, user_id: int) -> str | None:
    """Return the hash of a person's password, None for whoever has none."""
    return session.scalar(select(User.password).where(User.id == user_id))


def store_rehash(session: Session, user_id: int, password_hash: str) -> None:
    """Store the same password under today's hash settings; sessions and links stay as they are."""
    session.get_one(User, user_id, with_for_update=True).password = password_hash


def is_uniquifier(session: Session, uniquifier: str) -> bool:
    """Tell whether a reset link made for this key can still be used."""
    return session.scalar(select(User.id).where(User.fs_uniquifier == uniquifier, User.active)) is not None


def find_user_by_uniquifier(session: Session, uniquifier: str) -> User | None:
    """Return the person a reset link was made for, and lock the row until the transaction ends."""
    return session.scalar(select(User).where(User.fs_uniquifier == uniquifier).with_for_update())


def owner_email(session: Session, account_id: int) -> str:
    """Return the address that mail about an account goes to: its first owner's; raise AccountNotFound."""
    email = _OWNERS.first(session, account_id=account_id)
    if email is None:
        raise AccountNotFound(f"account {account_id} has no owner")
    return email
