"""Find the Stripe price to sell for a catalogue key."""

from __future__ import annotations

from billing import catalog, errors, gateway


def stripe_price_id(price_key: str) -> str:
    """Return the id of the active Stripe price of a catalogue key: the configured one, else the lookup key's.

    It is asked for each time, so that a changed amount is sold from the moment it is pushed. Raises PriceMissing.
    """
    current = catalog.current()
    configured = current.overrides.get(price_key)
    if configured:
        return configured
    lookup_key = current.price(price_key).lookup_key
    found = gateway.find_prices([lookup_key])
    if not found:
        raise errors.PriceMissing(lookup_key)
    return str(found[0]["id"])
