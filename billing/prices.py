"""Find the Stripe price to sell for a catalogue key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing import catalog, errors, gateway

Json = dict[str, Any]


def stripe_price_id(price_key: str) -> str:
    """Return the id of the active Stripe price of a catalogue key: the configured one, else the lookup key's.

    It is asked for each time, and compared with what the pages say: nobody is sent to pay another amount than the one
    they were shown. Raises PriceMissing, and PriceChanged until the app has been restarted with the pushed catalogue.
    """
    current = catalog.current()
    configured = current.overrides.get(price_key)
    if configured:
        return configured
    shown = current.price(price_key)
    found = gateway.find_prices([shown.lookup_key])
    if not found:
        raise errors.PriceMissing(shown.lookup_key)
    if (found[0]["unit_amount"], found[0]["currency"]) != (shown.amount_cents, shown.currency):
        raise errors.PriceChanged(shown.lookup_key)
    return str(found[0]["id"])


def metered_price_id(price_key: str) -> str:
    """Return the id of the active Stripe price by which a plan's use is billed; raises as `stripe_price_id` does."""
    current = catalog.current()
    configured = current.overrides.get(price_key)
    if configured:
        return configured
    shown = current.price(price_key)
    found = gateway.find_prices([shown.lookup_key])
    if not found:
        raise errors.PriceMissing(shown.lookup_key)
    stripe_price_id = str(found[0]["id"])
    if metered_terms(gateway.retrieve_price(stripe_price_id)) != (shown.included_units, shown.cents_per_unit):
        raise errors.PriceChanged(shown.lookup_key)
    return stripe_price_id


def metered_terms(stripe_price: Json) -> tuple[int, Decimal]:
    """Return how many units a price by use includes, and the cents of each one beyond."""
    tiers = stripe_price.get("tiers") or []
    rest = tiers[-1] if tiers else stripe_price
    amount = rest.get("unit_amount_decimal")
    amount = rest.get("unit_amount") if amount is None else amount
    return int(tiers[0]["up_to"]) if len(tiers) > 1 else 0, Decimal(str(amount or 0))
