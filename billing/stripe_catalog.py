"""Make Stripe sell what the catalogue says: meters, products, prices, and the customer portal.

Everything is looked up before it is written, so pushing twice does nothing the second time, and a push that was killed
is finished by the next one. What push did not make, it leaves alone: its own things carry the catalogue's name in their
metadata. Products have ids of our own, prices are found by lookup key. Amounts of a Stripe price never change: another
amount is another price that takes over the lookup key, and whoever subscribed to the old one keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from billing import catalog, gateway
from billing.catalog import Catalog, Pack, Plan, Price

Json = dict[str, Any]
Action = Literal["create", "change", "archive"]

# The key of the metadata that marks what push made.
MARK = "catalog"
PORTAL_FEATURES: Json = {
    "customer_update": {"enabled": True, "allowed_updates": ["address", "email", "name", "tax_id"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {
        "enabled": True,
        "mode": "at_period_end",
        "cancellation_reason": {
            "enabled": True,
            "options": ["too_expensive", "missing_features", "switched_service", "unused", "too_complex", "other"],
        },
    },
    # Changing the plan has an effect on credits and limits that only the app can show before.
    "subscription_update": {"enabled": False},
}


@dataclass(frozen=True)
class Change:
    """One thing to write at Stripe; `apply` writes it."""

    action: Action
    kind: str
    name: str
    details: str
    apply: Callable[[], object] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Product:
    """A plan or a pack as Stripe's product: `stripe_id` is ours to choose, and stays for ever."""

    stripe_id: str
    name: str
    description: str
    prices: tuple[Price, ...]


def diff() -> list[Change]:
    """Return what push would do, in its order; writes nothing. Raises errors.StripeError."""
    current = catalog.current()
    return [change for step in STEPS for change in step(current)]


def push(on_change: Callable[[Change], object] = lambda _: None) -> list[Change]:
    """Bring Stripe in line with the catalogue and return what was done; nothing when all was as it should be.

    `on_change` is called before each change. Raises errors.StripeError; what was written until then stays, and the next
    push goes on from there.
    """
    current = catalog.current()
    done: list[Change] = []
    for step in STEPS:
        for change in list(step(current)):
            on_change(change)
            change.apply()
            done.append(change)
    return done


def portal_configuration_id() -> str | None:
    """Return the id of the customer portal's configuration that push made; None before the first push."""
    found = _find_portal(catalog.current())
    return str(found["id"]) if found and found["active"] else None


def products(current: Catalog) -> list[Product]:
    """Return what is sold as Stripe's products, without the prices that STRIPE_PRICE_... names by hand."""
    plans = [_product(current, plan, plan.tagline, (*plan.prices, *plan.overages)) for plan in current.plans]
    packs = [_product(current, pack, "Credits that never expire", (pack.price,)) for pack in current.packs]
    return [product for product in (*plans, *packs) if product.prices]


def _product(current: Catalog, offer: Plan | Pack, description: str, prices: tuple[Price, ...]) -> Product:
    own = tuple(price for price in prices if price.key not in current.overrides)
    return Product(f"{current.name}_{offer.key}", offer.name, description, own)


# Meters -------------------------------------------------------------------------------------------------------------


def _meters(current: Catalog) -> Iterator[Change]:
    known = _known_meters(current)
    for meter in current.meters:
        found = known.get(meter.event_name)
        if found is None:
            params = {
                "display_name": meter.name,
                "event_name": meter.event_name,
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            }
            yield Change("create", "meter", meter.event_name, meter.name, partial(_create_meter, params))
            continue
        if found["status"] != "active":
            yield Change("change", "meter", meter.event_name, "counts again", partial(_reactivate_meter, found["id"]))
        if found["display_name"] != meter.name:
            details = f"name {found['display_name']!r} -> {meter.name!r}"
            update = partial(_update_meter, found["id"], {"display_name": meter.name})
            yield Change("change", "meter", meter.event_name, details, update)


def _known_meters(current: Catalog) -> dict[str, Json]:
    if not current.meters:
        return {}
    found = list(gateway.pages(lambda c: c.v1.billing.meters.list({"limit": 100})))
    # An event name can have had other meters before; the one that counts comes last and wins.
    return {meter["event_name"]: meter for meter in sorted(found, key=lambda m: m["status"] == "active")}


def _create_meter(params: Any) -> None:
    gateway.call(lambda c: c.v1.billing.meters.create(params))


def _update_meter(meter_id: str, params: Any) -> None:
    gateway.call(lambda c: c.v1.billing.meters.update(meter_id, params))


def _reactivate_meter(meter_id: str) -> None:
    gateway.call(lambda c: c.v1.billing.meters.reactivate(meter_id))


# Products -----------------------------------------------------------------------------------------------------------


def _products(current: Catalog) -> Iterator[Change]:
    wanted = {product.stripe_id: product for product in products(current)}
    known = _known_products(list(wanted))
    for product in wanted.values():
        yield from _product_changes(current, product, known.get(product.stripe_id))
    for found in gateway.pages(lambda c: c.v1.products.list({"active": True, "limit": 100})):
        if found["metadata"].get(MARK) == current.name and found["id"] not in wanted:
            archive = partial(_update_product, found["id"], {"active": False})
            yield Change("archive", "product", found["id"], found["name"], archive)


def _product_changes(current: Catalog, product: Product, found: Json | None) -> Iterator[Change]:
    content: Json = {"name": product.name, "description": product.description or "", "active": True}
    if found is None:
        params = {key: value for key, value in content.items() if value != ""}
        params |= {"id": product.stripe_id, "metadata": {MARK: current.name}}
        yield Change("create", "product", product.stripe_id, product.name, partial(_create_product, params))
        return
    changed = {key: value for key, value in content.items() if (found[key] or "") != value}
    details = "; ".join(f"{key} {found[key]!r} -> {value!r}" for key, value in changed.items())
    if found["metadata"].get(MARK) != current.name:
        changed["metadata"] = {MARK: current.name}
        details = "; ".join(filter(None, (details, "taken over")))
    if changed:
        yield Change("change", "product", product.stripe_id, details, partial(_update_product, found["id"], changed))


def _known_products(ids: list[str]) -> dict[str, Json]:
    known: dict[str, Json] = {}
    for some in (ids[i : i + 100] for i in range(0, len(ids), 100)):
        params: Any = {"ids": some, "limit": 100}
        known |= {found["id"]: found for found in gateway.call(partial(_list_products, params))["data"]}
    return known


def _list_products(params: Any, client: Any) -> Any:
    return client.v1.products.list(params)


def _create_product(params: Any) -> None:
    gateway.call(lambda c: c.v1.products.create(params))


def _update_product(product_id: str, params: Any) -> None:
    gateway.call(lambda c: c.v1.products.update(product_id, params))


# Prices -------------------------------------------------------------------------------------------------------------


def _prices(current: Catalog) -> Iterator[Change]:
    holders = _price_holders(current)
    meters = {event_name: str(found["id"]) for event_name, found in _known_meters(current).items()}
    events = {meter.key: meter.event_name for meter in current.meters}
    kept = {
        holders[current.price(key).lookup_key]["id"] for key in current.overrides if _is_held(current, key, holders)
    }
    for product in products(current):
        for price in product.prices:
            params = _price_params(current, product, price, meters.get(events.get(price.meter or "", "")))
            found = holders.get(price.lookup_key)
            if found is None or not _is_same(found, params):
                details = f"{_terms(found)} -> {_terms(params)}" if found else _terms(params)
                yield Change("create", "price", price.lookup_key, details, partial(_create_price, params))
                continue
            kept.add(found["id"])
            if not found["active"]:
                update = partial(_update_price, found["id"], {"active": True})
                yield Change("change", "price", price.lookup_key, "sold again", update)
    for found in gateway.pages(lambda c: c.v1.prices.list({"active": True, "limit": 100, "expand": ["data.tiers"]})):
        if found["metadata"].get(MARK) == current.name and found["id"] not in kept:
            archive = partial(_update_price, found["id"], {"active": False})
            name = found["metadata"].get("lookup_key") or found["id"]
            yield Change("archive", "price", name, f"{_terms(found)}; subscribers keep it", archive)


def _price_holders(current: Catalog) -> dict[str, Json]:
    """Return the prices that hold the catalogue's lookup keys, archived ones included."""
    keys = [price.lookup_key for price in current.prices]
    holders: dict[str, Json] = {}
    for some in (keys[i : i + 10] for i in range(0, len(keys), 10)):  # Stripe takes at most 10 at once
        params: Any = {"lookup_keys": some, "limit": 100, "expand": ["data.tiers"]}
        holders |= {found["lookup_key"]: found for found in gateway.call(partial(_list_prices, params))["data"]}
    return holders


def _is_held(current: Catalog, key: str, holders: dict[str, Json]) -> bool:
    return current.price(key).lookup_key in holders


def _price_params(current: Catalog, product: Product, price: Price, meter_id: str | None) -> Json:
    """Describe a price as Stripe's request does; a meter that is not there yet has no id."""
    params: Json = {
        "product": product.stripe_id,
        "currency": price.currency,
        "lookup_key": price.lookup_key,
        "transfer_lookup_key": True,
        "nickname": price.key,
        "metadata": {MARK: current.name, "lookup_key": price.lookup_key},
    }
    if price.interval:
        params["recurring"] = {"interval": price.interval}
    if not price.is_metered:
        return {**params, "unit_amount": price.amount_cents}
    params["recurring"] |= {"usage_type": "metered", "meter": meter_id}
    included = {"up_to": price.included_units, "unit_amount": 0}
    beyond = {"up_to": "inf", "unit_amount_decimal": str(price.cents_per_unit)}
    return {**params, "billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": [included, beyond]}


def _is_same(found: Json, params: Json) -> bool:
    return (found["product"], found["currency"], _rhythm(found), _amounts(found)) == (
        params["product"],
        params["currency"],
        _rhythm(params),
        _amounts(params),
    )


def _rhythm(price: Json) -> tuple[object, ...] | None:
    recurring = price.get("recurring")
    if not recurring:
        return None
    usage_type = recurring.get("usage_type", "licensed")
    return recurring["interval"], recurring.get("interval_count", 1), usage_type, recurring.get("meter")


def _amounts(price: Json) -> object:
    """Return what a price charges in a form that compares, from a request or from Stripe's answer."""
    if price.get("billing_scheme") != "tiered":
        return price.get("unit_amount")
    tiers = [(tier.get("up_to"), _unit_amount(tier), tier.get("flat_amount") or 0) for tier in price.get("tiers") or []]
    return price.get("tiers_mode"), [(None if up_to == "inf" else up_to, unit, flat) for up_to, unit, flat in tiers]


def _unit_amount(tier: Json) -> Decimal:
    exact = tier.get("unit_amount_decimal")
    return Decimal(str(exact if exact is not None else tier.get("unit_amount") or 0))


def _terms(price: Json) -> str:
    """Say what a price charges: "3000 usd a month", in the currency's smallest unit as the catalogue does."""
    interval = (price.get("recurring") or {}).get("interval")
    every = f" a {interval}" if interval else ""
    if price.get("billing_scheme") != "tiered":
        return f"{price.get('unit_amount')} {price['currency']}{every}"
    tiers = price.get("tiers") or [{}]
    return f"{_unit_amount(tiers[-1])} {price['currency']} each beyond {tiers[0].get('up_to')}{every}"


def _list_prices(params: Any, client: Any) -> Any:
    return client.v1.prices.list(params)


def _create_price(params: Any) -> None:
    gateway.call(lambda c: c.v1.prices.create(params))


def _update_price(price_id: str, params: Any) -> None:
    gateway.call(lambda c: c.v1.prices.update(price_id, params))


# The customer portal ------------------------------------------------------------------------------------------------


def _portal(current: Catalog) -> Iterator[Change]:
    found = _find_portal(current)
    if found is None:
        params = {"name": f"Catalogue {current.name}", "features": PORTAL_FEATURES, "metadata": {MARK: current.name}}
        yield Change("create", "portal", current.name, "cards, invoices, cancellation", partial(_create_portal, params))
        return
    if not found["active"]:
        yield Change(
            "change", "portal", found["id"], "open again", partial(_update_portal, found["id"], {"active": True})
        )
    changed = {
        name: wanted for name, wanted in PORTAL_FEATURES.items() if not _contains(found["features"][name], wanted)
    }
    if changed:
        update = partial(_update_portal, found["id"], {"features": changed})
        yield Change("change", "portal", found["id"], ", ".join(changed), update)


def _find_portal(current: Catalog) -> Json | None:
    found = gateway.pages(lambda c: c.v1.billing_portal.configurations.list({"limit": 100}))
    ours = [one for one in found if (one["metadata"] or {}).get(MARK) == current.name]
    # Killed between two pushes at once there can be two: the oldest is the one that everybody finds.
    return min(ours, key=lambda one: (one["created"], one["id"]), default=None)


def _contains(found: Any, wanted: Any) -> bool:
    """Tell whether an answer holds all that was wanted; Stripe adds defaults, and lists have no order."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and sorted(found) == sorted(wanted)
    return bool(found == wanted)


def _create_portal(params: Any) -> None:
    gateway.call(lambda c: c.v1.billing_portal.configurations.create(params))


def _update_portal(configuration_id: str, params: Any) -> None:
    gateway.call(lambda c: c.v1.billing_portal.configurations.update(configuration_id, params))


# Later steps need what earlier ones made: a metered price names its meter, every price its product.
STEPS: tuple[Callable[[Catalog], Iterator[Change]], ...] = (_meters, _products, _prices, _portal)
