"""Invoices: drafting, totals, finalising, paying, voiding - with the balance and the payment behind each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import methods, payments, pricing, tasks
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
SELF = {"account": None, "type": "self"}
NO_TAX = {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None}
DRAFT_SECONDS = 3600  # A cycle's draft stays open for about an hour, so that programs can add to it.
DESCRIPTIONS = {"subscription_create": "Subscription creation", "subscription_cycle": "Subscription update"}
# Told of an invoice that was paid, or whose payment failed; subscriptions listen here.
ON_PAID: list[Any] = []
ON_PAYMENT_FAILED: list[Any] = []


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
        pricing=_pricing(price) if price else None,
        quantity=quantity,
        quantity_decimal=None if quantity is None else str(quantity),
        subscription=subscription,
        subtotal=amount,
        taxes=[],
        _product=price["product"] if price else None,
    )
    line.update(fields)
    return line


def _pricing(price: Document) -> Document:
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
    invoice["amount_due"] = due
    invoice["amount_remaining"] = max(due - invoice["amount_paid"], 0)
    return invoice


def schedule_finalisation(world: World, invoice: Document) -> None:
    """Let a draft finalise itself in an hour, as the drafts of renewals do."""
    invoice["automatically_finalizes_at"] = world.now + DRAFT_SECONDS
    world.save(invoice)
    world.schedule("invoice.finalize", invoice, world.now + DRAFT_SECONDS)


def finalize(world: World, invoice: Document) -> Document:
    """Close a draft: number it, draw on the balance, prepare its payment; an invoice over nothing is paid."""
    if invoice["status"] != "draft":
        raise errors.invalid("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    customer = world.get("customer", invoice["customer"])
    invoice["starting_balance"] = customer["balance"]
    total(world, invoice)
    world.unschedule("invoice.finalize", invoice)
    _number(world, invoice, customer)
    token = ids.token(24)
    address = f"{world.sandbox.base_url}/invoice/{token}"
    invoice.update(
        automatically_finalizes_at=None,
        effective_at=world.now,
        ending_balance=customer["balance"],
        hosted_invoice_url=address,
        invoice_pdf=f"{address}/pdf",
        status="open",
        _hosted=token,
    )
    invoice["status_transitions"]["finalized_at"] = world.now
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        invoice["due_date"] = world.now + 30 * 86400
    if invoice["total"] + invoice["starting_balance"] != invoice["amount_due"] or customer["balance"]:
        _draw_on_balance(world, invoice, customer)
    world.save(invoice)
    if invoice["amount_due"] > 0:
        _prepare_payment(world, invoice)
    world.emit("invoice.finalized", invoice)
    paid_by = world.find("payment_intent", invoice.get("_paid_by"))
    if invoice["amount_due"] == 0 or paid_by is not None:
        mark_paid(world, invoice, intent=paid_by)
    return invoice


def _number(world: World, invoice: Document, customer: Document) -> None:
    invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    world.save(customer)


def _draw_on_balance(world: World, invoice: Document, customer: Document) -> None:
    """Use a customer's credit (a negative balance) or add what they owe; a negative total becomes credit."""
    before = customer["balance"]
    after = min(before + invoice["total"], 0)
    invoice["ending_balance"] = after
    change = after - before
    if change == 0:
        return
    kind = "applied_to_invoice" if invoice["total"] >= 0 else "adjustment"
    change_balance(world, customer, change, type=kind, currency=invoice["currency"], invoice=invoice["id"])


def change_balance(
    world: World,
    customer: Document,
    amount: int,
    *,
    type: str,  # noqa: A002 - Stripe's word
    currency: str,
    **fields: Any,
) -> Document:
    """Add cents to a customer's balance (negative: credit) and keep the transaction."""
    customer["balance"] += amount
    customer["currency"] = customer["currency"] or currency
    entry = world.add(
        objects.new(
            world,
            "customer_balance_transaction",
            amount=amount,
            currency=currency,
            customer=customer["id"],
            ending_balance=customer["balance"],
            type=type,
            **{"metadata": {}, **fields},
        )
    )
    world.save(customer, "customer.updated")
    return entry


def _prepare_payment(world: World, invoice: Document) -> None:
    """Give an invoice the payment intent that will pay it, unless its payment has been made already."""
    paid_by = world.find("payment_intent", invoice.get("_paid_by"))
    intent = paid_by or payments.new_intent(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=DESCRIPTIONS.get(invoice["billing_reason"], f"Payment for Invoice {invoice['number']}"),
        setup_future_usage="off_session" if invoice["billing_reason"] == "subscription_create" else None,
        receipt_email=None,
        _invoice=invoice["id"],
    )
    if paid_by is not None:
        intent["_invoice"] = invoice["id"]
        world.save(intent)
    add_payment(world, invoice, intent)


def add_payment(world: World, invoice: Document, intent: Document) -> Document:
    """Tie a payment intent to an invoice."""
    return world.add(
        objects.new(
            world,
            "invoice_payment",
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"payment_intent": intent["id"], "type": "payment_intent"},
            status="open",
            status_transitions={"canceled_at": None, "paid_at": None},
        )
    )


def open_payment(world: World, invoice: Document) -> Document | None:
    """Return the invoice payment that is still to be paid, or None."""
    return world.first("invoice_payment", {"invoice": invoice["id"], "status": "open"})


def intent_of(world: World, invoice: Document) -> Document | None:
    """Return the payment intent that is to pay, or has paid, an invoice."""
    for payment in world.select("invoice_payment", {"invoice": invoice["id"]}):
        if payment["is_default"] and payment["payment"]["type"] == "payment_intent":
            return world.find("payment_intent", payment["payment"]["payment_intent"])
    return None


def pay(
    world: World,
    invoice: Document,
    *,
    method: Document | None = None,
    off_session: bool = True,
    automatic: bool = False,
) -> Document:
    """Charge an open invoice to a card; raises Stripe's card error when it is refused.

    `automatic` attempts count and are those of the cycle and its retries; a person's attempts do not move the schedule.
    """
    if invoice["status"] == "draft":
        finalize(world, invoice)
    if invoice["status"] == "paid":
        return invoice
    customer = world.get("customer", invoice["customer"])
    subscription = subscription_of(world, invoice)
    preferred = (invoice["default_payment_method"], (subscription or {}).get("default_payment_method"))
    method = method or methods.default_for(world, customer, *preferred)
    intent = intent_of(world, invoice)
    if intent is None:
        raise RuntimeError(f"the open invoice {invoice['id']} has no payment")
    if automatic or invoice["attempt_count"] == 0:
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    world.save(invoice)
    if method is None:
        raise _no_method(world, invoice, intent)
    payments.confirm(world, intent, method, off_session=off_session)
    if intent["status"] == "requires_action":
        world.emit("invoice.payment_action_required", invoice)
        for tell in ON_PAYMENT_FAILED:
            tell(world, invoice)
    return invoice


def _no_method(world: World, invoice: Document, intent: Document) -> errors.StripeError:
    message = (
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/"
        "payment-methods-setting#payment-method-priority."
    )
    _payment_failed(world, intent)
    return errors.StripeError(message, code="resource_missing", keep=True)


def subscription_of(world: World, invoice: Document) -> Document | None:
    """Return the subscription that an invoice bills, or None."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return world.find("subscription", details["subscription"]) if details else None


def _payment_succeeded(world: World, intent: Document) -> None:
    invoice = world.find("invoice", intent.get("_invoice"))
    if invoice is not None and invoice["status"] in ("open", "uncollectible"):
        mark_paid(world, invoice, intent=intent)


def _payment_failed(world: World, intent: Document) -> None:
    invoice = world.find("invoice", intent.get("_invoice"))
    if invoice is None or invoice["status"] != "open":
        return
    invoice["attempted"] = True
    world.save(invoice)
    for tell in ON_PAYMENT_FAILED:
        tell(world, invoice)
    world.emit("invoice.payment_failed", invoice)
    asked = (intent["last_payment_error"] or {}).get("code") == "authentication_required"
    if asked:
        world.emit("invoice.payment_action_required", invoice)


payments.ON_SUCCESS.append(_payment_succeeded)
payments.ON_FAILURE.append(_payment_failed)


def mark_paid(
    world: World, invoice: Document, *, intent: Document | None = None, out_of_band: bool = False
) -> Document:
    """Record that an invoice is paid - by an intent, out of band, or because nothing was due."""
    due = invoice["amount_due"]
    invoice.update(
        amount_paid=due if not out_of_band else 0,
        amount_remaining=0,
        attempted=True,
        next_payment_attempt=None,
        status="paid",
    )
    invoice["status_transitions"]["paid_at"] = world.now
    world.unschedule("invoice.retry", invoice)
    world.save(invoice, "invoice.updated")
    payment = open_payment(world, invoice)
    if payment is not None:
        if intent is not None and payment["payment"]["payment_intent"] == intent["id"]:
            payment.update(status="paid", amount_paid=due)
            payment["status_transitions"]["paid_at"] = world.now
            world.save(payment)
            world.emit("invoice_payment.paid", payment)
        else:
            cancel_payment(world, payment)
    for tell in ON_PAID:
        tell(world, invoice)
    world.emit("invoice.paid", invoice)
    if not out_of_band:
        world.emit("invoice.payment_succeeded", invoice)
    return invoice


def cancel_payment(world: World, payment: Document) -> None:
    """Cancel an open invoice payment and the intent behind it."""
    payment["status"] = "canceled"
    payment["status_transitions"]["canceled_at"] = world.now
    world.save(payment)
    intent = world.find("payment_intent", payment["payment"].get("payment_intent"))
    if intent is not None and intent["status"] not in ("succeeded", "canceled"):
        payments.cancel(world, intent, "void_invoice")


def void(world: World, invoice: Document) -> Document:
    """Void an open invoice: it keeps its number and is owed no more."""
    return _close(world, invoice, "void", "voided_at", "invoice.voided")


def mark_uncollectible(world: World, invoice: Document, reason: str | None = None) -> Document:
    """Give up on an open invoice; it can still be paid."""
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    return _close(world, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def _close(world: World, invoice: Document, status: str, stamp: str, event: str) -> Document:
    invoice.update(status=status, next_payment_attempt=None, auto_advance=False)
    invoice["status_transitions"][stamp] = world.now
    world.unschedule("invoice.retry", invoice)
    world.unschedule("invoice.finalize", invoice)
    world.save(invoice, "invoice.updated")
    payment = open_payment(world, invoice)
    if payment is not None and status == "void":
        cancel_payment(world, payment)
    world.emit(event, invoice)
    return invoice


@tasks.task("invoice.finalize")
def finalise_when_due(world: World, invoice: Document) -> None:
    """Finalise a draft whose hour is over, and charge it."""
    if invoice["status"] != "draft":
        return
    finalize(world, invoice)
    if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        attempt(world, invoice)


def attempt(world: World, invoice: Document) -> bool:
    """Try to collect an invoice by itself, off session; tells whether it was paid."""
    try:
        pay(world, invoice, automatic=True)
    except errors.StripeError as error:
        if not error.keep:
            raise
    return bool(invoice["status"] == "paid")


@rendering.embeds("invoice")
def _embed_lines(world: World, shown: Document, stored: Document) -> None:
    lines = rendering.public(stored["_lines"])
    address = f"/v1/invoices/{shown['id']}/lines"
    shown["lines"] = rendering.listing(address, lines[:10], has_more=len(lines) > 10, total_count=len(lines))


@rendering.on_demand("invoice", "payments")
def _show_payments(world: World, invoice: Document) -> Document:
    payments_made = list(world.select("invoice_payment", {"invoice": invoice["id"]}))
    return rendering.listing(
        f"/v1/invoices/{invoice['id']}/payments", [rendering.render(world, payment) for payment in payments_made]
    )


@rendering.on_demand("invoice", "confirmation_secret")
def _show_secret(world: World, invoice: Document) -> Document | None:
    intent = intent_of(world, invoice)
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None
