"""Entitlements: which features a customer has, by the products of their live subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import events, objects
from stripe_sandbox.engine import subscriptions
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
ENTITLING = ("active", "trialing", "past_due")


def refresh(world: World, customer: str) -> None:
    """Bring a customer's active entitlements in line with their subscriptions, and say so when that changes any."""
    held = {one["feature"]: one for one in world.select("entitlements.active_entitlement", {"customer": customer})}
    due = _due(world, customer)
    if held.keys() == due.keys():
        return
    before = _listing(world, customer)
    for feature_id in held.keys() - due.keys():
        world.delete(held[feature_id])
    for feature_id in sorted(due.keys() - held.keys()):
        world.add(
            objects.new(
                world,
                "entitlements.active_entitlement",
                feature=feature_id,
                lookup_key=due[feature_id]["lookup_key"],
                _customer=customer,
            )
        )
    summary = {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": _listing(world, customer),
        "livemode": False,
    }
    previous = {"entitlements": {"data": before["data"]}}
    world.sandbox.record_event(world, "entitlements.active_entitlement_summary.updated", summary, previous)


def _due(world: World, customer: str) -> dict[str, Document]:
    due: dict[str, Document] = {}
    for subscription in world.select("subscription", {"customer": customer}):
        if subscription["status"] not in ENTITLING:
            continue
        for item in subscriptions.items_of(subscription):
            product = world.get("price", item["price"])["product"]
            for link in world.select("product_feature", {"product": product}):
                feature = world.get("entitlements.feature", link["_feature"])
                if feature["active"]:
                    due[feature["id"]] = feature
    return due


def _listing(world: World, customer: str) -> Document:
    held = [
        rendering.render(world, one) for one in world.select("entitlements.active_entitlement", {"customer": customer})
    ]
    return rendering.listing("/v1/entitlements/active_entitlements", held[:10], has_more=len(held) > 10)


def refresh_subscribers(world: World, product: str) -> None:
    """Refresh everybody who subscribes to a product, after its features have changed."""
    customers: set[str] = set()
    for price in world.select("price", {"product": product}):
        customers |= {one["customer"] for one in world.select("subscription", {"price": price["id"]})}
    for customer in sorted(customers):
        refresh(world, customer)


@events.listens("customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted")
def _subscription_changed(world: World, subscription: Document) -> None:
    refresh(world, subscription["customer"])


@events.listens("customer.subscription.paused", "customer.subscription.resumed")
def _subscription_paused(world: World, subscription: Document) -> None:
    refresh(world, subscription["customer"])
