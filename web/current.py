"""Who is asking, and for which account: their own, or one that they are a member of and have chosen."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, session
from flask_login import current_user

from accounts import memberships, people
from accounts.models import OWNER, Account
from billing import seats
from extensions import db

# The key of the browser's session under which the chosen account's public id stands.
CHOSEN = "account"


@dataclass(frozen=True)
class Acting:
    """The account that a person acts for, and as what; `owner` is the address of whom it is billed to.

    `is_own` says that it is billed to them: their personal account, or one that was handed over to them. `has_lost`
    tells that they had chosen one that they do not belong to any more.
    """

    account: Account
    role: str
    owner: str
    is_own: bool = True
    has_lost: bool = False


def acting() -> Acting:
    """Return for which account the signed-in person acts; raise AccountNotFound when nobody is signed in.

    The choice is checked against the memberships on every request; without one nothing is asked, because the personal
    account came with the session.
    """
    found: Acting | None = g.get("acting")
    if found is None:
        if not current_user.is_authenticated:
            raise people.AccountNotFound("nobody is signed in")
        found = g.acting = _chosen() or _own(has_lost=_forget_choice())
    return found


def current_account() -> Account:
    """Return the account that the signed-in person acts for; raise AccountNotFound when nobody is signed in.

    It is read once per request, from the request's own session.
    """
    return acting().account


def find_current_account() -> Account | None:
    """Return the account that the visitor acts for, None when nobody is signed in."""
    return current_account() if "acting" in g or current_user.is_authenticated else None


def choose(account: Account) -> None:
    """Act for this account from now on; the caller has seen that the person belongs to it."""
    act_for_oneself()
    if account.personal_user_id != current_user.id:
        session[CHOSEN] = account.public_id


def act_for_oneself() -> None:
    """Act for the person's own account from now on, which may be another one than this request began with."""
    g.pop("acting", None)
    g.pop("personal_account", None)
    session.pop(CHOSEN, None)


def team() -> Account | None:
    """Return the account that the visitor acts for where it is not their personal one, for the header of pages."""
    if CHOSEN not in session or not current_user.is_authenticated:
        return None
    account = acting().account
    return None if account.personal_user_id == current_user.id else account


def _chosen() -> Acting | None:
    if CHOSEN not in session or not seats.are_sold():
        return None
    found = memberships.find(db.session(), current_user.id, str(session[CHOSEN]))
    return None if found is None else Acting(found.account, found.role, found.owner, is_own=found.role == OWNER)


def _own(*, has_lost: bool) -> Acting:
    if "personal_account" not in g:
        g.personal_account = people.personal_account(db.session(), current_user.id)
    return Acting(g.personal_account, OWNER, current_user.email, has_lost=has_lost)


def _forget_choice() -> bool:
    return session.pop(CHOSEN, None) is not None
