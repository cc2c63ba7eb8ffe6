"""The catalogue's promotions as Stripe's coupons and promotion codes.

A coupon never changes at Stripe, so its id names its terms: other terms make another coupon, and the code that people
type moves to it. What a code has given stays with whoever has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast

from billing import errors, gateway, money, stripe_params
from billing.catalog import Catalog
from billing.promotions import Promotion
from billing.stripe_changes import Action, Change, Kind

Json = dict[str, Any]


def find(wanted: Catalog) -> dict[str, Json]:
    """Return the newest promotion code of each of ours, by the code that is typed."""
    every = gateway.pages(lambda c: c.v1.promotion_codes.list({"limit": 100}))
    ours = [code for code in every if (code["metadata"] or {}).get(stripe_params.OWNER) == wanted.name]
    return {code["code"]: code for code in reversed(ours)}


def changes(wanted: Catalog, found: dict[str, Json]) -> Iterator[Change]:
    """Yield the differences between the catalogue's promotions and what was found.

    A code that has been used up or has expired is inactive at Stripe and stays as it is; one that was taken out of the
    file and is back is opened again.
    """
    for promotion in wanted.promotions:
        params, known = _params(wanted, promotion), found.get(promotion.code)
        if known is None:
            yield Change(Action.CREATE, Kind.PROMOTION, promotion.code, in_words(wanted, promotion), params=params)
        elif known["metadata"].get("terms") != params["code"]["metadata"]["terms"]:
            words = in_words(wanted, promotion)
            yield Change(Action.REPLACE, Kind.PROMOTION, promotion.code, words, known["id"], params)
        elif known["metadata"].get("archived"):
            again = {"active": True, "metadata": {"archived": ""}}
            yield Change(Action.UPDATE, Kind.PROMOTION, promotion.code, "open again", known["id"], again)
    codes = {promotion.code for promotion in wanted.promotions}
    for code, known in found.items():
        if known["active"] and code not in codes:
            yield Change(Action.ARCHIVE, Kind.PROMOTION, code, "no longer offered", known["id"])


def apply(change: Change, once: Any) -> None:
    """Write one change; `once` is the idempotency key for what is made."""
    if change.action in {Action.REPLACE, Action.ARCHIVE}:
        closed: Any = {"active": False, "metadata": {"archived": "yes"}}
        gateway.call(lambda c: c.v1.promotion_codes.update(change.stripe_id, closed))
    if change.action == Action.UPDATE:
        gateway.call(lambda c: c.v1.promotion_codes.update(change.stripe_id, cast(Any, change.params)))
    if change.action in {Action.CREATE, Action.REPLACE}:
        try:
            gateway.call(lambda c: c.v1.coupons.create(cast(Any, change.params["coupon"])))
        except errors.StripeRefused as refused:
            if refused.code != "resource_already_exists":
                raise
        gateway.call(lambda c: c.v1.promotion_codes.create(cast(Any, change.params["code"]), once))


def in_words(wanted: Catalog, promotion: Promotion) -> str:
    """Say what a promotion takes off: "10% off the first payment"."""
    off = f"{promotion.percent_off}%"
    if promotion.amount_off_cents is not None:
        off = money.in_words(promotion.amount_off_cents, wanted.currency)
    span = {0: "every payment", 1: "the first payment"}.get(promotion.months, f"the first {promotion.months} months")
    return f"{off} off {span}"


def _params(wanted: Catalog, promotion: Promotion) -> Json:
    coupon: Json = {"name": promotion.name[:40]}  # Stripe's limit
    if promotion.percent_off is not None:
        coupon["percent_off"] = promotion.percent_off
    else:
        coupon |= {"amount_off": promotion.amount_off_cents, "currency": wanted.currency}
    coupon["duration"] = {0: "forever", 1: "once"}.get(promotion.months, "repeating")
    if coupon["duration"] == "repeating":
        coupon["duration_in_months"] = promotion.months
    code: Json = {"code": promotion.code}
    if promotion.max_uses is not None:
        code["max_redemptions"] = promotion.max_uses
    if promotion.expires_on is not None:
        ends = datetime.combine(promotion.expires_on, time(), UTC) + timedelta(days=1)
        code["expires_at"] = int(ends.timestamp())
    if promotion.is_for_first_purchase:
        code["restrictions"] = {"first_time_transaction": True}
    digest = hashlib.sha256(repr((sorted(coupon.items()), sorted(code.items()))).encode()).hexdigest()[:10]
    metadata = {stripe_params.OWNER: wanted.name, "terms": digest}
    coupon_id = f"tollgate_{wanted.name}_{promotion.key}_{digest}"
    return {
        "coupon": {"id": coupon_id, **coupon, "metadata": metadata},
        "code": {**code, "promotion": {"type": "coupon", "coupon": coupon_id}, "metadata": metadata},
    }
