"""Amounts and lines in words, as Stripe writes them."""

from __future__ import annotations

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


def describe(price: Document, product: Document, quantity: int) -> str:
    """Return a line's words as Stripe writes them: "1 × Pro (at $30.00 / month)"."""
    recurring = price["recurring"]
    every = recurring["interval"]
    if recurring["interval_count"] > 1:
        every = f"every {recurring['interval_count']} {recurring['interval']}s"
    each = money(int(pricing.unit_amount(price)), price["currency"])
    return f"{quantity} × {product['name']} (at {each} / {every})"
