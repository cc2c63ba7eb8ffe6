"""What the sandbox's tests sell, made through the official SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import stripe


@dataclass
class Goods:
    customer: str
    pack: str
    plan: str
    product: str


def open_shop(client: stripe.StripeClient) -> Goods:
    customer = client.v1.customers.create({"email": "jenny@example.com", "name": "Jenny Rosen"})
    product = client.v1.products.create({"name": "Basic"})
    pack = client.v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 500})
    plan = client.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 1500, "recurring": {"interval": "month"}}
    )
    return Goods(customer.id, pack.id, plan.id, product.id)


def checkout(client: stripe.StripeClient, goods: Goods, mode: str = "payment", **more: Any) -> stripe.checkout.Session:
    """Create a session for the pack or the plan."""
    params: dict[str, Any] = {
        "mode": mode,
        "customer": goods.customer,
        "success_url": "https://shop.example/ok?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/pricing",
        **more,
    }
    if mode != "setup":
        params["line_items"] = [{"price": goods.pack if mode == "payment" else goods.plan, "quantity": 1}]
    return client.v1.checkout.sessions.create(params)


def subscribe(client: stripe.StripeClient, goods: Goods, card: str = "pm_card_visa", **more: Any) -> Any:
    """Attach a card to the customer and subscribe them to the plan."""
    method = client.v1.payment_methods.attach(card, {"customer": goods.customer})
    params: dict[str, Any] = {
        "customer": goods.customer,
        "items": [{"price": goods.plan}],
        "default_payment_method": method.id,
        **more,
    }
    return client.v1.subscriptions.create(params)
