"""Amounts and lines in words, as Stripe writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from stripe_sandbox.engine import pricing

Document = dict[str, Any]

ZERO_DECIMAL = {
    "bif",
    "clp",
    "djf",
    "gnf",
    "jpy",
    "kmf",
    "krw",
    "mga",
    "pyg",
    "rwf",
    "ugx",
    "vnd",
    "vuv",
    "xaf",
    "xof",
    "xpf",
}
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "cad": "CA$", "aud": "A$", "inr": "₹", "brl": "R$"}


def money(amount: int, currency: str) -> str:
    """Write an amount as people read it: 1500 in usd is "$15.00"."""
    symbol = SYMBOLS.get(currency, f"{currency.upper()} ")
    sign = "-" if amount < 0 else ""
    if currency in ZERO_DECIMAL:
        return f"{sign}{symbol}{abs(amount):,}"
    return f"{sign}{symbol}{abs(amount) // 100:,}.{abs(amount) % 100:02d}"


def describe_usage(price: Document, product: Document, used: Decimal) -> str:
    """Return the words of a metered line: "1200 × API calls (at $0.01 / month)", or just the count with tiers."""
    units = format(used.normalize(), "f")
    if price["billing_scheme"] == "tiered":
        return f"{units} × {product['name']}"
    cents = pricing.unit_amount(price)
    each = (
        money(int(cents), price["currency"])
        if cents == int(cents)
        else f"{cents.normalize():f} {price['currency']} cents"
    )
    return f"{units} × {product['name']} (at {each} / {price['recurring']['interval']})"


def remaining(product: Document, quantity: int, at: int) -> str:
    """Return the words of a charge for the rest of a period: "Remaining time on 2 × Pro after 21 Nov 2026"."""
    return f"Remaining time on {_many(product, quantity)} after {_day(at)}"


def unused(product: Document, quantity: int, at: int) -> str:
    """Return the words of a credit for the rest of a period: "Unused time on Basic after 21 Nov 2026"."""
    return f"Unused time on {_many(product, quantity)} after {_day(at)}"


def _many(product: Document, quantity: int) -> str:
    name: str = product["name"]
    return name if quantity == 1 else f"{quantity} × {name}"


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}".lstrip("0")


def describe(price: Document, product: Document, quantity: int) -> str:
    """Return a line's words as Stripe writes them: "1 × Pro (at $30.00 / month)"."""
    recurring = price["recurring"]
    every = recurring["interval"]
    if recurring["interval_count"] > 1:
        every = f"every {recurring['interval_count']} {recurring['interval']}s"
    each = money(int(pricing.unit_amount(price)), price["currency"])
    return f"{quantity} × {product['name']} (at {each} / {every})"
