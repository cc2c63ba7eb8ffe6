"""A visit to the Customer Portal: whose it is, what its configuration allows, and where it leads afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import abort, redirect, render_template, request

from stripe_sandbox.engine import methods, subscriptions
from stripe_sandbox.pages import access, order
from stripe_sandbox.pages.checkout import SHOP

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
DONE = {
    "card": "The card is saved.",
    "default": "Renewals are charged to that card from now on.",
    "removed": "The card is removed.",
    "cancelled": "The subscription is cancelled.",
    "resumed": "The subscription goes on.",
    "paused": "The subscription is paused.",
    "restarted": "The subscription goes on as soon as its invoice is paid.",
    "changed": "The plan is changed.",
    "planned": "The plan changes at the end of the period.",
    "details": "Your details are saved.",
}


class Visit:
    """What a request to the portal is about: its session, customer, and what the configuration allows."""

    def __init__(self, world: World, session_id: str) -> None:
        self.world = world
        self.session = access.get_or_404(world, "billing_portal.session", session_id)
        self.customer = access.get_or_404(world, "customer", self.session["customer"])
        self.configuration = world.get("billing_portal.configuration", self.session["configuration"])
        self.features: Document = self.configuration["features"]
        self.home = f"/p/session/{session_id}"

    def need(self, feature: str) -> Document:
        """Return a feature's settings, or answer 404 when it is switched off."""
        settings: Document = self.features[feature]
        if not settings["enabled"]:
            abort(404)
        return settings

    def subscription(self, subscription_id: str) -> Document:
        subscription = access.get_or_404(self.world, "subscription", subscription_id)
        if subscription["customer"] != self.customer["id"]:
            abort(404)
        return subscription

    def show(self, template: str, **facts: Any) -> Any:
        """Render a page of the portal; with an `error` it answers 422."""
        page = render_template(
            f"portal/{template}.html",
            session=self.session,
            home=self.home,
            shop=SHOP,
            profile=self.configuration["business_profile"],
            customer=self.customer,
            features=self.features,
            done=DONE.get(request.args.get("done", "")),
            **{"error": None, "wrong": None, "form": {}, **facts},
        )
        return (page, 422) if facts.get("error") else page

    def after(self, what: str) -> Any:
        """Go to where the session's flow leads after it is completed, or back home."""
        then = (self.session["flow"] or {}).get("after_completion") or {"type": "portal_homepage"}
        if then["type"] == "redirect":
            return redirect(then["redirect"]["return_url"], 303)
        if then["type"] == "hosted_confirmation":
            return redirect(f"{self.home}/confirmed?done={what}", 303)
        return redirect(f"{self.home}/home?done={what}", 303)


def form() -> dict[str, str]:
    """Return what was typed, without spaces around it."""
    return {name: value.strip() for name, value in request.form.items()}


def in_words(visit: Visit, subscription: Document) -> Document:
    """Return a subscription in words: what, how much, until when."""
    world = visit.world
    items = subscriptions.items_of(subscription)
    prices = [world.get("price", item["price"]) for item in items]
    names = [world.get("product", price["product"])["name"] for price in prices]
    quantities = [item.get("quantity") or 1 for item in items]
    method = methods.default_for(world, visit.customer, subscription["default_payment_method"])
    return {
        "id": subscription["id"],
        "status": subscription["status"],
        "name": ", ".join(name if n == 1 else f"{n} × {name}" for name, n in zip(names, quantities, strict=True)),
        "price": ", ".join(order.price_words(price, n) for price, n in zip(prices, quantities, strict=True)),
        "renews_at": subscriptions.next_due(subscription),
        "trial": subscription["status"] == "trialing",
        "cancel_at": subscription["cancel_at"],
        "paused": subscription["pause_collection"] is not None or subscription["status"] == "paused",
        "planned": bool(subscription["schedule"]),
        "may_pause": visit.features["subscription_pause"]["enabled"] and subscription["status"] == "active",
        "may_restart": visit.features["subscription_pause"]["enabled"] and subscription["status"] == "paused",
        "card": method["card"] if method else None,
        "may_change": visit.features["subscription_update"]["enabled"]
        and len(items) == 1
        and subscription["status"] in ("active", "trialing"),
    }
