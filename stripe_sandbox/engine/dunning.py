"""Dunning: what a paid, failed or abandoned invoice means for its subscription and for the customer.

A failed renewal makes the subscription past due and is tried again on the days of `account_settings`; when the last
attempt has failed the subscription is canceled, unpaid, or stays past due, as set there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox.engine import account_settings, invoicing, methods, subscriptions, tasks

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
OWING = ("past_due", "unpaid")


def latest_finalised(world: World, subscription: Document) -> str | None:
    """Return the id of the newest invoice of a subscription that is no draft any more."""
    for invoice in world.select("invoice", {"subscription": subscription["id"]}):
        if invoice["status"] != "draft":
            return str(invoice["id"])
    return None


def _is_awaited(subscription: Document, invoice: Document) -> bool:
    """Tell whether a change of plan or a resumption waits for an invoice; its failure costs no access."""
    return bool((subscription.get("_awaiting") or {}).get("invoice") == invoice["id"])


def _paid(world: World, invoice: Document) -> None:
    """Bring a subscription up to date when one of its invoices is paid."""
    _set_delinquent(world, invoice, delinquent=False)
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None:
        return
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        _save_method(world, subscription, invoicing.intent_of(world, invoice))
    if not _is_awaited(subscription, invoice):
        settle(world, subscription, invoice)


def _save_method(world: World, subscription: Document, intent: Document | None) -> None:
    """Let a subscription go on with the card that paid, or set it up, when it has none of its own."""
    method = world.find("payment_method", (intent or {}).get("payment_method"))
    if method is not None and subscription["default_payment_method"] is None and method["customer"]:
        subscription["default_payment_method"] = method["id"]
        world.save(subscription, "customer.subscription.updated")


def _set_up(world: World, intent: Document) -> None:
    """Take a subscription's pending setup off it when its card has been set up."""
    subscription = world.find("subscription", intent.get("_subscription"))
    if subscription is None or subscription["pending_setup_intent"] != intent["id"]:
        return
    subscription["pending_setup_intent"] = None
    world.save(subscription, "customer.subscription.updated")
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        _save_method(world, subscription, intent)


def settle(world: World, subscription: Document, invoice: Document) -> None:
    """Make a subscription active when the invoice that stood in its way no longer does."""
    owing = subscription["status"] in OWING and latest_finalised(world, subscription) == invoice["id"]
    if subscription["status"] == "incomplete" or owing:
        subscription["status"] = "active"
        world.save(subscription, "customer.subscription.updated")
        world.unschedule("subscription.expire", subscription)
        subscriptions.schedule(world, subscription)


def _closed(world: World, invoice: Document) -> None:
    """Let a subscription go on when the invoice it owed was voided or given up."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or _is_awaited(subscription, invoice):
        return
    if subscription["status"] in OWING:
        settle(world, subscription, invoice)


def _plan_retry(world: World, invoice: Document) -> None:
    """Set when an invoice is tried again; null when it will not be."""
    subscription = invoicing.subscription_of(world, invoice)
    retried = invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically"
    if subscription is not None:
        waits = subscription["status"] in ("incomplete", "paused") or _is_awaited(subscription, invoice)
        retried = retried and not waits and subscription["status"] in subscriptions.LIVE
    days = account_settings.get(world.store)["retry_days"]
    attempts = invoice["attempt_count"]
    if not retried or attempts > len(days):
        invoice["next_payment_attempt"] = None
        world.unschedule("invoice.retry", invoice)
    elif invoice["next_payment_attempt"] is None or invoice["next_payment_attempt"] <= world.now:
        invoice["next_payment_attempt"] = world.now + days[attempts - 1] * 86400
        world.schedule("invoice.retry", invoice, invoice["next_payment_attempt"])


def _failed(world: World, invoice: Document) -> None:
    """Make a subscription past due when a payment fails, and end the dunning when that was the last attempt."""
    subscription = invoicing.subscription_of(world, invoice)
    if subscription is None or _is_awaited(subscription, invoice):
        return
    if subscription["status"] not in ("active", "trialing", "past_due") or invoice["billing_reason"] == "manual":
        return
    _set_delinquent(world, invoice, delinquent=True)
    if subscription["status"] == "active":
        subscription["status"] = "past_due"
        world.save(subscription, "customer.subscription.updated")
        subscriptions.schedule(world, subscription)
    settings = account_settings.get(world.store)
    if invoice["attempt_count"] <= len(settings["retry_days"]) or subscription["status"] != "past_due":
        return
    outcome = settings["after_retries"]
    if outcome == "cancel":
        subscriptions.end(world, subscription, reason="payment_failed")
    elif outcome == "unpaid":
        subscription["status"] = "unpaid"
        world.save(subscription, "customer.subscription.updated")
        invoicing.stop_collecting(world, invoice)
        subscriptions.schedule(world, subscription)


def _set_delinquent(world: World, invoice: Document, *, delinquent: bool) -> None:
    customer = world.find("customer", invoice["customer"])
    if customer is not None and customer["delinquent"] != delinquent:
        customer["delinquent"] = delinquent
        world.save(customer, "customer.updated")


invoicing.ON_PAID.append(_paid)
methods.ON_SETUP.append(_set_up)
invoicing.ON_CLOSED.append(_closed)
invoicing.PLAN_RETRY.append(_plan_retry)
invoicing.ON_PAYMENT_FAILED.append(_failed)


@tasks.task("subscription.expire")
def expire_incomplete(world: World, subscription: Document) -> None:
    """Give up on a subscription whose first invoice was not paid within 23 hours."""
    if subscription["status"] != "incomplete":
        return
    subscription.update(status="incomplete_expired", ended_at=world.now)
    world.save(subscription, "customer.subscription.updated")
    subscriptions.schedule(world, subscription)
    invoice = world.find("invoice", subscription["latest_invoice"])
    if invoice is not None and invoice["status"] == "open":
        invoicing.void(world, invoice)
