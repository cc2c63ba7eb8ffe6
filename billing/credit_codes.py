"""Codes that give credits without money: so many times in all, once per account, until a day."""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import clock
import database
from accounts import former_mailboxes, people
from accounts.models import Account
from billing import errors
from billing.purchase_tables import CreditCode, CreditCodeUse
from ledger import granting

PATTERN = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")
MAX_LENGTH = 40
# Without the letters and digits that are taken for one another.
ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"


def create(
    session: Session, code: str, *, credits: int, max_uses: int, expires_at: datetime | None = None, note: str = ""
) -> CreditCode:
    """Make a code; raise CodeTaken, and ValueError in words for what cannot be one."""
    code = normal(code)
    if not 4 <= len(code) <= MAX_LENGTH or not PATTERN.fullmatch(code):
        raise ValueError(f"A code has 4 to {MAX_LENGTH} letters, digits and hyphens between them, such as SPRING-2027.")
    if credits < 1 or max_uses < 1:
        raise ValueError("A code gives at least one credit, at least once.")
    if expires_at is not None and expires_at <= clock.now():
        raise ValueError("The code would have expired already.")
    row = CreditCode(
        code=code, credits=credits, max_uses=max_uses, uses=0, expires_at=expires_at, note=note, created_at=clock.now()
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise errors.CodeTaken(code) from error
    return row


def new_code() -> str:
    """Return a code that nobody guesses: 12 characters in three groups."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))


def normal(typed: str) -> str:
    """Return a code as it is stored, however it was typed."""
    return "".join(typed.split()).upper()


def redeem(session: Session, account_id: int, typed: str) -> int:
    """Give an account the credits of a code, once; return how many. Raises CodeRefused, and then changes nothing.

    The account is locked before the code. The count goes up only while it is below the cap, in one statement, so that
    no number of people at once gets past it; the row of the use keeps an account from a second one.
    """
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())
    row = session.get(CreditCode, normal(typed)[: MAX_LENGTH + 1])
    if row is None:
        raise errors.CodeRefused("unknown")
    use = database.insert(session, CreditCodeUse).values(code=row.code, account_id=account_id, used_at=clock.now())
    use = use.on_conflict_do_nothing(index_elements=["code", "account_id"]).returning(CreditCodeUse.code)
    if session.execute(use).scalar_one_or_none() is None:
        raise errors.CodeRefused("used")
    if _was_used_before(session, row.code, account_id):
        raise errors.CodeRefused("used")
    if row.expires_at is not None and row.expires_at <= clock.now():
        raise errors.CodeRefused("expired")
    one_more = update(CreditCode).where(CreditCode.code == row.code, CreditCode.uses < CreditCode.max_uses)
    counted = one_more.values(uses=CreditCode.uses + 1).returning(CreditCode.uses)
    if session.execute(counted, execution_options={"synchronize_session": False}).scalar_one_or_none() is None:
        raise errors.CodeRefused("gone")
    granting.grant(
        session, account_id, row.credits, kind="promo", source=f"promo:{row.code}", note=f"Gift, code {row.code}"
    )
    return row.credits


def _was_used_before(session: Session, code: str, account_id: int) -> bool:
    """Tell whether an account that this one's mailbox had before has used a code."""
    former = former_mailboxes.accounts_of(session, people.owner_email(session, account_id))
    others = [each for each in former if each != account_id]
    used = select(CreditCodeUse.code).where(CreditCodeUse.code == code, CreditCodeUse.account_id.in_(others))
    return bool(others) and session.scalar(used.limit(1)) is not None


def everything(session: Session) -> list[CreditCode]:
    """List the codes, the newest first."""
    return list(session.scalars(select(CreditCode).order_by(CreditCode.created_at.desc(), CreditCode.code)))
