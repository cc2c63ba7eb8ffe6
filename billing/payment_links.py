"""Payment links: one address at Stripe per pack, at which anybody can buy it."""

from __future__ import annotations

from typing import Any

import failpoints
from billing import catalog, gateway, prices, top_ups
from billing.stripe_params import OWNER

Json = dict[str, Any]


def ensure(price_key: str, *, base_url: str) -> str:
    """Return the address of a pack's payment link, made if need be; one that sells at an old price is closed.

    Safe to repeat, and for two at once. Raises catalog.UnknownOffer for what is no pack on sale, PriceMissing,
    PriceChanged, and errors.StripeError.
    """
    pack = top_ups.pack_on_sale(price_key)
    wanted = _params(pack, prices.stripe_price_id(price_key), base_url)
    made = _links_of(price_key)
    current = next((link for link in made if link["active"] and link["metadata"] == wanted["metadata"]), None)
    for link in made:
        if link["active"] and link is not current:
            _close(link["id"])
    return str(current["url"]) if current else _make(wanted, generation=len(made))


def _links_of(price_key: str) -> list[Json]:
    every: Any = {"limit": 100}
    listed = gateway.pages(lambda c: c.v1.payment_links.list(every))
    name = catalog.current().name
    return [
        link for link in listed if link["metadata"].get(OWNER) == name and link["metadata"].get("link") == price_key
    ]


def _close(link_id: str) -> None:
    closed: Any = {"active": False}
    gateway.call(lambda c: c.v1.payment_links.update(link_id, closed))


def _make(wanted: Json, *, generation: int) -> str:
    params: Any = wanted
    # Two commands at once share the key; a link that was closed since is not given out again.
    key = "payment-link:{link}:{price}:{credits}".format(**wanted["metadata"])
    once: Any = {"idempotency_key": f"{key}:{generation}"}
    made = gateway.call(lambda c: c.v1.payment_links.create(params, once))
    failpoints.hit("link.made")
    return str(made["url"])


def _params(pack: catalog.Pack, stripe_price_id: str, base_url: str) -> Json:
    # Stripe copies a link's metadata to each of its sessions: what is promised here is what is granted.
    metadata = {
        OWNER: catalog.current().name,
        "link": pack.price.key,
        "price": stripe_price_id,
        "price_key": pack.price.key,
        "name": pack.name,
        "credits": str(pack.credits),
    }
    return {
        "line_items": [{"price": stripe_price_id, "quantity": 1}],
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
        # Nobody's customer: an account's own is made when it buys here, and none is adopted by address.
        "customer_creation": "if_required",
        "after_completion": {"type": "redirect", "redirect": {"url": f"{base_url}/pricing/paid"}},
    }
