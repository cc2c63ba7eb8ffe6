"""Drafting invoices: their lines, discounts and totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import objects
from stripe_sandbox.engine import pricing
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
SELF = {"account": None, "type": "self"}
MINIMUMS = {"gbp": 30, "dkk": 250, "nok": 300, "sek": 300, "mxn": 1000, "hkd": 400, "czk": 1500, "huf": 17500}
NO_TAX = {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None}


def new_line(
    world: World,
    *,
    amount: int,
    currency: str,
    description: str | None,
    period: tuple[int, int],
    parent: Document,
    price: Document | None = None,
    quantity: int | None = 1,
    discountable: bool = True,
    metadata: dict[str, str] | None = None,
    **fields: Any,
) -> Document:
    """Return an invoice line; `amount` in cents before discounts, `price` sets its `pricing`."""
    subscription = (parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}).get(
        "subscription"
    )
    line = objects.new(
        world,
        "line_item",
        amount=amount,
        currency=currency,
        description=description,
        discount_amounts=[],
        discountable=discountable,
        discounts=[],
        metadata=metadata or {},
        parent=parent,
        period={"end": period[1], "start": period[0]},
        pretax_credit_amounts=[],
        pricing=priced(price) if price else None,
        quantity=quantity,
        quantity_decimal=None if quantity is None else str(quantity),
        subscription=subscription,
        subtotal=amount,
        taxes=[],
        _product=price["product"] if price else None,
    )
    line.update(fields)
    return line


def priced(price: Document) -> Document:
    """Return a line's `pricing` for a price."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def draft(
    world: World,
    customer: Document,
    lines: list[Document],
    *,
    billing_reason: str,
    currency: str,
    subscription: Document | None = None,
    discounts: list[Document] | None = None,
    period: tuple[int, int] | None = None,
    event: str | None = "invoice.created",
    **fields: Any,
) -> Document:
    """Create a draft invoice with its lines and totals; `discounts` are discount objects in the order they apply."""
    invoice = build(
        world,
        customer,
        lines,
        billing_reason=billing_reason,
        currency=currency,
        subscription=subscription,
        discounts=discounts,
        period=period,
        **fields,
    )
    for line in lines:
        item = world.find("invoiceitem", (line["parent"]["invoice_item_details"] or {}).get("invoice_item"))
        if item is not None:
            item.update(invoice=invoice["id"], _pending=False)
            world.save(item)
    return world.add(invoice, event)


def build(
    world: World,
    customer: Document,
    lines: list[Document],
    *,
    billing_reason: str,
    currency: str,
    subscription: Document | None = None,
    discounts: list[Document] | None = None,
    period: tuple[int, int] | None = None,
    **fields: Any,
) -> Document:
    """Return a draft invoice without keeping it: what previews show."""
    period = period or (world.now, world.now)
    invoice = objects.new(
        world,
        "invoice",
        account_country="US",
        account_name="Sandbox",
        amount_due=0,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        auto_advance=billing_reason != "manual",
        automatic_tax=dict(NO_TAX),
        billing_reason=billing_reason,
        collection_method="charge_automatically",
        currency=currency,
        customer=customer["id"],
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        customer_tax_ids=[
            {"type": tax_id["type"], "value": tax_id["value"]}
            for tax_id in world.select("tax_id", {"customer": customer["id"]})
        ],
        default_tax_rates=[],
        discounts=[discount["id"] for discount in discounts or []],
        issuer=dict(SELF),
        lines={},
        metadata={},
        parent=_parent(subscription),
        payment_settings={"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        period_end=period[1],
        period_start=period[0],
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=customer["balance"],
        status="draft",
        status_transitions={
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        test_clock=customer["test_clock"],
        _lines=lines,
        _discounts=[discount["id"] for discount in discounts or []],
    )
    invoice.update(fields)
    for line in lines:
        line["invoice"] = invoice["id"]
    total(world, invoice)
    return invoice


def minimum(currency: str) -> int:
    """Return the smallest amount that can be charged (https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts)."""
    return MINIMUMS.get(currency, 50)


def _parent(subscription: Document | None) -> Document | None:
    if subscription is None:
        return None
    details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def total(world: World, invoice: Document) -> Document:
    """Work out the totals of an invoice from its lines and discounts."""
    lines = invoice["_lines"]
    discounts = [found for wanted in invoice["_discounts"] if (found := world.find("discount", wanted))]
    pricing.discount_lines(
        lines, [(discount["id"], world.get("coupon", discount["source"]["coupon"])) for discount in discounts]
    )
    subtotal = sum(line["amount"] for line in lines)
    off: dict[str, int] = {discount["id"]: 0 for discount in discounts}
    for line in lines:
        for part in line["discount_amounts"]:
            off[part["discount"]] += part["amount"]
    amount = subtotal - sum(off.values())
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=amount,
        total_excluding_tax=amount,
        total_discount_amounts=[{"amount": cents, "discount": discount} for discount, cents in off.items()],
        total_pretax_credit_amounts=[],
        total_taxes=[],
    )
    due = max(amount + invoice["starting_balance"], 0)
    if due < minimum(invoice["currency"]) and not invoice.get("_paid_by"):
        due = 0  # Too small to charge: it is added to what the customer owes, and the next invoice takes it.
    invoice["amount_due"] = due
    invoice["amount_remaining"] = max(due - invoice["amount_paid"], 0)
    return invoice


@rendering.embeds("invoice")
def _embed_lines(world: World, shown: Document, stored: Document) -> None:
    lines = rendering.public(stored["_lines"])
    address = f"/v1/invoices/{shown['id']}/lines"
    shown["lines"] = rendering.listing(address, lines[:10], has_more=len(lines) > 10, total_count=len(lines))
