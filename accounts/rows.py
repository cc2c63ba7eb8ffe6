"""A person and an account as pages read them: plain values of one moment, which nobody can change by mistake.

What is to be changed is read again inside `database.write`, as an object of accounts/models.py.
See docs/adr/0017-pages-read-rows-and-not-objects.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from accounts.models import Account, User


@dataclass(frozen=True, slots=True)
class PersonRow:
    """Somebody who is signed in: what Flask-Login asks of `current_user`, and what pages say of a person."""

    id: int
    email: str
    email_key: str
    confirmed_at: datetime | None
    is_staff: bool

    is_authenticated = True
    is_active = True  # the sessions and keys of a disabled person are not found
    is_anonymous = False

    @property
    def is_verified(self) -> bool:
        """Whether the person has shown that the address is theirs."""
        return self.confirmed_at is not None

    def get_id(self) -> str:
        """Return what Flask-Login would put into the cookie; ours names the session instead (web/sessions.py)."""
        return str(self.id)


class AccountRow(NamedTuple):
    """An account that somebody acts for; what each of these is stands in Account."""

    id: int
    public_id: str
    name: str
    stripe_customer_id: str | None
    personal_user_id: int | None
    billing_notice: str | None


PERSON_COLUMNS = (User.id, User.email, User.email_key, User.confirmed_at, User.is_staff)
ACCOUNT_COLUMNS = tuple(getattr(Account, field) for field in AccountRow._fields)


def of_person(user: User) -> PersonRow:
    """Return a person's values."""
    return PersonRow(user.id, user.email, user.email_key, user.confirmed_at, user.is_staff)


def of_account(account: Account) -> AccountRow:
    """Return an account's values."""
    return AccountRow(*[getattr(account, field) for field in AccountRow._fields])
