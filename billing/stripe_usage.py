"""What the app asks Stripe about use and about what customers may use: meters, their events, entitlements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import structlog
from flask import current_app

from billing import errors, gateway

Json = dict[str, Any]
log = structlog.get_logger(__name__)

# Whose next invoice is made by itself.
BILLED = frozenset({"trialing", "active", "past_due"})


def retrieve_subscription(subscription_id: str, *, quick: bool = False) -> Json:
    """Fetch a subscription as the gateway does; its prices by use with their tiers and the discounts of what is coming.

    Those are under `coming_discounts`: `percent_off` or `amount_off` in cents, the `products` that it is for (none: all
    of them), and when it ends.
    """
    found = gateway.retrieve_subscription(subscription_id, quick=quick)
    by_use = [i for i in found["items"]["data"] if (i["price"].get("recurring") or {}).get("usage_type") == "metered"]
    for item in by_use:
        item["price"]["tiers"] = gateway.retrieve_price(item["price"]["id"], quick=quick).get("tiers")
    if found["status"] in BILLED and (found.get("discounts") or found["customers_discount"]):
        found["coming_discounts"] = _coming_discounts(found, quick=quick)
    return found


def _coming_discounts(found: Json, *, quick: bool) -> list[Json]:
    expand: Json = {"expand": ["discounts.source.coupon.applies_to"]}
    if not (found.get("cancel_at") or found.get("cancel_at_period_end")):
        params: Json = {"subscription": found["id"], **expand}
        try:
            preview = gateway.call(lambda c: c.v1.invoices.create_preview(cast(Any, params)), quick=quick)
        except errors.StripeRefused as refused:
            log.warning("no preview of the next invoice", subscription=found["id"], error=str(refused))
        else:
            return [_terms_of(discount) for discount in preview["discounts"]]
    # Stripe previews no renewal of what ends; its last invoice has the subscription's own discounts.
    own = gateway.call(lambda c: c.v1.subscriptions.retrieve(found["id"], cast(Any, expand)), quick=quick)
    return [_terms_of(discount) for discount in own["discounts"]]


def _terms_of(discount: Json) -> Json:
    coupon = discount["source"]["coupon"]
    return {
        "percent_off": coupon["percent_off"],
        "amount_off": coupon["amount_off"],
        "products": (coupon.get("applies_to") or {}).get("products") or [],
        "end": discount["end"],
    }


def report_usage(params: Mapping[str, Any]) -> Json:
    """Report a meter event; Stripe refuses an identifier that it has seen within the last day (`is_seen_before`)."""
    return gateway.call(lambda c: c.v1.billing.meter_events.create(cast(Any, params)))


def is_seen_before(error: errors.StripeError) -> bool:
    """Tell whether Stripe refused a meter event because it has it already."""
    return error.code == "duplicate_meter_event" or "already exists with identifier" in str(error)


def usage_between(event_name: str, customer_id: str, start: int, end: int) -> int:
    """Return what Stripe has added up of a customer's meter events between two whole minutes, in epoch seconds."""
    params: Json = {"customer": customer_id, "start_time": start, "end_time": end}
    found = gateway.pages(lambda c: c.v1.billing.meters.event_summaries.list(find_meter(event_name), cast(Any, params)))
    return round(sum(float(summary["aggregated_value"]) for summary in found))


def find_meter(event_name: str) -> str:
    """Return the id of the active meter that adds up some events, once per process; raises StripeObjectMissing."""
    known: dict[str, str] = current_app.extensions.setdefault("stripe.meters", {})
    if event_name not in known:
        meters = gateway.pages(lambda c: c.v1.billing.meters.list({"status": "active", "limit": 100}))
        known.update({meter["event_name"]: meter["id"] for meter in meters})
    if event_name not in known:
        raise errors.StripeObjectMissing(f"no active meter adds up {event_name}", code="no_meter")
    return known[event_name]


def list_entitlements(customer_id: str, *, quick: bool = False) -> Json:
    """Return what Stripe says a customer may use, under the customer's own id: these objects have none.

    A customer that was deleted may use nothing.
    """
    params: Json = {"customer": customer_id, "limit": 100}
    try:
        first = gateway.call(lambda c: c.v1.entitlements.active_entitlements.list(cast(Any, params)), quick=quick)
    except errors.StripeObjectMissing:
        if not gateway.call(lambda c: c.v1.customers.retrieve(customer_id), quick=quick).get("deleted"):
            raise
        return {"id": customer_id, "customer": customer_id, "lookup_keys": []}
    found = first["data"]
    if first["has_more"]:
        found = list(gateway.pages(lambda c: c.v1.entitlements.active_entitlements.list(cast(Any, params))))
    return {"id": customer_id, "customer": customer_id, "lookup_keys": sorted(e["lookup_key"] for e in found)}
