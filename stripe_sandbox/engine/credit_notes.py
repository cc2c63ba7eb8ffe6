"""Credit notes: lowering what an open invoice asks for, or giving back what a paid one took."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_sandbox import errors, ids, objects
from stripe_sandbox.engine import customers, invoicing, pricing, refunds
from stripe_sandbox.objects import rendering

if TYPE_CHECKING:
    from stripe_sandbox.world import World

Document = dict[str, Any]


def work_out(world: World, invoice: Document, params: Document) -> Document:
    """Return the credit note that a request asks for, not kept yet; raises Stripe's errors when it cannot be."""
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise errors.invalid(
            f"You can only create a credit note on a finalized invoice. This invoice is {invoice['status']}.", "invoice"
        )
    lines = _lines(world, invoice, params)
    subtotal = sum(line["amount"] for line in lines)
    off = sum(line["discount_amount"] for line in lines)
    total = subtotal - off
    left = creditable(invoice)
    if total < 1 or total > left:
        raise errors.invalid(
            f"The credit note total ({total}) must be between 1 and what is left to be credited on the invoice "
            f"({left}).",
            "amount",
        )
    paid = invoice["status"] == "paid"
    before = 0 if paid else min(total, invoice["amount_remaining"])
    note_id = ids.new("credit_note")
    discounts: dict[str, int] = {}
    for line in lines:
        for part in line["discount_amounts"]:
            discounts[part["discount"]] = discounts.get(part["discount"], 0) + part["amount"]
    note = objects.new(
        world,
        "credit_note",
        id=note_id,
        amount=total,
        amount_shipping=0,
        currency=invoice["currency"],
        customer=invoice["customer"],
        discount_amount=off,
        discount_amounts=[{"amount": cents, "discount": one} for one, cents in discounts.items()],
        effective_at=params.get("effective_at") or world.now,
        invoice=invoice["id"],
        lines={},
        memo=params.get("memo"),
        metadata=params.get("metadata") or {},
        number=f"{invoice['number']}-CN-{invoice.get('_credit_notes', 0) + 1:02d}",
        out_of_band_amount=params.get("out_of_band_amount"),
        pdf=f"{world.sandbox.base_url}/credit_notes/{note_id}/pdf",
        post_payment_amount=total - before,
        pre_payment_amount=before,
        pretax_credit_amounts=[],
        reason=params.get("reason"),
        refunds=[],
        status="issued",
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=total,
        total_excluding_tax=total,
        total_taxes=[],
        type="mixed" if 0 < before < total else ("pre_payment" if before else "post_payment"),
        _lines=lines,
    )
    _check_parts(note, params)
    return note


def creditable(invoice: Document) -> int:
    """Return how much of an invoice no credit note has credited yet, in cents."""
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    return int(max(invoice["total"], 0) - credited)


def _check_parts(note: Document, params: Document) -> None:
    """See to it that what is to be paid back adds up."""
    linked = sum(entry.get("amount_refunded") or 0 for entry in params.get("refunds") or [])
    parts = [params.get(name) or 0 for name in ("refund_amount", "credit_amount", "out_of_band_amount")]
    given = sum(parts) + linked
    if note["post_payment_amount"] and not params.get("refunds") and given != note["post_payment_amount"]:
        raise errors.invalid(
            "The sum of `credit_amount`, `refund_amount` and `out_of_band_amount` must equal the credit note's post "
            f"payment amount ({note['post_payment_amount']}).",
            "credit_amount",
        )
    if not note["post_payment_amount"] and given:
        raise errors.invalid(
            "An unpaid invoice has nothing to refund; only its amount can be lowered.", "refund_amount"
        )


def _lines(world: World, invoice: Document, params: Document) -> list[Document]:
    if params.get("lines"):
        return [_line(world, invoice, entry, n) for n, entry in enumerate(params["lines"])]
    parts = [params.get(name) or 0 for name in ("refund_amount", "credit_amount", "out_of_band_amount")]
    amount = params.get("amount") or sum(parts)
    if not amount:
        raise errors.invalid("You must pass one of `amount`, `lines` or `shipping_cost`.", "amount")
    return [_new_line(world, amount=amount, description="Credit", type="custom_line_item")]


def _line(world: World, invoice: Document, entry: Document, position: int) -> Document:
    quantity = entry.get("quantity") or 1
    if entry["type"] == "custom_line_item":
        amount = entry.get("amount") or (entry.get("unit_amount") or 0) * quantity
        return _new_line(
            world,
            amount=amount,
            description=entry.get("description"),
            quantity=quantity,
            type="custom_line_item",
            unit_amount=entry.get("unit_amount"),
        )
    source = next((line for line in invoice["_lines"] if line["id"] == entry.get("invoice_line_item")), None)
    if source is None:
        raise errors.no_such(
            "invoice line item", entry.get("invoice_line_item") or "", param=f"lines[{position}][invoice_line_item]"
        )
    whole = source["quantity"] or 1
    amount = entry.get("amount")
    if amount is None:
        amount = pricing.rounded(Decimal(source["amount"]) * (entry.get("quantity") or whole) / whole)
    parts = [
        {"amount": pricing.rounded(Decimal(part["amount"]) * amount / source["amount"]), "discount": part["discount"]}
        for part in source["discount_amounts"]
    ]
    return _new_line(
        world,
        amount=amount,
        description=source["description"],
        discount_amount=sum(part["amount"] for part in parts),
        discount_amounts=parts,
        invoice_line_item=source["id"],
        quantity=entry.get("quantity") or (whole if entry.get("amount") is None else None),
        type="invoice_line_item",
    )


def _new_line(world: World, **fields: Any) -> Document:
    return objects.new(
        world,
        "credit_note_line_item",
        **{
            "discount_amount": 0,
            "discount_amounts": [],
            "metadata": {},
            "pretax_credit_amounts": [],
            "tax_rates": [],
            "taxes": [],
            **fields,
        },
    )


def issue(world: World, note: Document, params: Document) -> Document:
    """Keep a credit note and do what it says: lower the invoice, refund, or credit the customer's balance."""
    invoice = world.get("invoice", note["invoice"])
    invoice["_credit_notes"] = invoice.get("_credit_notes", 0) + 1
    if note["post_payment_amount"]:
        _give_back(world, note, invoice, params)
    world.add(note, "credit_note.created")
    invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
    if note["pre_payment_amount"]:
        _lower(world, invoice, note["pre_payment_amount"])
    world.save(invoice, "invoice.updated")
    if invoice["status"] == "open" and invoice["amount_remaining"] == 0:
        invoicing.mark_paid(world, invoice)
    return note


def _give_back(world: World, note: Document, invoice: Document, params: Document) -> None:
    for entry in params.get("refunds") or []:
        if not entry.get("refund"):
            raise errors.parameter_missing("refunds[0][refund]")
        refund = world.get("refund", entry["refund"], param="refunds[0][refund]")
        amount = entry.get("amount_refunded") or refund["amount"]
        note["refunds"].append({"amount_refunded": amount, "refund": refund["id"], "type": "refund"})
    if params.get("refund_amount"):
        intent = invoicing.intent_of(world, invoice)
        charge = world.find("charge", (intent or {}).get("latest_charge"))
        if charge is None:
            raise errors.invalid("This invoice was not paid by a charge that could be refunded.", "refund_amount")
        refund = refunds.create(world, charge, amount=params["refund_amount"])
        note["refunds"].append({"amount_refunded": refund["amount"], "refund": refund["id"], "type": "refund"})
    if params.get("credit_amount"):
        customer = world.get("customer", note["customer"])
        entry = customers.change_balance(
            world,
            customer,
            -params["credit_amount"],
            type="credit_note",
            currency=note["currency"],
            credit_note=note["id"],
            invoice=invoice["id"],
        )
        note["customer_balance_transaction"] = entry["id"]


def _lower(world: World, invoice: Document, amount: int) -> None:
    """Ask for less on an open invoice, and of the payment that is to settle it."""
    invoice["pre_payment_credit_notes_amount"] += amount
    invoice["amount_due"] -= amount
    invoice["amount_remaining"] -= amount
    payment, intent = invoicing.open_payment(world, invoice), invoicing.intent_of(world, invoice)
    if payment is not None and invoice["amount_remaining"] > 0:
        payment["amount_requested"] = invoice["amount_remaining"]
        world.save(payment)
        if intent is not None:
            intent["amount"] = invoice["amount_remaining"]
            world.save(intent)


def void(world: World, note: Document) -> Document:
    """Void a credit note of an invoice that is still open: it asks for the whole amount again."""
    invoice = world.get("invoice", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise errors.invalid("You can only void an issued credit note whose invoice is still open.")
    note.update(status="void", voided_at=world.now)
    _lower(world, invoice, -note["pre_payment_amount"])
    world.save(invoice, "invoice.updated")
    world.save(note)
    world.emit("credit_note.voided", note)
    return note


@rendering.embeds("credit_note")
def _embed_lines(world: World, shown: Document, stored: Document) -> None:
    lines = rendering.public(stored["_lines"])
    address = f"/v1/credit_notes/{shown['id']}/lines"
    shown["lines"] = rendering.listing(address, lines[:10], has_more=len(lines) > 10, total_count=len(lines))
