"""Products and prices: what is sold, and for how much."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from stripe_sandbox import errors, objects
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
PRODUCT_FIELDS = (
    "description",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "tax_details",
    "unit_label",
    "url",
)
MAX_UNIT_AMOUNT = 99_999_999


@route("POST", "/v1/products")
def create_product(world: World, params: Document) -> Document:
    if params.get("id") is not None and not re.fullmatch(r"[A-Za-z0-9_\-]{1,255}", params["id"]):
        raise errors.invalid("Product IDs may only contain letters, digits, dashes and underscores.", "id")
    product = new_product(world, params)
    world.add(product)
    if params.get("default_price_data"):
        price = create_price(world, {**params["default_price_data"], "product": product["id"]})
        product["default_price"] = price["id"]
        world.save(product)
    world.emit("product.created", product)
    return product


def new_product(world: World, params: Document) -> Document:
    product = objects.new(
        world,
        "product",
        id=params.get("id"),
        active=params.get("active", True),
        images=params.get("images") or [],
        marketing_features=params.get("marketing_features") or [],
        metadata=check_metadata(params.get("metadata")),
        name=params["name"],
        type=params.get("type", "service"),
        updated=world.now,
    )
    set_fields(product, params, PRODUCT_FIELDS)
    return product


@route("GET", "/v1/products/{product}")
def retrieve_product(world: World, params: Document, product: str) -> Document:
    return world.get("product", product)


@route("POST", "/v1/products/{product}")
def update_product(world: World, params: Document, product: str) -> Document:
    document = world.get("product", product)
    set_fields(document, params, (*PRODUCT_FIELDS, "active", "name"))
    for name in ("images", "marketing_features"):
        if name in params:
            document[name] = params[name] or []
    if params.get("default_price"):
        price = world.get("price", params["default_price"], param="default_price")
        if price["product"] != product:
            raise errors.invalid(f"The price {price['id']} does not belong to this product.", "default_price")
        document["default_price"] = price["id"]
    merge_metadata(document, params)
    document["updated"] = world.now
    return world.save(document, "product.updated")


@route("DELETE", "/v1/products/{product}")
def delete_product(world: World, params: Document, product: str) -> Document:
    document = world.get("product", product)
    if world.first("price", {"product": product}) is not None:
        raise errors.invalid("This product cannot be deleted because it has one or more user-created prices.", "id")
    return world.delete(document, "product.deleted")


@route("GET", "/v1/products")
def list_products(world: World, params: Document) -> Document:
    wanted = params.get("ids")

    def matches(product: Document) -> bool:
        return (
            ("active" not in params or product["active"] == params["active"])
            and (wanted is None or product["id"] in wanted)
            and ("url" not in params or product["url"] == params["url"])
            and ("shippable" not in params or product["shippable"] == params["shippable"])
        )

    return page(world, "product", params, "/v1/products", match=matches)


@route("POST", "/v1/prices")
def create_price(world: World, params: Document) -> Document:
    if bool(params.get("product")) == bool(params.get("product_data")):
        if params.get("product"):
            raise errors.parameters_exclusive("product", "product_data")
        raise errors.parameter_missing("product")
    if params.get("product_data"):
        product = world.add(new_product(world, params["product_data"]), "product.created")
    else:
        product = world.get("product", params["product"], param="product")
    price = new_price(world, params, product["id"])
    if price["lookup_key"]:
        _claim_lookup_key(world, price["lookup_key"], transfer=params.get("transfer_lookup_key", False))
    return world.add(price, "price.created")


def new_price(world: World, params: Document, product_id: str) -> Document:
    """Return a price that is not kept yet; raises when its amounts or interval make no sense."""
    currency = params["currency"].lower()
    if not re.fullmatch(r"[a-z]{3}", currency):
        raise errors.invalid(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: usd, eur, gbp, jpy, cad, "
            "aud, ...",
            "currency",
        )
    scheme = params.get("billing_scheme", "per_unit")
    recurring = _recurring(world, params.get("recurring"))
    price = objects.new(
        world,
        "price",
        active=params.get("active", True),
        billing_scheme=scheme,
        currency=currency,
        lookup_key=params.get("lookup_key"),
        metadata=check_metadata(params.get("metadata")),
        nickname=params.get("nickname"),
        product=product_id,
        recurring=recurring,
        tax_behavior=params.get("tax_behavior", "unspecified"),
        tiers_mode=params.get("tiers_mode"),
        transform_quantity=params.get("transform_quantity"),
        type="recurring" if recurring else "one_time",
        _currency_options=params.get("currency_options") or {},
    )
    if scheme == "tiered":
        price["_tiers"] = _tiers(params)
    elif params.get("custom_unit_amount"):
        wanted = params["custom_unit_amount"]
        price["custom_unit_amount"] = {name: wanted.get(name) for name in ("maximum", "minimum", "preset")}
    else:
        price["unit_amount"], price["unit_amount_decimal"] = amounts(params, "unit_amount")
    return price


def amounts(params: Document, name: str, *, optional: bool = False) -> tuple[int | None, str | None]:
    """Return an amount in whole cents (None when it has fractions) and as a decimal string."""
    whole, exact = params.get(name), params.get(f"{name}_decimal")
    if whole is not None and exact is not None:
        raise errors.parameters_exclusive(name, f"{name}_decimal")
    if whole is None and exact is None:
        if optional:
            return None, None
        raise errors.parameter_missing(name)
    value = Decimal(str(whole if whole is not None else exact))
    if value < 0:
        raise errors.invalid("This value must be greater than or equal to 0.", name, code="parameter_invalid_integer")
    if value > MAX_UNIT_AMOUNT:
        raise errors.invalid("Amount must be no more than $999,999.99", name, code="amount_too_large")
    is_whole = value == value.to_integral_value()
    return (int(value) if is_whole else None), (str(int(value)) if is_whole else format(value.normalize(), "f"))


def _recurring(world: World, wanted: Document | None) -> Document | None:
    if not wanted:
        return None
    count = wanted.get("interval_count", 1)
    longest = {"day": 1095, "week": 156, "month": 36, "year": 3}[wanted["interval"]]
    if not 1 <= count <= longest:
        raise errors.invalid(
            f"Prices' interval_count must be between 1 and {longest} for the interval {wanted['interval']}.",
            "recurring[interval_count]",
        )
    usage = wanted.get("usage_type", "licensed")
    if usage == "metered" and not wanted.get("meter"):
        raise errors.invalid(
            "You must specify a `meter` when creating a price with `recurring[usage_type]=metered`.", "recurring[meter]"
        )
    if wanted.get("meter"):
        world.get("billing.meter", wanted["meter"], param="recurring[meter]")
    return {
        "interval": wanted["interval"],
        "interval_count": count,
        "meter": wanted.get("meter"),
        "trial_period_days": wanted.get("trial_period_days"),
        "usage_type": usage,
    }


def _tiers(params: Document) -> list[Document]:
    if not params.get("tiers_mode"):
        raise errors.parameter_missing("tiers_mode")
    if not params.get("tiers"):
        raise errors.parameter_missing("tiers")
    tiers = []
    for wanted in params["tiers"]:
        flat, flat_exact = amounts(wanted, "flat_amount", optional=True)
        unit, unit_exact = amounts(wanted, "unit_amount", optional=True)
        tiers.append(
            {
                "flat_amount": flat,
                "flat_amount_decimal": flat_exact,
                "unit_amount": unit,
                "unit_amount_decimal": unit_exact,
                "up_to": None if wanted["up_to"] == "inf" else wanted["up_to"],
            }
        )
    bounds: list[Any] = [tier["up_to"] for tier in tiers]
    if bounds[-1] is not None or any(bound is None for bound in bounds[:-1]) or bounds[:-1] != sorted(set(bounds[:-1])):
        raise errors.invalid(
            "The tiers must be in ascending order, and the last one must have an `up_to` of `inf`.", "tiers"
        )
    return tiers


def _claim_lookup_key(world: World, key: str, *, transfer: bool, own: str | None = None) -> None:
    holder = world.first("price", {"lookup_key": key})
    if holder is None or holder["id"] == own:
        return
    if not transfer:
        raise errors.invalid(
            f"A price (`{holder['id']}`) already uses that lookup key. To transfer the lookup key, set "
            "`transfer_lookup_key=true`.",
            "lookup_key",
            code="resource_already_exists",
        )
    holder["lookup_key"] = None
    world.save(holder, "price.updated")


@route("GET", "/v1/prices/{price}")
def retrieve_price(world: World, params: Document, price: str) -> Document:
    return world.get("price", price)


@route("POST", "/v1/prices/{price}")
def update_price(world: World, params: Document, price: str) -> Document:
    document = world.get("price", price)
    if params.get("lookup_key"):
        _claim_lookup_key(
            world, params["lookup_key"], transfer=params.get("transfer_lookup_key", False), own=document["id"]
        )
    if params.get("tax_behavior") and document["tax_behavior"] not in ("unspecified", params["tax_behavior"]):
        raise errors.invalid("You cannot change the `tax_behavior` of a price once it is set.", "tax_behavior")
    if params.get("currency_options"):
        document["_currency_options"] = {**document["_currency_options"], **params["currency_options"]}
    set_fields(document, params, ("active", "lookup_key", "nickname", "tax_behavior"))
    merge_metadata(document, params)
    return world.save(document, "price.updated")


@route("GET", "/v1/prices")
def list_prices(world: World, params: Document) -> Document:
    wanted = params.get("lookup_keys")
    if wanted is not None and len(wanted) > 10:
        raise errors.invalid("You may only specify up to 10 lookup_keys.", "lookup_keys")
    where = {"product": params.get("product"), "type": params.get("type"), "active": params.get("active")}
    where["lookup_key"] = wanted or None
    recurring = params.get("recurring") or {}

    def matches(price: Document) -> bool:
        has = price["recurring"] or {}
        return all(has.get(name) == value for name, value in recurring.items()) and (
            "currency" not in params or price["currency"] == params["currency"].lower()
        )

    return page(world, "price", params, "/v1/prices", where, match=matches)


@rendering.on_demand("price", "tiers")
def _show_tiers(world: World, price: Document) -> list[Document] | None:
    return price.get("_tiers")


@rendering.on_demand("price", "currency_options")
def _show_currency_options(world: World, price: Document) -> Document:
    own = {"unit_amount": price["unit_amount"], "unit_amount_decimal": price["unit_amount_decimal"]}
    shown = {price["currency"]: {**own, "tax_behavior": price["tax_behavior"], "custom_unit_amount": None}}
    for currency, wanted in price.get("_currency_options", {}).items():
        whole, exact = amounts(wanted, "unit_amount", optional=True)
        shown[currency] = {
            "custom_unit_amount": None,
            "tax_behavior": wanted.get("tax_behavior", "unspecified"),
            "unit_amount": whole,
            "unit_amount_decimal": exact,
        }
    return shown
