"""Make Stripe sell what the catalogue says, and show beforehand what that would change.

Every push looks first, does what is missing, and looks again until nothing is: so it may be repeated, killed half-way,
or run by two people at once. What was not made from this catalogue is never touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from flask import current_app

import failpoints
from billing import catalog, errors, gateway, money, stripe_features, stripe_params, stripe_promotions
from billing.catalog import Catalog
from billing.stripe_changes import Action, Change, Kind
from config import Config

Json = dict[str, Any]

ROUNDS = 4
PER = {"month": " a month", "year": " a year"}


@dataclass(frozen=True)
class Found:
    """What Stripe holds now: our products and portal, and every price that is ours or has one of our lookup keys."""

    meters: list[Json]
    products: dict[str, Json]
    features: stripe_features.Found
    prices: list[Json]
    portal: Json | None
    promotions: dict[str, Json] = field(default_factory=dict)


class PushUnfinished(errors.BillingError):
    """Stripe still differs from the catalogue after a push; `changes` are what is left."""

    status = 502

    def __init__(self, changes: list[Change]) -> None:
        left = ", ".join(f"{c.action} {c.kind} {c.name}" for c in changes)
        super().__init__(f"Stripe still differs from the catalogue: {left}. Another push may be running: try again.")
        self.changes = changes


def plan_changes() -> list[Change]:
    """Return what a push would do, in its order; empty when Stripe sells exactly the catalogue."""
    current = catalog.current()
    return compare(current, find(current), _config())


def push(on_change: Callable[[Change], object] = lambda _: None) -> list[Change]:
    """Make Stripe sell the catalogue; return what was done, empty when there was nothing to do.

    An amount that changed makes a new price and archives the old one, which goes on charging its subscribers.
    `on_change` is called after each change. Raises PushUnfinished, and children of errors.StripeError as Stripe's own
    refusals; what was done until then stays, and the next push goes on from there.
    """
    done: list[Change] = []
    for attempt in range(ROUNDS):
        changes = plan_changes()
        if not changes:
            return done
        failpoints.hit("catalog.compared")
        for change in changes:
            if _waits_for_another(change):
                continue
            _apply(change, attempt)
            failpoints.hit("catalog.applied", change.kind)
            on_change(change)
            done.append(change)
    left = plan_changes()
    if left:
        raise PushUnfinished(left)
    return done


def portal_configuration_id() -> str | None:
    """Return the id of the Customer Portal's configuration that was pushed; None when there is none.

    It is asked for once per process: pushing again updates the same one.
    """
    cache: dict[str, str] = current_app.extensions.setdefault("stripe.portal", {})
    name = catalog.current().name
    if name not in cache:
        found = _find_portal(name)
        if found is None or not found["active"]:
            return None
        cache[name] = found["id"]
    return cache[name]


def find(wanted: Catalog) -> Found:
    """Look at everything at Stripe that a catalogue is about."""
    products = _find_products(wanted)
    return Found(
        meters=list(gateway.pages(lambda c: c.v1.billing.meters.list({"limit": 100}))) if wanted.meters else [],
        products=products,
        features=stripe_features.find(wanted, set(products)),
        prices=_find_prices(wanted),
        portal=_find_portal(wanted.name),
        promotions=stripe_promotions.find(wanted),
    )


def compare(wanted: Catalog, found: Found, config: Config) -> list[Change]:
    """Return the differences between a catalogue and what was found, in the order in which to remove them."""
    meter_ids = {m["event_name"]: m["id"] for m in found.meters if m["status"] == "active"}
    prices = stripe_params.prices(wanted, meter_ids)
    return [
        *_meter_changes(wanted, found),
        *_product_changes(wanted, found),
        *stripe_features.changes(wanted, found.features),
        *_price_changes(prices, found),
        *_leftover_prices(wanted, prices, found),
        *_leftover_products(wanted, found),
        *_portal_changes(wanted, found, config),
        *stripe_promotions.changes(wanted, found.promotions),
    ]


# Looking -----------------------------------------------------------------------------------------------------------


def _find_products(wanted: Catalog) -> dict[str, Json]:
    known = stripe_params.products(wanted)
    every = gateway.pages(lambda c: c.v1.products.list({"limit": 100}))
    return {p["id"]: p for p in every if p["id"] in known or _is_ours(p, wanted)}


def _find_prices(wanted: Catalog) -> list[Json]:
    keys = {p.lookup_key for p in wanted.prices}
    params: Json = {"limit": 100, "expand": ["data.tiers"]}
    every = gateway.pages(lambda c: c.v1.prices.list(cast(Any, {"active": True, **params})))
    found = [p for p in every if p["lookup_key"] in keys or _is_ours(p, wanted)]
    # A lookup key may also rest on an archived price, which only shows when it is asked for by name.
    missing = sorted(keys - {p["lookup_key"] for p in found})
    for some in (missing[i : i + 10] for i in range(0, len(missing), 10)):
        found += gateway.pages(lambda c, some=some: c.v1.prices.list(cast(Any, {"lookup_keys": some, **params})))  # type: ignore[misc]
    return found


def _find_portal(catalog_name: str) -> Json | None:
    every = gateway.pages(lambda c: c.v1.billing_portal.configurations.list({"limit": 100}))
    ours = [p for p in every if (p["metadata"] or {}).get(stripe_params.OWNER) == catalog_name]
    return min(ours, key=lambda p: (not p["active"], p["created"], p["id"]), default=None)


def _is_ours(stripe_object: Json, wanted: Catalog) -> bool:
    return bool((stripe_object["metadata"] or {}).get(stripe_params.OWNER) == wanted.name)


# Comparing ---------------------------------------------------------------------------------------------------------


def _meter_changes(wanted: Catalog, found: Found) -> Iterator[Change]:
    by_name = {m["event_name"]: m for m in sorted(found.meters, key=lambda m: m["status"] == "active")}
    for meter in wanted.meters:
        known, params = by_name.get(meter.event_name), stripe_params.meter(meter)
        if known is None:
            yield Change(Action.CREATE, Kind.METER, meter.event_name, meter.name, params=params)
        elif known["status"] != "active":
            yield Change(Action.UPDATE, Kind.METER, meter.event_name, "active again", known["id"], {"active": True})
        elif known["display_name"] != meter.name:
            detail = f"{known['display_name']} becomes {meter.name}"
            yield Change(Action.UPDATE, Kind.METER, meter.event_name, detail, known["id"], {"display_name": meter.name})


def _product_changes(wanted: Catalog, found: Found) -> Iterator[Change]:
    for product_id, params in stripe_params.products(wanted).items():
        known = found.products.get(product_id)
        if known is None:
            yield Change(Action.CREATE, Kind.PRODUCT, product_id, params["name"], product_id, params)
            continue
        different = _differences(params, known)
        if different:
            detail = _changed_fields(different, known)
            yield Change(Action.UPDATE, Kind.PRODUCT, product_id, detail, product_id, different)


def _price_changes(wanted: dict[str, Json], found: Found) -> Iterator[Change]:
    holders = {p["lookup_key"]: p for p in found.prices if p["lookup_key"]}
    for lookup_key, params in wanted.items():
        known = holders.get(lookup_key)
        if known is None:
            yield Change(Action.CREATE, Kind.PRICE, lookup_key, _amount(params), params=params)
        elif _terms(known) != _terms(params):
            detail = f"{_amount(known)} becomes {_amount(params)}; subscribers keep the old price"
            if _amount(known) == _amount(params):
                detail = f"{_amount(params)}, made anew for another product or meter"
            yield Change(Action.REPLACE, Kind.PRICE, lookup_key, detail, known["id"], params)
        else:
            different = _differences({"active": True, "metadata": params["metadata"]}, known)
            if different:
                detail = _changed_fields(different, known)
                yield Change(Action.UPDATE, Kind.PRICE, lookup_key, detail, known["id"], different)


def _leftover_prices(wanted: Catalog, prices: dict[str, Json], found: Found) -> Iterator[Change]:
    """Archive what is no longer sold, and what a push that was killed after making a new price left open."""
    configured = set(wanted.overrides.values())
    for price in found.prices:
        is_sold = price["lookup_key"] in prices or price["id"] in configured
        if price["active"] and _is_ours(price, wanted) and not is_sold:
            name = price["lookup_key"] or price["id"]
            detail = f"{_amount(price)}, no longer sold; subscribers keep it"
            yield Change(Action.ARCHIVE, Kind.PRICE, name, detail, price["id"])


def _leftover_products(wanted: Catalog, found: Found) -> Iterator[Change]:
    configured = set(wanted.overrides.values())
    kept = {price["product"] for price in found.prices if price["id"] in configured}
    kept |= set(stripe_params.products(wanted))
    for product_id, product in found.products.items():
        if product["active"] and product_id not in kept:
            yield Change(Action.ARCHIVE, Kind.PRODUCT, product_id, f"{product['name']}, no longer sold", product_id)


def _portal_changes(wanted: Catalog, found: Found, config: Config) -> Iterator[Change]:
    params = stripe_params.portal(wanted, config)
    if found.portal is None:
        detail = "cards, invoices, tax ids, cancelling at the end of the period"
        yield Change(Action.CREATE, Kind.PORTAL, wanted.name, detail, params=params)
        return
    different = _differences({"active": True, **params}, found.portal)
    if different:
        detail = _changed_fields(different, found.portal)
        yield Change(Action.UPDATE, Kind.PORTAL, wanted.name, detail, found.portal["id"], different)


def _differences(wanted: Json, known: Json) -> Json:
    """Return the wanted fields that are not so; what Stripe adds by itself is left alone."""
    return {name: value for name, value in wanted.items() if not _is_within(value, known.get(name))}


def _is_within(wanted: Any, known: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(_is_within(value, known.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(known, list) and sorted(map(_canonical, wanted)) == sorted(map(_canonical, known))
    return bool(wanted == known)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _terms(price: Json) -> tuple[object, ...]:
    """Return what never changes on a price at Stripe, of one found or of one wanted."""
    recurring = price.get("recurring") or {}
    how_often = (recurring.get("interval"), recurring.get("interval_count", 1), recurring.get("meter"))
    tiers = [(tier["up_to"] if tier["up_to"] != "inf" else None, _exact(tier)) for tier in price.get("tiers") or []]
    return (price["currency"], price["product"], *how_often, _exact(price) if not tiers else None, tuple(tiers))


def _exact(amount: Json) -> Decimal | None:
    """Return an amount in cents, from whichever of its two fields has it."""
    exact = amount.get("unit_amount_decimal")
    exact = amount.get("unit_amount") if exact is None else exact
    return None if exact is None else Decimal(str(exact))


def _amount(price: Json) -> str:
    recurring = price.get("recurring") or {}
    if recurring.get("usage_type") == "metered":
        tiers = price.get("tiers") or [price]
        thousand = int((_exact(tiers[-1]) or Decimal(0)) * 1000)
        beyond = f"beyond {tiers[0]['up_to']:,}" if len(tiers) > 1 else "used"
        return f"{money.in_words(thousand, price['currency'])} per 1,000 {beyond}"
    amount = money.in_words(int(_exact(price) or 0), price["currency"])
    return amount + PER.get(recurring.get("interval", ""), "")


def _changed_fields(different: Json, known: Json) -> str:
    said = []
    for name, value in different.items():
        if name == "name":
            said.append(f"{known['name']} becomes {value}")
        elif name == "active":
            said.append("on sale again")
        else:
            said.append(name.replace("_", " "))
    return ", ".join(said)


# Doing -------------------------------------------------------------------------------------------------------------


def _waits_for_another(change: Change) -> bool:
    """Tell whether a change names something that this round makes first: the next round knows its id."""
    return (change.params.get("recurring") or {}).get("meter") == "" or stripe_features.waits(change)


def _apply(change: Change, attempt: int) -> None:
    match change.kind:
        case Kind.METER:
            _apply_to_meter(change, attempt)
        case Kind.PRODUCT:
            _apply_to_product(change)
        case Kind.FEATURE | Kind.INCLUDE:
            stripe_features.apply(change, _once(change, attempt))
        case Kind.PRICE:
            _apply_to_price(change, attempt)
        case Kind.PORTAL:
            _apply_to_portal(change, attempt)
        case Kind.PROMOTION:
            stripe_promotions.apply(change, _once(change, attempt))


def _apply_to_meter(change: Change, attempt: int) -> None:
    if change.action == Action.CREATE:
        gateway.call(lambda c: c.v1.billing.meters.create(cast(Any, change.params), _once(change, attempt)))
    elif "active" in change.params:
        gateway.call(lambda c: c.v1.billing.meters.reactivate(change.stripe_id))
    else:
        gateway.call(lambda c: c.v1.billing.meters.update(change.stripe_id, cast(Any, change.params)))


def _apply_to_product(change: Change) -> None:
    if change.action == Action.CREATE:
        try:
            gateway.call(lambda c: c.v1.products.create(cast(Any, {"id": change.stripe_id, **change.params})))
        except errors.StripeRefused as refused:
            # Somebody else's push was faster: the next look compares what it made.
            if refused.code != "resource_already_exists":
                raise
        return
    params = {"active": False} if change.action == Action.ARCHIVE else change.params
    gateway.call(lambda c: c.v1.products.update(change.stripe_id, cast(Any, params)))


def _apply_to_price(change: Change, attempt: int) -> None:
    if change.action == Action.UPDATE:
        gateway.call(lambda c: c.v1.prices.update(change.stripe_id, cast(Any, change.params)))
        return
    if change.action in {Action.CREATE, Action.REPLACE}:
        params = {**change.params, "transfer_lookup_key": True}
        gateway.call(lambda c: c.v1.prices.create(cast(Any, params), _once(change, attempt)))
    if change.action in {Action.REPLACE, Action.ARCHIVE}:
        failpoints.hit("catalog.price_replaced")
        _archive_price(change.stripe_id)


def _archive_price(stripe_price_id: str) -> None:
    price = gateway.call(lambda c: c.v1.prices.retrieve(stripe_price_id, {"expand": ["product"]}))
    product = price["product"]
    if product["default_price"] == stripe_price_id:
        # Stripe refuses to archive a product's default price, which somebody may have chosen in the Dashboard.
        on_sale = gateway.call(lambda c: c.v1.prices.list({"product": product["id"], "active": True}))["data"]
        successor = next((p["id"] for p in on_sale if p["id"] != stripe_price_id), None)
        if successor:
            gateway.call(lambda c: c.v1.products.update(product["id"], {"default_price": successor}))
    gateway.call(lambda c: c.v1.prices.update(stripe_price_id, {"active": False}))


def _apply_to_portal(change: Change, attempt: int) -> None:
    params = cast(Any, change.params)
    if change.action == Action.CREATE:
        gateway.call(lambda c: c.v1.billing_portal.configurations.create(params, _once(change, attempt)))
        return
    gateway.call(lambda c: c.v1.billing_portal.configurations.update(change.stripe_id, params))


def _once(change: Change, attempt: int) -> Any:
    """Return an idempotency key that two pushes at the same moment share, and the next round does not.

    Stripe replays an answer for a day, even if what it made has been deleted since; a new round asks anew.
    """
    words = _canonical([change.kind, change.name, change.stripe_id, change.params])
    return {"idempotency_key": f"catalog-{attempt}-{hashlib.sha256(words.encode()).hexdigest()[:40]}"}


def _config() -> Config:
    config: Config = current_app.config["TOLLGATE"]
    return config
