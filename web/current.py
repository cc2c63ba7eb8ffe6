"""Who is asking, and for which account: their own, or one that they are a member of and have chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flask import g, session
from flask_login import current_user
from sqlalchemy.orm import SessionTransaction

from accounts import memberships, people, rows
from accounts.models import OWNER, Account
from accounts.rows import AccountRow, PersonRow
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

    account: AccountRow
    role: str
    owner: str
    is_own: bool = True
    has_lost: bool = False


def person() -> PersonRow | None:
    """Return who is signed in, None when nobody is; `current_user`, which is asked again and again, in a fraction."""
    known: Any = g.get("_login_user") or current_user._get_current_object()
    return known if known.is_authenticated else None


def acting() -> Acting:
    """Return for which account the signed-in person acts; raise AccountNotFound when nobody is signed in.

    The choice is checked against the memberships on every request; without one nothing is asked, because the personal
    account came with the session.
    """
    found: Acting | None = g.get("acting")
    if found is None:
        who = person()
        if who is None:
            raise people.AccountNotFound("nobody is signed in")
        return act(_chosen(who) or _own(who, has_lost=_forget_choice()))
    if not _is_of_now():
        return act(replace(found, account=_read_again(found.account)))
    return found


def act(now: Acting) -> Acting:
    """Let this request act for an account, as it was just read."""
    g.acting, g.account_read_in = now, db.session().get_transaction()
    return now


def note_personal(account: AccountRow | None) -> None:
    """Keep the person's own account, which came with their session, for whoever asks next."""
    g.pop("acting", None)
    g.personal_account, g.account_read_in = account, db.session().get_transaction()


def current_account() -> AccountRow:
    """Return the account that the signed-in person acts for; raise AccountNotFound when nobody is signed in.

    It is read once per request, and again when the request has written something.
    """
    return acting().account


def find_current_account() -> AccountRow | None:
    """Return the account that the visitor acts for, None when nobody is signed in."""
    return current_account() if "acting" in g or person() is not None else None


def choose(account: Account) -> None:
    """Act for this account from now on; the caller has seen that the person belongs to it."""
    act_for_oneself()
    who = person()
    if who is not None and account.personal_user_id != who.id:
        session[CHOSEN] = account.public_id


def act_for_oneself() -> None:
    """Act for the person's own account from now on, which may be another one than this request began with."""
    g.pop("acting", None)
    g.pop("personal_account", None)
    session.pop(CHOSEN, None)


def team() -> AccountRow | None:
    """Return the account that the visitor acts for where it is not their personal one, for the header of pages."""
    who = person() if CHOSEN in session else None
    if who is None:
        return None
    account = acting().account
    return None if account.personal_user_id == who.id else account


def _chosen(who: PersonRow) -> Acting | None:
    if CHOSEN not in session or not seats.are_sold():
        return None
    found = memberships.find(db.session(), who.id, str(session[CHOSEN]))
    if found is None:
        return None
    return Acting(rows.of_account(found.account), found.role, found.owner, is_own=found.role == OWNER)


def _own(who: PersonRow, *, has_lost: bool) -> Acting:
    account: AccountRow | None = g.get("personal_account")
    if account is None or not _is_of_now():
        account = rows.of_account(people.personal_account(db.session(), who.id))
    return Acting(account, OWNER, who.email, has_lost=has_lost)


def _is_of_now() -> bool:
    # A write ends the transaction that the request reads in: what was read before may be otherwise since.
    read_in: SessionTransaction | None = g.account_read_in
    return read_in is not None and read_in.is_active


def _read_again(account: AccountRow) -> AccountRow:
    return rows.of_account(people.get_account(db.session(), account.id))


def _forget_choice() -> bool:
    return session.pop(CHOSEN, None) is not None
