"""What is asked of Stripe in the life of a subscription: pause, go on, end, pay what is owed, open the portal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from billing import gateway

Json = dict[str, Any]


def pause(subscription_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Pause a subscription: no invoices and no new periods until it is resumed."""
    options: Any = {"idempotency_key": idempotency_key}
    return gateway.call(lambda c: c.v1.subscriptions.pause(subscription_id, cast(Any, params), options))


def resume(subscription_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Resume a paused subscription, once per key; it stays paused while what that costs is unpaid."""
    options: Any = {"idempotency_key": idempotency_key}
    return gateway.call(lambda c: c.v1.subscriptions.resume(subscription_id, cast(Any, params), options))


def cancel(subscription_id: str, params: Mapping[str, Any]) -> Json:
    """End a subscription at once; one that has ended already raises StripeObjectMissing."""
    return gateway.call(lambda c: c.v1.subscriptions.cancel(subscription_id, cast(Any, params)))


def pay_invoice(invoice_id: str, payment_method_id: str, *, idempotency_key: str) -> Json:
    """Charge an open invoice to a payment method, once per key; raises CardDeclined."""
    params = {"payment_method": payment_method_id, "off_session": True}
    options: Any = {"idempotency_key": idempotency_key}
    return gateway.call(lambda c: c.v1.invoices.pay(invoice_id, cast(Any, params), options))


def open_portal(customer_id: str, *, return_url: str, configuration: str | None, flow: Json | None = None) -> str:
    """Return the address of the Customer Portal, or of one page of it (`flow`); short-lived, so never stored."""
    optional = {"configuration": configuration, "flow_data": flow}
    params: Json = {"customer": customer_id, "return_url": return_url, **{k: v for k, v in optional.items() if v}}
    return str(gateway.call(lambda c: c.v1.billing_portal.sessions.create(cast(Any, params)))["url"])
