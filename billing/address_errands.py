"""Telling Stripe whose address an account's mail goes to now: written down with the change, carried out by the worker.

An errand is a number that goes up (`wanted`) and the one that Stripe has heard (`told`). The address itself is read
when the worker sets out, so several changes in a row need one request; a change that comes while a worker is under
way is another number, and waits for that worker's lease, so that an older address never arrives after a newer one.
Of an account that was closed Stripe hears that there is nobody any more: its customer is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import CheckConstraint, ForeignKey, String, func, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

import clock
import database
import failpoints
from accounts import people
from accounts.models import Account
from billing import errors, gateway, sync_queue
from database import BigId, UtcDateTime
from extensions import Base

log = structlog.get_logger(__name__)

# Longer than the slowest request with all of its retries (billing/gateway.py).
LEASE = timedelta(seconds=120)
LONGEST_WAIT = timedelta(hours=1)


class AddressErrand(Base):
    """What Stripe has yet to be told of an account's address; one row for each account that ever had something."""

    __tablename__ = "address_errands"
    __table_args__ = (CheckConstraint("told <= wanted", name="told"),)

    account_id: Mapped[int] = mapped_column(BigId, ForeignKey("accounts.id"), primary_key=True)
    wanted: Mapped[int] = mapped_column(default=1)
    told: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(500))


@dataclass(frozen=True)
class _Claim:
    account_id: int
    wanted: int
    attempt: int
    public_id: str
    customer_id: str | None
    email: str
    is_closed: bool


def want(session: Session, account_id: int) -> None:
    """Promise that Stripe hears of an account's present address, in the transaction that changes it.

    Nothing to do for an account that Stripe does not know: it is made with the address of that moment, and whoever
    keeps it looks once more (billing/customers.py). The caller holds the account's lock.
    """
    if session.scalar(select(Account.stripe_customer_id).where(Account.id == account_id)) is None:
        return
    now = clock.now()
    new = database.insert(session, AddressErrand).values(
        account_id=account_id, wanted=1, told=0, attempts=0, next_at=now
    )
    again = {"wanted": AddressErrand.wanted + 1, "attempts": 0, "next_at": now}
    session.execute(new.on_conflict_do_update(index_elements=["account_id"], set_=again))
    failpoints.hit("address.promised")


def carry_out_due(limit: int = 20) -> int:
    """Tell Stripe every address that is due; return how many errands were tried. Call it outside of transactions."""
    for tried in range(limit):
        claim = database.write(_claim)
        if claim is None:
            return tried
        failpoints.hit("address.claimed")
        _carry_out(claim)
        failpoints.hit("address.committed")
    return limit


def waiting(session: Session) -> int:
    """Count the accounts of whose address Stripe has yet to hear."""
    query = select(func.count()).select_from(AddressErrand).where(AddressErrand.told < AddressErrand.wanted)
    return session.scalar(query) or 0


def _carry_out(claim: _Claim) -> None:
    try:
        _tell(claim)
    except errors.StripeObjectMissing as error:
        log.warning("Stripe knows no such customer", account_id=claim.account_id, error=str(error))
    except errors.StripeError as error:
        log.warning("address not told", account_id=claim.account_id, attempt=claim.attempt, error=str(error))
        database.write(_postpone, claim, str(error), error.retry_after)
        return
    failpoints.hit("address.told")
    database.write(_complete, claim)


def _tell(claim: _Claim) -> None:
    if claim.customer_id is None:
        return
    if claim.is_closed:
        _delete_customer(claim.customer_id)
        return
    told: Any = {"email": claim.email}
    # Of each attempt its own: under a key that comes back Stripe would repeat its answer and change nothing.
    once: Any = {"idempotency_key": f"address:{claim.public_id}:{claim.wanted}:{claim.attempt}"}
    customer_id = claim.customer_id
    gateway.call(lambda c: c.v1.customers.update(customer_id, told, once))


def _delete_customer(customer_id: str) -> None:
    """Delete a customer, which ends whatever would still charge them; checkouts that wait are closed before."""
    waiting: Any = {"customer": customer_id, "status": "open", "limit": 100}
    for waits in list(gateway.pages(lambda c: c.v1.checkout.sessions.list(waiting))):
        gateway.expire_checkout_session(waits["id"])
    gateway.call(lambda c: c.v1.customers.delete(customer_id))


def _claim(session: Session) -> _Claim | None:
    now = clock.now()
    due = (
        select(AddressErrand)
        .where(AddressErrand.told < AddressErrand.wanted, AddressErrand.next_at <= now)
        .where(or_(AddressErrand.leased_until.is_(None), AddressErrand.leased_until <= now))
        .order_by(AddressErrand.next_at, AddressErrand.account_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.scalar(due)
    if row is None:
        return None
    row.attempts += 1
    row.leased_until = now + LEASE
    account = people.get_account(session, row.account_id)
    email = people.owner_email(session, row.account_id)
    return _Claim(
        row.account_id,
        row.wanted,
        row.attempts,
        account.public_id,
        account.stripe_customer_id,
        email,
        is_closed=account.closed_at is not None,
    )


def _complete(session: Session, claim: _Claim) -> None:
    done = update(AddressErrand).where(AddressErrand.account_id == claim.account_id, AddressErrand.told < claim.wanted)
    session.execute(done.values(told=claim.wanted, leased_until=None, last_error=None))
    if claim.is_closed and claim.customer_id is not None:
        sync_queue.mark_dirty(session, "customer", claim.customer_id)


def _postpone(session: Session, claim: _Claim, error: str, retry_after: float) -> None:
    wait = min(timedelta(seconds=2 ** min(claim.attempt, 12)), LONGEST_WAIT)
    next_at = clock.now() + max(wait, timedelta(seconds=retry_after))
    row = session.get_one(AddressErrand, claim.account_id, with_for_update=True)
    row.leased_until, row.last_error = None, error[:500]
    if row.wanted == claim.wanted:  # otherwise there is news, which need not wait for what went wrong before
        row.next_at = next_at
