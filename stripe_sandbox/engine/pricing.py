"""What a quantity of a price costs, and how discounts divide over lines. Decimal inside, integers of cents outside."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

Document = dict[str, Any]


def rounded(amount: Decimal) -> int:
    """Round to whole cents, halves away from zero, as Stripe does."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def unit_amount(price: Document) -> Decimal:
    return Decimal(price.get("unit_amount_decimal") or price.get("unit_amount") or 0)


def amount(price: Document, quantity: int | Decimal) -> int:
    """Return the cost of a quantity in cents: per unit, in packages, or by graduated or volume tiers."""
    units = Decimal(quantity)
    transform = price.get("transform_quantity")
    if transform:
        direction = ROUND_CEILING if transform["round"] == "up" else ROUND_FLOOR
        units = (units / transform["divide_by"]).quantize(Decimal(1), direction)
    if price.get("billing_scheme") != "tiered":
        return rounded(unit_amount(price) * units)
    tiers = price["_tiers"]
    return rounded(_volume(tiers, units) if price["tiers_mode"] == "volume" else _graduated(tiers, units))


def _tier_cost(tier: Document, units: Decimal) -> Decimal:
    flat = Decimal(tier["flat_amount_decimal"] or 0)
    return flat + Decimal(tier["unit_amount_decimal"] or 0) * units


def _volume(tiers: list[Document], units: Decimal) -> Decimal:
    tier = next(tier for tier in tiers if tier["up_to"] is None or units <= tier["up_to"])
    return _tier_cost(tier, units)


def _graduated(tiers: list[Document], units: Decimal) -> Decimal:
    total, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = units if tier["up_to"] is None else min(units, Decimal(tier["up_to"]))
        if top > below or (below == 0 and units == 0):
            total += _tier_cost(tier, max(top - below, Decimal(0)))
        below = top
        if below >= units:
            break
    return total


def discount_lines(lines: list[Document], discounts: list[tuple[str, Document]]) -> None:
    """Write `discount_amounts` on lines: `[{"amount", "discount"}]`, each discount on what the earlier ones left.

    `discounts` are pairs of a discount's id and its coupon. A line is any dict with `amount`, `discountable`, and
    `_product`. A fixed amount is spread in proportion, and the last line takes the rest, so that the parts always add
    up.
    """
    for line in lines:
        line["discount_amounts"] = []
    for discount_id, coupon in discounts:
        eligible = [line for line in lines if _is_eligible(line, coupon)]
        left = [line["amount"] - sum(part["amount"] for part in line["discount_amounts"]) for line in eligible]
        for line, off in zip(eligible, _shares(coupon, left), strict=True):
            line["discount_amounts"].append({"amount": off, "discount": discount_id})


def _is_eligible(line: Document, coupon: Document) -> bool:
    only = (coupon.get("_applies_to") or {}).get("products")
    return bool(line["discountable"]) and line["amount"] > 0 and (not only or line.get("_product") in only)


def _shares(coupon: Document, amounts: list[int]) -> list[int]:
    if coupon["percent_off"] is not None:
        rate = Decimal(str(coupon["percent_off"])) / 100
        return [rounded(amount * rate) for amount in amounts]
    total = sum(amounts)
    off = min(coupon["amount_off"], total)
    shares = [rounded(Decimal(off) * amount / total) for amount in amounts[:-1]] if total else [0] * (len(amounts) - 1)
    return [*shares, off - sum(shares)] if amounts else []
