"""Invoices once they are drafted: finalising, paying, voiding - with the balance and the payment behind each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import customers, drafting, methods, payments, tasks
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]
DRAFT_SECONDS = 3600  # A cycle's draft stays open for about an hour, so that programs can add to it.
DESCRIPTIONS = {"subscription_create": "Subscription creation", "subscription_cycle": "Subscription update"}
# Asked, before a draft is closed, to bring its lines up to date; metered usage listens here.
BEFORE_FINALIZE: list[Any] = []
# Told of an invoice that was paid, or whose payment failed; subscriptions listen here.
ON_PAID: list[Any] = []
# Told of an invoice that was voided or given up as uncollectible.
ON_CLOSED: list[Any] = []
# Asked, before invoice.payment_failed is sent, to plan the next attempt; told afterwards that the payment failed.
PLAN_RETRY: list[Any] = []
ON_PAYMENT_FAILED: list[Any] = []


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
    for bring_up_to_date in BEFORE_FINALIZE:
        bring_up_to_date(world, invoice)
    invoice["starting_balance"] = customer["balance"]
    drafting.total(world, invoice)
    world.unschedule("invoice.finalize", invoice)
    _number(world, invoice, customer)
    token = ids.token(24)
    address = f"{world.sandbox.base_url}/invoice/{token}"
    invoice.update(
        automatically_finalizes_at=None,
        effective_at=world.now,
        webhooks_delivered_at=world.now,
        ending_balance=customer["balance"],
        hosted_invoice_url=address,
        invoice_pdf=f"{address}/pdf",
        status="open",
        _hosted=token,
    )
    invoice["status_transitions"]["finalized_at"] = world.now
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        days = invoice.get("_days_until_due")
        invoice["due_date"] = world.now + (30 if days is None else days) * 86400
    if invoice["total"] + invoice["starting_balance"] != invoice["amount_due"] or customer["balance"]:
        _draw_on_balance(world, invoice, customer)
    world.save(invoice)
    if invoice["amount_due"] > 0:
        _prepare_payment(world, invoice)
    world.emit("invoice.finalized", invoice)
    paid_by = world.find("payment_intent", invoice.get("_paid_by"))
    if invoice["amount_due"] == 0 or paid_by is not None:
        mark_paid(world, invoice, intent=paid_by)
    elif invoice["due_date"]:
        world.schedule("invoice.overdue", invoice, invoice["due_date"])
    return invoice


def _number(world: World, invoice: Document, customer: Document) -> None:
    invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    world.save(customer)


def _draw_on_balance(world: World, invoice: Document, customer: Document) -> None:
    """Use a customer's credit (a negative balance) or add what they owe; a negative total becomes credit."""
    before = customer["balance"]
    left = before + invoice["total"]
    after = 0 if invoice["amount_due"] else left
    invoice["ending_balance"] = after
    change = after - before
    if change == 0:
        return
    kind = "applied_to_invoice" if invoice["total"] >= 0 and left <= 0 else "adjustment"
    if left > 0 and not invoice["amount_due"]:
        kind = "invoice_too_small"
    customers.change_balance(world, customer, change, type=kind, currency=invoice["currency"], invoice=invoice["id"])


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
    invoice["attempted"] = True  # Saved with what comes of the attempt, so that one event tells of both.
    if method is None:
        raise _no_method(world, invoice, intent)
    payments.confirm(world, intent, method, off_session=off_session)
    if intent["status"] == "requires_action":
        for plan in PLAN_RETRY:
            plan(world, invoice)
        world.save(invoice, "invoice.updated")
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
    for plan in PLAN_RETRY:
        plan(world, invoice)
    world.save(invoice, "invoice.updated")
    world.emit("invoice.payment_failed", invoice)
    asked = (intent["last_payment_error"] or {}).get("code") == "authentication_required"
    if asked:
        world.emit("invoice.payment_action_required", invoice)
    for tell in ON_PAYMENT_FAILED:
        tell(world, invoice)


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
    """Void an open invoice: it keeps its number, is owed no more, and gives back the credit it had used."""
    customer = world.get("customer", invoice["customer"])
    used = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if used:
        customers.change_balance(
            world,
            customer,
            -used,
            type="unapplied_from_invoice",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
    _close(world, invoice, "void", "voided_at", "invoice.voided")
    for tell in ON_CLOSED:
        tell(world, invoice)
    return invoice


def stop_collecting(world: World, invoice: Document) -> Document:
    """Try no further to collect an invoice by itself, or to finalise a draft; it can still be paid."""
    invoice.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)
    world.unschedule("invoice.finalize", invoice)
    world.unschedule("invoice.retry", invoice)
    world.unschedule("invoice.collect", invoice)
    return world.save(invoice, "invoice.updated")


def mark_uncollectible(world: World, invoice: Document, reason: str | None = None) -> Document:
    """Give up on an open invoice; it can still be paid."""
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    _close(world, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")
    for tell in ON_CLOSED:
        tell(world, invoice)
    return invoice


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
    if invoice["status"] == "open" and invoice["collection_method"] == "send_invoice":
        world.emit("invoice.sent", invoice)
    elif invoice["status"] == "open":
        attempt(world, invoice)


@tasks.task("invoice.collect")
@tasks.task("invoice.retry")
def collect_when_due(world: World, invoice: Document) -> None:
    """Charge an invoice that is still open."""
    if invoice["status"] == "open":
        attempt(world, invoice)


@tasks.task("invoice.overdue")
def note_overdue(world: World, invoice: Document) -> None:
    """Say that an invoice that was sent was not paid by its due date."""
    if invoice["status"] == "open":
        world.emit("invoice.overdue", invoice)
        for tell in ON_PAYMENT_FAILED:
            tell(world, invoice)


def attempt(world: World, invoice: Document) -> bool:
    """Try to collect an invoice by itself, off session; tells whether it was paid."""
    try:
        pay(world, invoice, automatic=True)
    except errors.StripeError as error:
        if not error.keep:
            raise
    return bool(invoice["status"] == "paid")


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
