"""What Stripe says that a customer may use: kept as a second opinion, never asked by a gate.

The catalogue's file is the truth, because it answers without a network, at once, and for the free plan too. Stripe's
entitlements follow from the products that were pushed; where they differ, the push or a subscription is wrong, and
`flask doctor` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Account
from billing import access, catalog, stripe_params
from billing.models import StripeObject, Subscription

KIND = "entitlements"


@dataclass(frozen=True)
class Difference:
    """Features that an account has by the catalogue and not at Stripe, and the other way round; lookup keys."""

    account_id: int
    stripe_customer_id: str
    missing: frozenset[str]
    unexpected: frozenset[str]


def at_stripe(session: Session, stripe_customer_id: str) -> frozenset[str] | None:
    """Return the lookup keys of the features that Stripe last said a customer has; None before it said anything."""
    row = session.get(StripeObject, (KIND, stripe_customer_id))
    return None if row is None else frozenset(json.loads(row.body)["lookup_keys"])


def expected(subscription: Subscription | None) -> frozenset[str] | None:
    """Return the lookup keys that follow from the catalogue; None where Stripe and we close a plan at different times.

    Stripe keeps the entitlements of who owes for as long as it tries to charge; we close them after the grace.
    """
    current = catalog.current()
    if subscription is None:
        return frozenset()
    if subscription.stripe_status not in access.OPEN or subscription.plan_key is None:
        return None
    if subscription.price_key in current.overrides:
        return None  # a price configured by hand has a product that no push touches
    plan = access.plan_opened_by(subscription)
    return frozenset(stripe_params.feature_key(current, key) for key in plan.features)


def differences(session: Session) -> Iterator[Difference]:
    """Yield every account whose features differ between the catalogue and Stripe, as far as Stripe has spoken."""
    ours = stripe_params.feature_key(catalog.current(), "")
    query = (
        select(Account.id, StripeObject.stripe_id, Subscription)
        .join(StripeObject, (StripeObject.stripe_id == Account.stripe_customer_id) & (StripeObject.kind == KIND))
        .outerjoin(Subscription, (Subscription.account_id == Account.id) & Subscription.is_primary)
    )
    for account_id, customer_id, subscription in session.execute(query):
        wanted = expected(subscription)
        there = frozenset(key for key in at_stripe(session, customer_id) or () if key.startswith(ours))
        if wanted is not None and wanted != there:
            yield Difference(account_id, customer_id, wanted - there, there - wanted)
