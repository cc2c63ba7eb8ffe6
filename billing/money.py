"""Amounts in words: Stripe's integers of a currency's smallest unit, as people write them."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "cad": "CA$", "aud": "A$"}
# Currencies without a smaller unit, so that Stripe's amounts are whole: https://docs.stripe.com/currencies#zero-decimal
ZERO_DECIMAL = {
    *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"),
    *("pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"),
}

TYPED = re.compile(r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,9})(?:\.(?P<rest>[0-9]{1,2}))?")


def in_words(amount_cents: int, currency: str, *, trim: bool = False) -> str:
    """Say an amount in a currency's smallest unit: 2000, "usd" is "$20.00"; with trim whole amounts are "$20"."""
    currency = currency.lower()
    sign = MINUS if amount_cents < 0 else ""
    whole, rest = divmod(abs(amount_cents), 1 if currency in ZERO_DECIMAL else 100)
    figure = f"{whole:,}"
    if currency not in ZERO_DECIMAL and not (trim and rest == 0):
        figure += f".{rest:02d}"
    symbol = SYMBOLS.get(currency)
    return f"{sign}{symbol}{figure}" if symbol else f"{sign}{figure} {currency.upper()}"


def read(text: str, currency: str) -> int:
    """Read an amount that a person typed, "20", "20.5" or "1,250.00", in the currency's smallest unit.

    Raises ValueError for anything else, also for more decimals than the currency has.
    """
    decimals = 0 if currency.lower() in ZERO_DECIMAL else 2
    found = TYPED.fullmatch(text.strip().lstrip(SYMBOLS.get(currency.lower(), "")).strip())
    if found is None or len(found["rest"] or "") > decimals:
        raise ValueError(f"{text!r} is no amount in {currency}")
    whole = int(str(found["whole"]).replace(",", ""))
    return whole * (100 if decimals else 1) + int((found["rest"] or "").ljust(decimals, "0") or 0)
