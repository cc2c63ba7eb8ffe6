"""The features of plans as Stripe's entitlements: each made once, and included in the products of its plans.

The app itself asks its catalogue what a plan opens; these are for whoever looks at a customer in Stripe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from billing import errors, gateway, stripe_params
from billing.catalog import Catalog
from billing.stripe_changes import Action, Change, Kind

Json = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What Stripe holds: features by lookup key, and of each plan's product the includes' ids by lookup key."""

    features: dict[str, Json]
    includes: dict[str, dict[str, str]]


def find(wanted: Catalog, product_ids: set[str]) -> Found:
    """Look at the features that are ours or have one of our lookup keys, and at what our plans' products include."""
    keys = {stripe_params.feature_key(wanted, feature.key) for feature in wanted.features}
    both = ({"limit": 100}, {"limit": 100, "archived": True})
    every = [f for params in both for f in gateway.pages(lambda c, p=params: c.v1.entitlements.features.list(p))]  # type: ignore[misc]
    features = {f["lookup_key"]: f for f in every if f["lookup_key"] in keys or _is_ours(f, wanted)}
    plans = [product_id for product_id in stripe_params.includes(wanted) if product_id in product_ids]
    return Found(features, {product_id: _includes_of(product_id) for product_id in plans})


def changes(wanted: Catalog, found: Found) -> Iterator[Change]:
    """Yield the differences between the catalogue's features and what was found."""
    sold = {stripe_params.feature_key(wanted, feature.key): feature for feature in wanted.features}
    for key, feature in sold.items():
        yield from _feature_changes(stripe_params.feature(wanted, feature), found.features.get(key))
    for product_id, keys in stripe_params.includes(wanted).items():
        included = found.includes.get(product_id, {})
        for key in (key for key in keys if key not in included):
            params = {"entitlement_feature": found.features[key]["id"] if key in found.features else ""}
            yield Change(Action.CREATE, Kind.INCLUDE, product_id, key, product_id, params)
        for key in (key for key in included if key not in keys and (key in sold or key in found.features)):
            detail = f"{key}, no longer in this plan"
            yield Change(Action.ARCHIVE, Kind.INCLUDE, product_id, detail, product_id, {"include": included[key]})
    for key, known in found.features.items():
        if known["active"] and key not in sold:
            yield Change(Action.ARCHIVE, Kind.FEATURE, key, f"{known['name']}, in no plan any more", known["id"])


def waits(change: Change) -> bool:
    """Tell whether an include's feature has to be made first."""
    return change.kind == Kind.INCLUDE and change.params.get("entitlement_feature") == ""


def apply(change: Change, once: Any) -> None:
    """Write one change of a feature or an include; `once` is the idempotency key for what is made."""
    if change.action == Action.CREATE:
        try:
            _create(change, once)
        except errors.StripeRefused as refused:
            # Somebody else's push was faster: the next look compares what it made.
            if refused.code != "resource_already_exists":
                raise
    elif change.kind == Kind.FEATURE:
        params = {"active": False} if change.action == Action.ARCHIVE else change.params
        gateway.call(lambda c: c.v1.entitlements.features.update(change.stripe_id, cast(Any, params)))
    else:
        gateway.call(lambda c: c.v1.products.features.delete(change.stripe_id, change.params["include"]))


def _create(change: Change, once: Any) -> None:
    params = cast(Any, change.params)
    if change.kind == Kind.FEATURE:
        gateway.call(lambda c: c.v1.entitlements.features.create(params, once))
    else:
        gateway.call(lambda c: c.v1.products.features.create(change.stripe_id, params, once))


def _feature_changes(params: Json, known: Json | None) -> Iterator[Change]:
    key, name = params["lookup_key"], params["name"]
    if known is None:
        yield Change(Action.CREATE, Kind.FEATURE, key, name, params=params)
    elif not known["active"]:
        yield Change(Action.UPDATE, Kind.FEATURE, key, "in a plan again", known["id"], {"active": True})
    elif known["name"] != name:
        yield Change(Action.UPDATE, Kind.FEATURE, key, f"{known['name']} becomes {name}", known["id"], {"name": name})


def _includes_of(product_id: str) -> dict[str, str]:
    links = gateway.pages(lambda c: c.v1.products.features.list(product_id, {"limit": 100}))
    return {link["entitlement_feature"]["lookup_key"]: link["id"] for link in links}


def _is_ours(feature: Json, wanted: Catalog) -> bool:
    return bool((feature["metadata"] or {}).get(stripe_params.OWNER) == wanted.name)
