"""What has become of a checkout: the truth for the page that people return to."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

import database
import failpoints
from billing import access, catalog, errors, sync, trials
from billing.models import CheckoutIntent, StripeObject

BUDGET_SECONDS = 5.0


class State(StrEnum):
    """How far a checkout has come."""

    PAID = "paid"
    CONFIRMING = "confirming"
    UNPAID = "unpaid"
    EXPIRED = "expired"
    SECOND_TRIAL = "second_trial"


@dataclass(frozen=True)
class Outcome:
    """What the return page says; `credits` are those of a pack, and 0 for a plan.

    `paid_cents` is what the card paid, `from_balance_cents` what the customer's balance at Stripe did beside it.
    """

    state: State
    price_key: str
    name: str
    is_plan: bool
    credits: int
    trial_days: int
    renews_at: datetime | None
    paid_cents: int
    from_balance_cents: int
    currency: str


def bring_in_line(stripe_session_id: str) -> bool:
    """Sync a checkout session and what it made, as the worker would; return False when Stripe was too slow.

    What did not succeed within about 5 s stays dirty, and the worker goes on with it.
    """
    started = time.monotonic()
    try:
        sync.run_now("checkout_session", stripe_session_id)
        failpoints.hit("returned.session_synced")
        for kind, object_id in database.write(_made_by, stripe_session_id):
            if time.monotonic() - started > BUDGET_SECONDS:
                return False
            sync.run_now(kind, object_id)
    except errors.BillingError:
        return False
    failpoints.hit("returned.synced")
    return True


def of(session: Session, intent: CheckoutIntent, *, is_fresh: bool) -> Outcome:
    """Return what has become of an intent; without a fresh look at Stripe nothing is said to have failed."""
    stripe_session = _mirrored(session, intent.stripe_session_id or "") or {}
    promised = stripe_session.get("metadata") or {}
    paid_cents, from_balance_cents = _paid(session, stripe_session)
    subscription = access.subscription_of(session, intent.account_id) if intent.mode == "subscription" else None
    return Outcome(
        state=_state(session, intent, is_fresh=is_fresh),
        price_key=intent.price_key,
        name=promised.get("name") or _name_of(intent.price_key),
        is_plan=intent.mode == "subscription",
        credits=int(promised.get("credits") or 0),
        trial_days=intent.trial_days,
        renews_at=subscription.period_ends_at if subscription else None,
        paid_cents=paid_cents,
        from_balance_cents=from_balance_cents,
        currency=stripe_session.get("currency") or catalog.current().currency,
    )


def _paid(session: Session, stripe_session: dict[str, Any]) -> tuple[int, int]:
    """Return what a completed checkout took from the card, and from the customer's balance: its invoice knows."""
    row = session.get(StripeObject, ("invoice", dict(_named_in(stripe_session)).get("invoice", "")))
    if row is None:
        return stripe_session.get("amount_total") or 0, 0
    invoice = json.loads(row.body)
    return invoice["amount_paid"], max(0, (invoice.get("ending_balance") or 0) - invoice["starting_balance"])


def _name_of(price_key: str) -> str:
    current = catalog.current()
    return current.offer(price_key).name if current.has_price(price_key) else "Your order"


def _state(session: Session, intent: CheckoutIntent, *, is_fresh: bool) -> State:
    stripe_session = _mirrored(session, intent.stripe_session_id or "")
    if stripe_session is None:
        return State.CONFIRMING
    if stripe_session["status"] == "complete":
        if _had_trial_before(session, stripe_session):
            return State.SECOND_TRIAL
        return State.PAID if _is_settled(session, intent, stripe_session) else State.CONFIRMING
    if not is_fresh:
        return State.CONFIRMING
    return State.EXPIRED if stripe_session["status"] == "expired" else State.UNPAID


def _is_settled(session: Session, intent: CheckoutIntent, stripe_session: dict[str, Any]) -> bool:
    if stripe_session["payment_status"] == "unpaid":
        return False
    if intent.mode == "payment":
        return True
    return not access.plan_of(session, intent.account_id).is_free


def _had_trial_before(session: Session, stripe_session: dict[str, Any]) -> bool:
    made = dict(_named_in(stripe_session))
    row = session.get(StripeObject, ("subscription", made.get("subscription", "")))
    return row is not None and trials.was_ended(json.loads(row.body))


def _made_by(session: Session, stripe_session_id: str) -> list[tuple[str, str]]:
    return _named_in(_mirrored(session, stripe_session_id) or {})


def _named_in(stripe_session: dict[str, Any]) -> list[tuple[str, str]]:
    named = [(kind, stripe_session.get(kind)) for kind in ("subscription", "invoice")]
    return [(kind, value["id"] if isinstance(value, dict) else value) for kind, value in named if value]


def _mirrored(session: Session, stripe_session_id: str) -> dict[str, Any] | None:
    row = session.get(StripeObject, ("checkout_session", stripe_session_id))
    return None if row is None else json.loads(row.body)
