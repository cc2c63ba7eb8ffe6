"""How subscriptions and their items are shown: with their prices, and the plans of old that say the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


@rendering.embeds("subscription")
def _embed_prices(world: World, shown: Document, stored: Document) -> None:
    pending = (shown["pending_update"] or {}).get("subscription_items") or []
    for item in (*shown["items"]["data"], *pending):
        _embed_price(world, item, item)


@rendering.embeds("subscription_item")
def _embed_price(world: World, shown: Document, stored: Document) -> None:
    if isinstance(shown["price"], str):
        price = world.get("price", shown["price"])
        shown["price"] = rendering.render(world, price)
        shown["plan"] = plan_of(price)


def plan_of(price: Document) -> Document:
    """Return a price in the shape of the plans of old, which subscription items still carry."""
    recurring = price["recurring"]
    copied = ("id", "active", "billing_scheme", "created", "currency", "livemode", "nickname", "product", "tiers_mode")
    return {
        **{name: price[name] for name in copied},
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "metadata": dict(price["metadata"]),
        "meter": recurring["meter"],
        "transform_usage": None,
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }
