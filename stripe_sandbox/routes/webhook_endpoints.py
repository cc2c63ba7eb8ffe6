"""Webhook endpoints: where events are sent, and the secrets that sign them."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.pagination import page
from stripe_sandbox.routes import route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
MAX_ENDPOINTS = 16


@route("POST", "/v1/webhook_endpoints")
def create(world: World, params: Document) -> Document:
    if len(list(world.select("webhook_endpoint"))) >= MAX_ENDPOINTS:
        raise errors.invalid(f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.")
    if params.get("api_version", stripe.api_version) != stripe.api_version:
        raise errors.invalid(
            f"The sandbox renders events in {stripe.api_version} only, the version of the installed SDK.", "api_version"
        )
    endpoint = make(world, params)
    # The secret is shown in this one answer and never again.
    return {**endpoint, "secret": endpoint["_secrets"][0]["secret"]}


def make(world: World, params: Document, *, secret: str | None = None) -> Document:
    """Create an endpoint; `secret` sets its signing secret, which is otherwise made up."""
    check_url(params["url"])
    return world.add(
        objects.new(
            world,
            "webhook_endpoint",
            api_version=params.get("api_version"),
            description=params.get("description") or None,
            enabled_events=params["enabled_events"],
            metadata=check_metadata(params.get("metadata")),
            status="enabled",
            url=params["url"],
            _secrets=[{"secret": secret or f"whsec_{ids.token(32)}", "expires_at": None}],
        )
    )


def check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")) or len(url) > 2048:
        raise errors.invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.", "url", code="url_invalid"
        )


@route("GET", "/v1/webhook_endpoints/{endpoint}")
def retrieve(world: World, params: Document, endpoint: str) -> Document:
    return world.get("webhook_endpoint", endpoint)


@route("POST", "/v1/webhook_endpoints/{endpoint}")
def update(world: World, params: Document, endpoint: str) -> Document:
    document = world.get("webhook_endpoint", endpoint)
    if "url" in params:
        check_url(params["url"])
    set_fields(document, params, ("url", "description", "enabled_events"))
    if "disabled" in params:
        document["status"] = "disabled" if params["disabled"] else "enabled"
    merge_metadata(document, params)
    return world.save(document)


@route("DELETE", "/v1/webhook_endpoints/{endpoint}")
def delete(world: World, params: Document, endpoint: str) -> Document:
    return world.delete(world.get("webhook_endpoint", endpoint))


@route("GET", "/v1/webhook_endpoints")
def list_all(world: World, params: Document) -> Document:
    return page(world, "webhook_endpoint", params, "/v1/webhook_endpoints")


def roll_secret(world: World, endpoint: Document, *, keep_seconds: float) -> str:
    """Give an endpoint a new secret; the old one signs beside it until it expires. Returns the new one."""
    until = world.sandbox.clock.now() + keep_seconds
    fresh = f"whsec_{ids.token(32)}"
    kept = [{"secret": old["secret"], "expires_at": old["expires_at"] or until} for old in endpoint["_secrets"]]
    endpoint["_secrets"] = [{"secret": fresh, "expires_at": None}, *(kept if keep_seconds > 0 else [])]
    world.save(endpoint)
    return fresh
