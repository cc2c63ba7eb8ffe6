"""Coupons and promotion codes."""

from __future__ import annotations

import re
from typing import Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import discounts
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/coupons")
def create_coupon(world: World, params: Document) -> Document:
    if (params.get("percent_off") is None) == (params.get("amount_off") is None):
        if params.get("amount_off") is not None:
            raise errors.parameters_exclusive("percent_off", "amount_off")
        raise errors.invalid("Must provide percent_off or amount_off.", "percent_off", code="parameter_missing")
    if params.get("percent_off") is not None and not 0 < params["percent_off"] <= 100:
        raise errors.invalid(f"Invalid percent_off: {params['percent_off']}; must be between 0 and 100.", "percent_off")
    if params.get("amount_off") is not None and not params.get("currency"):
        raise errors.parameter_missing("currency")
    if params.get("amount_off") is not None and params["amount_off"] < 1:
        raise errors.invalid(
            "This value must be greater than or equal to 1.", "amount_off", code="parameter_invalid_integer"
        )
    duration = params.get("duration", "once")
    if duration == "repeating" and not params.get("duration_in_months"):
        raise errors.parameter_missing("duration_in_months")
    if params.get("redeem_by") and params["redeem_by"] <= world.now:
        raise errors.invalid("`redeem_by` must be in the future.", "redeem_by")
    coupon = objects.new(
        world,
        "coupon",
        id=params.get("id") or ids.token(8),
        amount_off=params.get("amount_off"),
        currency=(params.get("currency") or "").lower() or None,
        duration=duration,
        duration_in_months=params.get("duration_in_months"),
        max_redemptions=params.get("max_redemptions"),
        metadata=check_metadata(params.get("metadata")),
        name=params.get("name"),
        percent_off=params.get("percent_off"),
        redeem_by=params.get("redeem_by"),
        times_redeemed=0,
        valid=True,
        _applies_to=params.get("applies_to"),
    )
    return world.add(coupon, "coupon.created")


@route("GET", "/v1/coupons/{coupon}")
def retrieve_coupon(world: World, params: Document, coupon: str) -> Document:
    return world.get("coupon", coupon)


@route("POST", "/v1/coupons/{coupon}")
def update_coupon(world: World, params: Document, coupon: str) -> Document:
    document = world.get("coupon", coupon)
    set_fields(document, params, ("name",))
    merge_metadata(document, params)
    return world.save(document, "coupon.updated")


@route("DELETE", "/v1/coupons/{coupon}")
def delete_coupon(world: World, params: Document, coupon: str) -> Document:
    return world.delete(world.get("coupon", coupon), "coupon.deleted")


@route("GET", "/v1/coupons")
def list_coupons(world: World, params: Document) -> Document:
    return page(world, "coupon", params, "/v1/coupons")


@rendering.embeds("coupon")
def _embed_validity(world: World, shown: Document, stored: Document) -> None:
    shown["valid"] = discounts.is_valid(world, stored)


@rendering.on_demand("coupon", "applies_to")
def _show_applies_to(world: World, coupon: Document) -> Document:
    return coupon.get("_applies_to") or {"products": []}


@route("POST", "/v1/promotion_codes")
def create_promotion_code(world: World, params: Document) -> Document:
    promotion = params["promotion"]
    if not promotion.get("coupon"):
        raise errors.parameter_missing("promotion[coupon]")
    coupon = world.get("coupon", promotion["coupon"], param="promotion[coupon]")
    code = params.get("code") or ids.token(8).upper()
    if not re.fullmatch(r"[A-Za-z0-9\-_]{1,500}", code):
        raise errors.invalid(f"The promotion code `{code}` contains invalid characters.", "code")
    for other in world.select("promotion_code", {"code": code.lower()}):
        if discounts.is_active(world, other) and other["customer"] == params.get("customer"):
            raise errors.invalid("An active promotion code with `code: " + code + "` already exists.", "code")
    if params.get("customer"):
        world.get("customer", params["customer"], param="customer")
    if params.get("expires_at") and params["expires_at"] <= world.now:
        raise errors.invalid("`expires_at` must be in the future.", "expires_at")
    wanted = params.get("restrictions") or {}
    if wanted.get("minimum_amount") and not wanted.get("minimum_amount_currency"):
        raise errors.parameter_missing("restrictions[minimum_amount_currency]")
    document = objects.new(
        world,
        "promotion_code",
        active=params.get("active", True),
        code=code,
        customer=params.get("customer"),
        expires_at=params.get("expires_at"),
        max_redemptions=params.get("max_redemptions"),
        metadata=check_metadata(params.get("metadata")),
        promotion={"coupon": coupon["id"], "type": "coupon"},
        restrictions={
            "first_time_transaction": wanted.get("first_time_transaction", False),
            "minimum_amount": wanted.get("minimum_amount"),
            "minimum_amount_currency": wanted.get("minimum_amount_currency"),
        },
        times_redeemed=0,
        _code=code.lower(),
    )
    return world.add(document, "promotion_code.created")


@route("GET", "/v1/promotion_codes/{promotion_code}")
def retrieve_promotion_code(world: World, params: Document, promotion_code: str) -> Document:
    return world.get("promotion_code", promotion_code)


@route("POST", "/v1/promotion_codes/{promotion_code}")
def update_promotion_code(world: World, params: Document, promotion_code: str) -> Document:
    document = world.get("promotion_code", promotion_code)
    set_fields(document, params, ("active",))
    merge_metadata(document, params)
    return world.save(document, "promotion_code.updated")


@route("GET", "/v1/promotion_codes")
def list_promotion_codes(world: World, params: Document) -> Document:
    code = params.get("code")
    where = {"coupon": params.get("coupon"), "customer": params.get("customer"), "code": code.lower() if code else None}
    return page(
        world,
        "promotion_code",
        params,
        "/v1/promotion_codes",
        where,
        match=lambda one: "active" not in params or discounts.is_active(world, one) == params["active"],
    )


@rendering.embeds("promotion_code")
def _embed_activity(world: World, shown: Document, stored: Document) -> None:
    shown["active"] = discounts.is_active(world, stored)
