"""Packs paid through payment links: credits that wait until the address they were paid with is shown to be somebody's.

Whoever pays through a link has no account here, and Stripe no customer of ours. A sync that meets such a session keeps
it; the person who proves that the address is theirs gets it, once and for ever, with what was refunded meanwhile taken
off in the same transaction.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

import clock
import database
import failpoints
from accounts import people
from accounts.identity import email_key
from accounts.models import Account, User
from billing import charges, fraud_warnings, fulfilment, sync_queue
from billing.models import StripeObject
from billing.purchase_tables import LinkPurchase
from billing.subscriptions import instant
from mail import links, outbox
from mail.preparing import NotNeeded, Prepared, prepares

Json = dict[str, Any]


def apply(session: Session, kind: str, fetched: Json) -> None:
    """Write down what a fetched object without a customer of ours means; nothing, unless it is of a payment link."""
    if kind == "checkout_session":
        _apply_session(session, fetched)
    elif kind == "charge":
        _apply_charge(session, fetched)
    elif kind == "fraud_warning":
        _apply_fraud_warning(session, fetched)


def claim(session: Session, user: User) -> int:
    """Give a person's account all that was paid with their address; return how many purchases that were.

    The caller vouches that the address is verified. Safe to repeat, and for several at once.
    """
    waiting = select(LinkPurchase).where(LinkPurchase.email_key == user.email_key, LinkPurchase.account_id.is_(None))
    rows = session.scalars(waiting).all()
    for row in rows:
        _give(session, row, people.personal_account(session, user.id).id)
    return len(rows)


def claim_waiting(session: Session, *, limit: int = 100) -> int:
    """Give out what waits although its address is verified; return how many.

    A purchase that was heard of in the moment of the verification can miss it: neither transaction saw the other.
    """
    missed = (
        select(User)
        .join(LinkPurchase, LinkPurchase.email_key == User.email_key)
        .where(LinkPurchase.account_id.is_(None), User.confirmed_at.is_not(None))
        .limit(limit)
    )
    return sum(claim(session, user) for user in session.scalars(missed).unique().all())


def _apply_session(session: Session, fetched: Json) -> None:
    email = ((fetched.get("customer_details") or {}).get("email") or "").strip()
    if not (fetched.get("payment_link") and (fetched.get("metadata") or {}).get("link") and email):
        return
    if fetched["mode"] != "payment" or fetched["payment_status"] == "unpaid":
        return
    row = _keep(session, fetched, email)
    if row.account_id is not None:
        fulfilment.fulfil_session(session, row.account_id, fetched)
        return
    owner = people.find_user(session, email)
    if owner is not None and owner.is_verified:
        _give(session, row, people.personal_account(session, owner.id).id)
        return
    outbox.queue(
        session,
        "credits_waiting",
        to=email,
        context={"stripe_checkout_session_id": fetched["id"], "name": fetched["metadata"]["name"]},
        dedupe_key=f"credits-waiting:{fetched['id']}",
    )


def _apply_charge(session: Session, charge: Json) -> None:
    row = session.scalar(select(LinkPurchase).where(LinkPurchase.stripe_charge_id == charge["id"]))
    if row is None:
        if charge.get("purchase") and charge["paid"]:
            sync_queue.mark_dirty(session, *charge["purchase"])
    elif row.account_id is not None:
        _lock(session, row.account_id)
        charges.apply(session, row.account_id, charge)


def _apply_fraud_warning(session: Session, warning: Json) -> None:
    # Locked, so that whoever is just claiming it either sees this warning or is seen here.
    bought = select(LinkPurchase).where(LinkPurchase.stripe_charge_id == warning["charge"]).with_for_update()
    row = session.scalar(bought)
    if row is not None and row.account_id is not None:
        _lock(session, row.account_id)
        fraud_warnings.apply(session, row.account_id, warning)


def _keep(session: Session, fetched: Json, email: str) -> LinkPurchase:
    payment = fetched.get("payment_intent")
    values = {
        "email_key": email_key(email),
        "body": json.dumps(fetched, separators=(",", ":")),
        "stripe_charge_id": payment.get("latest_charge") if isinstance(payment, dict) else None,
        "paid_at": instant(fetched["created"]),
    }
    insert = database.insert(session, LinkPurchase).values(stripe_checkout_session_id=fetched["id"], **values)
    session.execute(insert.on_conflict_do_nothing(index_elements=["stripe_checkout_session_id"]))
    failpoints.hit("link.kept")
    return session.get_one(LinkPurchase, fetched["id"], populate_existing=True)


def _give(session: Session, row: LinkPurchase, account_id: int) -> None:
    """Let a purchase be an account's, unless it is somebody's already, and grant it as it stands now."""
    _lock(session, account_id)
    free = update(LinkPurchase).where(
        LinkPurchase.stripe_checkout_session_id == row.stripe_checkout_session_id, LinkPurchase.account_id.is_(None)
    )
    taken = free.values(account_id=account_id, claimed_at=clock.now()).returning(LinkPurchase.account_id)
    if session.execute(taken).scalar_one_or_none() is None:
        return
    failpoints.hit("link.taken")
    fulfilment.fulfil_session(session, account_id, json.loads(row.body))
    failpoints.hit("link.given")
    known = session.get(StripeObject, ("charge", row.stripe_charge_id)) if row.stripe_charge_id else None
    if known is not None:
        # What was refunded before anybody claimed it is taken off before anybody can spend it.
        charges.apply(session, account_id, json.loads(known.body))
    for warning in _warnings_of(session, row.stripe_charge_id):
        fraud_warnings.apply(session, account_id, warning)


def _warnings_of(session: Session, charge_id: str | None) -> list[Json]:
    """Return what banks said of a charge while it was nobody's; there are never many of these."""
    kept = select(StripeObject.body).where(
        StripeObject.kind == "fraud_warning", StripeObject.stripe_customer_id.is_(None)
    )
    return [warning for body in session.scalars(kept) if (warning := json.loads(body))["charge"] == charge_id]


def _lock(session: Session, account_id: int) -> None:
    session.execute(select(Account.id).where(Account.id == account_id).with_for_update())


@prepares("credits_waiting")
def prepare(session: Session, mail: Prepared) -> Prepared:
    """Say how to get at the credits; raise NotNeeded when somebody has them."""
    row = session.get(LinkPurchase, mail.context["stripe_checkout_session_id"])
    if row is None or row.account_id is not None:
        raise NotNeeded("the credits have been claimed")
    facts = {"register_url": links.to("auth.register"), "email": mail.to}
    return Prepared(mail.template, mail.to, {**mail.context, **facts})
