"""What a renewal costs and what use beyond the plan adds to it, discounts taken off as Stripe takes them off.

Which discounts that invoice will have only Stripe knows: one that lasts once may be used up, a customer's own may join.
So the sync of a subscription asks for a preview, off any page, and keeps their terms; pages reckon with them, so that
what was used a second ago is in the amount. The customer's cap is counted before discounts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy.orm import Session

from billing import access, catalog, subscriptions, usage_standing
from billing.models import StripeObject, Subscription
from billing.subscriptions import instant
from billing.usage_standing import Standing

Json = dict[str, Any]

# The key of a kept subscription under which stripe_usage.retrieve_subscription puts the terms.
TERMS = "coming_discounts"


@dataclass
class _Line:
    """What an item comes to in cents, less the discounts so far, and the product that it is of."""

    cents: int
    product: str | None


def by_meter(session: Session, account_id: int, standings: Sequence[Standing]) -> dict[str, int]:
    """Return what the use of each meter adds to the coming invoice, in cents, by the meters' keys.

    One after the other in the order given, so that they add up to what all of them add.
    """
    if not any(standing.amount_cents for standing in standings):
        return {standing.meter: 0 for standing in standings}
    row = access.subscription_of(session, account_id)
    body = _kept(session, row) if row is not None else {}
    if row is None or not body.get(TERMS):
        return {standing.meter: standing.amount_cents for standing in standings}
    added: dict[str, int] = {}
    for number, standing in enumerate(standings):
        with_it, without_it = standings[: number + 1], standings[:number]
        added[standing.meter] = _total(row, body, with_it) - _total(row, body, without_it)
    return added


def total(session: Session, account_id: int) -> int:
    """Return what the use of all meters adds to the coming invoice, in cents."""
    return sum(by_meter(session, account_id, usage_standing.of_every_meter(session, account_id)).values())


def renewal_cents(session: Session, row: Subscription, cents: int) -> int:
    """Return what a period of a plan costs at its next renewal, which would cost so many without discounts."""
    body = _kept(session, row)
    if not body.get(TERMS):
        return cents
    line = _Line(cents, subscriptions.plan_item(body)["price"]["product"])
    _take_all_off(body, [line], at=row.period_ends_at)
    return line.cents


def _kept(session: Session, row: Subscription) -> Json:
    kept = session.get(StripeObject, ("subscription", row.stripe_id))
    body: Json = json.loads(kept.body) if kept is not None else {}
    return body


def _total(row: Subscription, body: Json, standings: Sequence[Standing]) -> int:
    lines = [_Line(s.amount_cents, _product_of(body, s.meter)) for s in standings if s.amount_cents]
    ends_at = next((standing.ends_at for standing in standings), None)
    # A yearly plan's own line is on one of twelve invoices only; use is billed by the month.
    if row.amount_cents is not None and (ends_at is None or row.period_ends_at == ends_at):
        lines.insert(0, _Line(row.amount_cents, subscriptions.plan_item(body)["price"]["product"]))
    _take_all_off(body, lines, at=ends_at)
    return sum(line.cents for line in lines)


def _take_all_off(body: Json, lines: list[_Line], *, at: datetime | None) -> None:
    """Take off the discounts of an invoice that is made at an instant, one after the other."""
    for terms in body[TERMS]:
        until = instant(terms["end"])
        if until is None or at is None or until > at:
            _take_off(terms, lines)


def _take_off(terms: Json, lines: list[_Line]) -> None:
    """Take one discount off the lines that it is for: a share of each, or an amount of all together."""
    eligible = [line for line in lines if not terms["products"] or line.product in terms["products"]]
    if terms["percent_off"] is not None:
        for line in eligible:
            line.cents -= _rounded(line.cents * Decimal(str(terms["percent_off"])) / 100)
        return
    left, amount = sum(line.cents for line in eligible), terms["amount_off"]
    off = min(amount, left)
    for line in eligible[:-1]:
        share = _rounded(Decimal(off) * line.cents / left) if left else 0
        line.cents, off, left = line.cents - share, off - share, left - line.cents
    if eligible:
        eligible[-1].cents -= off


def _product_of(body: Json, meter: str) -> str | None:
    for item in body["items"]["data"]:
        key = subscriptions.price_key_of(item["price"])
        if key is not None and catalog.current().price(key).meter == meter:
            return str(item["price"]["product"])
    return None


def _rounded(cents: Decimal) -> int:
    return int(cents.quantize(Decimal(1), ROUND_HALF_UP))
