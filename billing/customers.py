"""One Stripe customer per account, however many tabs ask for it at once, for as long as Stripe knows it.

Who was deleted at Stripe is followed by a new one; the old one's invoices, charges and disputes stay the account's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from flask import current_app
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from accounts.models import Account, FormerCustomer
from billing import address_errands, errors, gateway
from billing.purchase_tables import SavedCard
from config import Config

KEY_SECONDS = 600


def owner_of(session: Session, customer_id: str) -> int | None:
    """Return the id of the account that a customer is, or was until it was deleted at Stripe; None for a stranger."""
    current = session.scalar(select(Account.id).where(Account.stripe_customer_id == customer_id))
    if current is not None:
        return current
    former = session.get(FormerCustomer, customer_id)
    return former.account_id if former is not None else None


def owners_of(session: Session, customer_ids: Iterable[str]) -> dict[str, int]:
    """Return the accounts that some customers are, or were until they were deleted at Stripe."""
    named = set(customer_ids)
    former = select(FormerCustomer.stripe_customer_id, FormerCustomer.account_id)
    current = select(Account.stripe_customer_id, Account.id).where(Account.stripe_customer_id.in_(named))
    rows = [
        *session.execute(former.where(FormerCustomer.stripe_customer_id.in_(named))).all(),
        *session.execute(current).all(),
    ]
    return {str(customer_id): account_id for customer_id, account_id in rows}


def all_of(session: Session, account: Account) -> list[str]:
    """List the customers that an account was at Stripe, oldest first, and the one that it is."""
    query = select(FormerCustomer.stripe_customer_id).where(FormerCustomer.account_id == account.id)
    former = session.scalars(query.order_by(FormerCustomer.replaced_at, FormerCustomer.stripe_customer_id))
    return [*former, *([account.stripe_customer_id] if account.stripe_customer_id else [])]


def ensure(account_id: int) -> str:
    """Return the account's customer id at Stripe, creating the customer on first need.

    The idempotency key makes Stripe answer parallel and repeated requests with the same customer, and the update
    only fills an empty column; a customer is never adopted by e-mail address.
    """
    known, params, key = database.write(_described, account_id)
    if known:
        return known
    failpoints.hit("customer.described")
    customer = gateway.create_customer(params, idempotency_key=key)
    failpoints.hit("customer.made")
    kept = database.write(_keep, account_id, customer["id"], params["email"])
    failpoints.hit("customer.committed")
    return kept


def retire_lost(account_id: int, customer_id: str) -> bool:
    """Retire a customer that was deleted at Stripe, so that the next `ensure` makes one; return whether it was.

    A local Stripe that is reset, or a test key of another account, does not know any customer: those are retired too.
    With a live key they are not: there it would hide that the database belongs to another account.
    """
    try:
        is_lost = bool(gateway.call(lambda c: c.v1.customers.retrieve(customer_id)).get("deleted"))
    except errors.StripeObjectMissing:
        config: Config = current_app.config["TOLLGATE"]
        is_lost = not config.is_live
    if is_lost:
        database.write(retire, account_id, customer_id)
    return is_lost


def retire(session: Session, account_id: int, customer_id: str) -> None:
    """Let a customer who is gone be a former one of an account, and forget its card; safe to repeat.

    Another customer that has taken its place meanwhile is left alone.
    """
    people.lock_account(session, account_id)
    former = database.insert(session, FormerCustomer).values(
        stripe_customer_id=customer_id, account_id=account_id, replaced_at=clock.now()
    )
    session.execute(former.on_conflict_do_nothing(index_elements=["stripe_customer_id"]))
    was_current = session.execute(
        update(Account)
        .where(Account.id == account_id, Account.stripe_customer_id == customer_id)
        .values(stripe_customer_id=None)
        .returning(Account.id)
    ).scalar_one_or_none()
    if was_current is not None:
        session.execute(delete(SavedCard).where(SavedCard.account_id == account_id))


def _described(session: Session, account_id: int) -> tuple[str | None, dict[str, Any], str]:
    account = people.get_account(session, account_id)
    email = people.owner_email(session, account_id)
    params: dict[str, Any] = {"email": email, "metadata": {"account": account.public_id}}
    # The address is part of the key: Stripe refuses a key that comes back with other parameters.
    digest = hashlib.sha256(email.encode()).hexdigest()[:16]
    # Stripe repeats an error of its own under the same key for a day, so the key is another one every ten minutes.
    period = int(clock.now().timestamp()) // KEY_SECONDS
    # Who follows a deleted customer needs a key of its own: under the old one Stripe would name the deleted one again.
    former = session.scalar(select(func.count()).where(FormerCustomer.account_id == account_id))
    return account.stripe_customer_id, params, f"customer:{account.public_id}:{digest}:{period}:{former}"


def _keep(session: Session, account_id: int, customer_id: str, email: str) -> str:
    people.lock_account(session, account_id)
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.stripe_customer_id.is_(None))
        .values(stripe_customer_id=customer_id)
    )
    kept = people.get_account(session, account_id).stripe_customer_id
    if kept is None:
        raise LookupError(f"account {account_id} disappeared")
    if people.owner_email(session, account_id) != email:
        address_errands.want(session, account_id)  # it has changed while Stripe was asked
    return kept
