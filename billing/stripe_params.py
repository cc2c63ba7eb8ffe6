"""What Stripe should hold for a catalogue, in the words of its requests; nothing here talks to Stripe."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing.catalog import Catalog, Feature, Meter, Pack, Plan, Price
from config import Config

Json = dict[str, Any]

# Objects that we made carry this key with the catalogue's name; we change and archive nothing that does not.
OWNER = "tollgate_catalog"

CANCELLATION_REASONS = ["too_expensive", "missing_features", "switched_service", "unused", "too_complex", "other"]


def product_id(catalog: Catalog, key: str) -> str:
    """Return the id of a product, which is ours to choose, so that a push finds it again without any note."""
    return f"tollgate_{catalog.name}_{key}"


def products(catalog: Catalog) -> dict[str, Json]:
    """Return the products by id: one for each plan that costs something, each kind of overage, and each pack.

    What is retired is not among them, nor among the prices: a push archives it.
    """
    wanted: dict[str, Json] = {}
    for plan in catalog.plans_for_sale:
        if any(_is_managed(catalog, price) for price in plan.prices):
            wanted[product_id(catalog, plan.key)] = _plan_product(catalog, plan)
        for price in plan.overages:
            if _is_managed(catalog, price):
                wanted[product_id(catalog, price.key)] = _overage_product(catalog, plan, price)
    for pack in catalog.packs_for_sale:
        if _is_managed(catalog, pack.price):
            wanted[product_id(catalog, pack.key)] = _pack_product(catalog, pack)
    return wanted


def prices(catalog: Catalog, meter_ids: dict[str, str]) -> dict[str, Json]:
    """Return the prices by lookup key, without those configured by hand; `meter_ids` are by event name.

    A metered price whose meter does not exist yet has "" in its place.
    """
    wanted: dict[str, Json] = {}
    for plan in catalog.plans_for_sale:
        for price in plan.prices:
            wanted[price.lookup_key] = _price(catalog, price, plan.key)
        for price in plan.overages:
            event_name = next(m.event_name for m in catalog.meters if m.key == price.meter)
            wanted[price.lookup_key] = _price(catalog, price, price.key, meter_ids.get(event_name, ""))
    for pack in catalog.packs_for_sale:
        wanted[pack.price.lookup_key] = _price(catalog, pack.price, pack.key)
    configured = {catalog.price(key).lookup_key for key in catalog.overrides}
    return {key: params for key, params in wanted.items() if key not in configured}


def feature_key(catalog: Catalog, key: str) -> str:
    """Return the lookup key of a feature."""
    return f"{catalog.name}_{key}"


def feature(catalog: Catalog, wanted: Feature) -> Json:
    """Return a feature of the catalogue as an entitlement."""
    return {
        "lookup_key": feature_key(catalog, wanted.key),
        "name": wanted.name[:80],  # Stripe's limit
        "metadata": {OWNER: catalog.name},
    }


def includes(catalog: Catalog) -> dict[str, list[str]]:
    """Return the lookup keys of the features of each plan's product."""
    sold = products(catalog)
    ids = {plan.key: product_id(catalog, plan.key) for plan in catalog.plans}
    return {
        ids[plan.key]: [feature_key(catalog, key) for key in plan.features]
        for plan in catalog.plans
        if ids[plan.key] in sold
    }


def meter(wanted: Meter) -> Json:
    """Return a meter that adds up the value of each event of a customer."""
    return {
        "display_name": wanted.name,
        "event_name": wanted.event_name,
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "value_settings": {"event_payload_key": "value"},
    }


def portal(catalog: Catalog, config: Config) -> Json:
    """Return the Customer Portal: cards, invoices, tax ids, and cancelling at the end of the period.

    Changing the plan is not in it: this app shows what a change costs and what it does to credits before it is made.
    """
    params: Json = {
        "name": f"{config.app_name} ({catalog.name})",
        "features": {
            "customer_update": {"enabled": True, "allowed_updates": ["address", "name", "tax_id"]},
            "invoice_history": {"enabled": True},
            "payment_method_update": {"enabled": True},
            "subscription_cancel": {
                "enabled": True,
                "mode": "at_period_end",
                "cancellation_reason": {"enabled": True, "options": CANCELLATION_REASONS},
            },
            "subscription_update": {"enabled": False},
        },
        "metadata": {OWNER: catalog.name},
    }
    if config.is_https:
        params["business_profile"] = {
            "privacy_policy_url": f"{config.app_base_url}/privacy",
            "terms_of_service_url": f"{config.app_base_url}/terms",
        }
    return params


def _is_managed(catalog: Catalog, price: Price) -> bool:
    return price.key not in catalog.overrides


def _plan_product(catalog: Catalog, plan: Plan) -> Json:
    lines = [f"{plan.credits:,} credits a month"] if plan.credits else []
    lines += [catalog.feature(key).name for key in plan.features]
    return _product(catalog, plan.key, plan.name, lines=lines, description=plan.tagline)


def _overage_product(catalog: Catalog, plan: Plan, price: Price) -> Json:
    name = next(m.name for m in catalog.meters if m.key == price.meter)
    return _product(catalog, price.key, f"{name} beyond {plan.name}", lines=[])


def _pack_product(catalog: Catalog, pack: Pack) -> Json:
    return _product(catalog, pack.key, pack.name, lines=[], description="Credits that never expire")


def _product(catalog: Catalog, key: str, name: str, *, lines: list[str], description: str = "") -> Json:
    params = {"description": description} if description else {}  # Stripe shows it beside the name at the checkout
    return {
        **params,
        "name": name,
        "active": True,
        "marketing_features": [{"name": line[:80]} for line in lines[:15]],  # Stripe's limits
        "metadata": {OWNER: catalog.name, "offer_key": key},
    }


def _price(catalog: Catalog, price: Price, offer_key: str, meter_id: str | None = None) -> Json:
    # Amount, currency, interval and product never change on a Stripe price. The key is in the metadata as well, because
    # the lookup key moves on to the next price when the amount changes, while subscribers stay on this one.
    params: Json = {
        "product": product_id(catalog, offer_key),
        "currency": price.currency,
        "lookup_key": price.lookup_key,
        "metadata": {OWNER: catalog.name, "price_key": price.key},
    }
    if price.is_metered:
        params["recurring"] = {"interval": price.interval, "usage_type": "metered", "meter": meter_id}
        return {**params, **_beyond(price.included_units, price.cents_per_unit or Decimal(0))}
    params["unit_amount"] = price.amount_cents
    if price.interval:
        params["recurring"] = {"interval": price.interval}
    return params


def _beyond(included_units: int, cents_per_unit: Decimal) -> Json:
    if not included_units:
        return {"unit_amount_decimal": cents_per_unit}
    free = {"up_to": included_units, "unit_amount": 0}
    rest = {"up_to": "inf", "unit_amount_decimal": cents_per_unit}
    return {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": [free, rest]}
