"""Entitlement features, what products include, and what customers have."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors, objects
from stripe_sandbox.engine import entitlements
from stripe_sandbox.objects import rendering
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


@route("POST", "/v1/entitlements/features")
def create(world: World, params: Document) -> Document:
    if world.first("entitlements.feature", {"lookup_key": params["lookup_key"]}) is not None:
        raise errors.invalid(
            f"A feature with the lookup key {params['lookup_key']} already exists.",
            "lookup_key",
            code="resource_already_exists",
        )
    feature = objects.new(
        world,
        "entitlements.feature",
        active=True,
        lookup_key=params["lookup_key"],
        metadata=check_metadata(params.get("metadata")),
        name=params["name"],
    )
    return world.add(feature)


@route("GET", "/v1/entitlements/features/{feature}")
def retrieve(world: World, params: Document, feature: str) -> Document:
    return world.get("entitlements.feature", feature)


@route("POST", "/v1/entitlements/features/{feature}")
def update(world: World, params: Document, feature: str) -> Document:
    document = world.get("entitlements.feature", feature)
    set_fields(document, params, ("active", "name"))
    merge_metadata(document, params)
    return world.save(document)


@route("GET", "/v1/entitlements/features")
def list_all(world: World, params: Document) -> Document:
    where = {"lookup_key": params.get("lookup_key")}
    archived = params.get("archived", False)
    return page(
        world,
        "entitlements.feature",
        params,
        "/v1/entitlements/features",
        where,
        match=lambda feature: feature["active"] is not archived,
    )


@route("POST", "/v1/products/{product}/features")
def attach(world: World, params: Document, product: str) -> Document:
    world.get("product", product)
    feature = world.get("entitlements.feature", params["entitlement_feature"], param="entitlement_feature")
    for known in world.select("product_feature", {"product": product}):
        if known["_feature"] == feature["id"]:
            raise errors.invalid("This feature is already attached to the product.", "entitlement_feature")
    link = objects.new(world, "product_feature", entitlement_feature=None, _product=product, _feature=feature["id"])
    world.add(link)
    entitlements.refresh_subscribers(world, product)
    return link


def _link(world: World, product: str, link: str) -> Document:
    world.get("product", product)
    document = world.get("product_feature", link)
    if document["_product"] != product:
        raise errors.no_such("product_feature", link)
    return document


@route("GET", "/v1/products/{product}/features/{link}")
def retrieve_link(world: World, params: Document, product: str, link: str) -> Document:
    return _link(world, product, link)


@route("DELETE", "/v1/products/{product}/features/{link}")
def detach(world: World, params: Document, product: str, link: str) -> Document:
    stub = world.delete(_link(world, product, link))
    entitlements.refresh_subscribers(world, product)
    return stub


@route("GET", "/v1/products/{product}/features")
def list_links(world: World, params: Document, product: str) -> Document:
    world.get("product", product)
    return page(world, "product_feature", params, f"/v1/products/{product}/features", {"product": product})


@route("GET", "/v1/entitlements/active_entitlements/{entitlement}")
def retrieve_active(world: World, params: Document, entitlement: str) -> Document:
    return world.get("entitlements.active_entitlement", entitlement)


@route("GET", "/v1/entitlements/active_entitlements")
def list_active(world: World, params: Document) -> Document:
    world.get("customer", params["customer"], param="customer")
    where = {"customer": params["customer"]}
    return page(world, "entitlements.active_entitlement", params, "/v1/entitlements/active_entitlements", where)


@rendering.embeds("product_feature")
def _embed_feature(world: World, shown: Document, stored: Document) -> None:
    shown["entitlement_feature"] = rendering.render(world, world.get("entitlements.feature", stored["_feature"]))
