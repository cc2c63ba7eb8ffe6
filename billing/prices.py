"""Find the Stripe price to sell for a catalogue key."""

from __future__ import annotations

from billing import catalog, errors, gateway


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
