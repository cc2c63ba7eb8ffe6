"""Constructors that give complete objects: every field of the contract is there, null where Stripe says null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import ids

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]

# The contract writes "may be null" and "may be absent" alike. These are absent unless they apply or are asked for.
ABSENT: dict[str, set[str]] = {
    "billing.meter_event_adjustment": set(),
    "charge": {
        "authorization_code",
        "level3",
        "payment_record",
        "presentment_details",
        "refunds",
        "source",
        "transfer",
    },
    "checkout.session": {
        "currency_conversion_details",
        "line_items",
        "name_collection",
        "optional_items",
        "payment_method_configuration_details",
        "phone_number_collection",
        "presentment_details",
        "shipping_address_collection",
        "tax_id_collection",
        "managed_payments",
        "allowed_payment_method_types",
        "excluded_payment_method_types",
    },
    "coupon": {"applies_to", "currency_options"},
    "credit_note": {"shipping_cost"},
    "customer": {
        "business_name",
        "cash_balance",
        "customer_account",
        "individual_name",
        "invoice_credit_balance",
        "sources",
        "subscriptions",
        "tax",
        "tax_ids",
    },
    "dispute": {"network_reason_code", "payment_method_details"},
    "event": {"account", "context"},
    "invoice": {
        "amount_paid_off_stripe",
        "confirmation_secret",
        "customer_account",
        "payments",
        "subscription",
        "status_details",
    },
    "invoiceitem": {"customer_account"},
    "line_item": {"subscription_item"},
    "item": {"adjustable_quantity", "discounts", "taxes"},
    "payment_intent": {
        "allowed_payment_method_types",
        "amount_details",
        "hooks",
        "managed_payments",
        "payment_details",
        "payment_record",
        "presentment_details",
        "source",
    },
    "price": {"currency_options", "tiers"},
    "product": {"tax_details"},
    "refund": {"description", "failure_balance_transaction", "failure_reason", "instructions_email", "next_action"}
    | {"pending_reason", "presentment_details", "customer", "payment_method"},
    "setup_attempt": {"attach_to_self"},
    "setup_intent": {"allowed_payment_method_types", "attach_to_self", "managed_payments", "single_use_mandate"},
    "subscription": {"managed_payments", "presentment_details", "status_details", "customer_account"},
    "subscription_item": {"billed_until", "current_trial", "quantity"},
    "webhook_endpoint": {"secret"},
}
# Kinds whose optional fields are mostly "one of these, by type": only what the constructor names is there.
SPARSE = {"payment_method", "account", "balance", "payment_method_configuration", "mandate"}


def new(world: World, kind: str, *, id: str | None = None, **fields: Any) -> Document:  # noqa: A002 - Stripe's word
    """Return an object of a kind with a fresh id, the time, and null in every nullable field that is not given."""
    contract = world.sandbox.contract
    known = contract.properties(kind)
    document: Document = {"id": id or ids.new(kind), "object": kind}
    if kind not in SPARSE:
        absent = ABSENT.get(kind, set())
        document.update({name: None for name in contract.nullable(kind) if name not in absent})
    if "created" in known:
        document["created"] = world.now
    if "livemode" in known:
        document["livemode"] = False
    document.update(fields)
    return document
