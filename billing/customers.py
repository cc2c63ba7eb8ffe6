"""One Stripe customer per account, for ever, however many tabs ask for it at once."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import current_app
from sqlalchemy import update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from accounts.models import Account
from billing import errors, gateway
from config import Config

KEY_SECONDS = 600


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
    kept = database.write(_keep, account_id, customer["id"])
    failpoints.hit("customer.committed")
    return kept


def tell_address(account_id: int) -> None:
    """Let Stripe know whose address an account's mail goes to now; nothing to do where nothing was ever bought."""
    customer_id, params, key = database.write(_described, account_id)
    if customer_id is None:
        return
    told: Any = {"email": params["email"]}
    gateway.call(lambda c: c.v1.customers.update(customer_id, told, {"idempotency_key": f"address-of-{key}"}))


def forget_lost(account_id: int, customer_id: str) -> bool:
    """Forget a customer that Stripe does not know, so that the next `ensure` makes one; return whether it was lost.

    A local Stripe that is reset, or a test key of another account, loses every customer. With a live key nothing is
    forgotten: there it would hide that the database belongs to another account.
    """
    config: Config = current_app.config["TOLLGATE"]
    if config.is_live:
        return False
    try:
        gateway.call(lambda c: c.v1.customers.retrieve(customer_id))
    except errors.StripeObjectMissing:
        database.write(_forget, account_id, customer_id)
        return True
    return False


def _forget(session: Session, account_id: int, customer_id: str) -> None:
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.stripe_customer_id == customer_id)
        .values(stripe_customer_id=None)
    )


def _described(session: Session, account_id: int) -> tuple[str | None, dict[str, Any], str]:
    account = people.get_account(session, account_id)
    email = people.owner_email(session, account_id)
    params: dict[str, Any] = {"email": email, "metadata": {"account": account.public_id}}
    # The address is part of the key: Stripe refuses a key that comes back with other parameters.
    digest = hashlib.sha256(email.encode()).hexdigest()[:16]
    # Stripe repeats an error of its own under the same key for a day, so the key is another one every ten minutes.
    period = int(clock.now().timestamp()) // KEY_SECONDS
    return account.stripe_customer_id, params, f"customer:{account.public_id}:{digest}:{period}"


def _keep(session: Session, account_id: int, customer_id: str) -> str:
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.stripe_customer_id.is_(None))
        .values(stripe_customer_id=customer_id)
    )
    kept = people.get_account(session, account_id).stripe_customer_id
    if kept is None:
        raise LookupError(f"account {account_id} disappeared")
    return kept
