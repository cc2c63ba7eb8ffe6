"""Spending that pauses and goes on, with a mail to whoever it concerns; staff may lift a pause for good.

The ledger keeps the causes. What is added here: a waiver outlives every later sync of the same cause, and each change
promises its mail in the same transaction.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from accounts import people
from billing.reversals import FreezeWaiver
from ledger import freezing
from ledger.models import Freeze, Transaction, TransactionKind
from mail import links, outbox
from mail.models import KEPT, SENT, Email
from mail.preparing import NotNeeded, Prepared, prepares

BY_STAFF = "staff"


def stop(session: Session, account_id: int, cause: str, *, reason: str, actor: str | None = None) -> bool:
    """Pause an account's spending for a cause and tell its owner; False when it was paused for it, or may not be."""
    if session.get(FreezeWaiver, (account_id, cause)) is not None:
        return False
    if not freezing.freeze(session, account_id, cause, reason=reason, actor=actor):
        return False
    _promise(session, "spending_paused", account_id, cause)
    return True


def let_go(session: Session, account_id: int, cause: str, *, reason: str, actor: str | None = None) -> bool:
    """Remove one cause and, where the owner was told of it, promise the news that spending goes on."""
    if not freezing.unfreeze(session, account_id, cause, reason=reason, actor=actor):
        return False
    _promise(session, "spending_resumed", account_id, cause)
    return True


def causes(session: Session, account_id: int) -> list[Freeze]:
    """Return what an account's spending is paused for, oldest first."""
    query = select(Freeze).where(Freeze.account_id == account_id).order_by(Freeze.frozen_at, Freeze.cause)
    return list(session.scalars(query))


@prepares("spending_paused")
def prepare_paused(session: Session, mail: Prepared) -> Prepared:
    """Say why spending is paused; raise NotNeeded when that is over."""
    freeze = session.get(Freeze, (mail.context["account_id"], mail.context["cause"]))
    if freeze is None:
        raise NotNeeded("spending goes on again")
    is_dispute = freeze.cause.startswith("dispute:")
    return Prepared(mail.template, mail.to, {**mail.context, "is_dispute": is_dispute, **_addresses()})


@prepares("spending_resumed")
def prepare_resumed(session: Session, mail: Prepared) -> Prepared:
    """Say that spending goes on; raise NotNeeded when it does not, or when nobody was told that it had stopped."""
    account_id = mail.context["account_id"]
    if causes(session, account_id):
        raise NotNeeded("spending is paused for another cause")
    told = select(Email.id).where(
        Email.dedupe_key == _key("spending_paused", account_id, mail.context["cause"], mail.context["number"]),
        Email.status.in_((SENT, KEPT)),
    )
    if session.scalar(told) is None:
        raise NotNeeded("nobody was told that it had stopped")
    return Prepared(mail.template, mail.to, {**mail.context, **_addresses()})


def _promise(session: Session, template: str, account_id: int, cause: str) -> None:
    try:
        email = people.owner_email(session, account_id)
    except people.AccountNotFound:
        return  # nobody to write to; the pause stands
    number = _times_frozen(session, account_id, cause)
    outbox.queue(
        session,
        template,
        to=email,
        context={"account_id": account_id, "cause": cause, "number": number},
        dedupe_key=_key(template, account_id, cause, number),
        account_id=account_id,
    )


def _times_frozen(session: Session, account_id: int, cause: str) -> int:
    query = select(func.count()).where(
        Transaction.account_id == account_id,
        Transaction.kind == TransactionKind.FREEZE,
        Transaction.reference == cause,
    )
    return session.scalar(query) or 0


def _key(template: str, account_id: int, cause: str, number: int) -> str:
    return f"{template}:{account_id}:{cause}:{number}"


def _addresses() -> dict[str, str]:
    return {"billing_url": links.to("billing.index"), "statement_url": links.to("billing.statement")}
