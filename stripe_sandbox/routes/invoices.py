"""Invoices, their lines, items and payments."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import discounts, drafting, invoice_items, invoicing, methods
from stripe_sandbox.pagination import page, page_of
from stripe_sandbox.routes import products, route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]
EDITABLE = (
    "auto_advance",
    "collection_method",
    "custom_fields",
    "description",
    "footer",
    "statement_descriptor",
    "due_date",
)


@route("POST", "/v1/invoices")
def create(world: World, params: Document) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    subscription = None
    if params.get("subscription"):
        subscription = world.get("subscription", params["subscription"], param="subscription")
    currency = (params.get("currency") or customer["currency"] or "usd").lower()
    include = params.get("pending_invoice_items_behavior", "exclude") == "include"
    lines = invoice_items.pending_lines(world, customer, currency=currency) if include else []
    amount = sum(line["amount"] for line in lines)
    if params.get("discounts"):
        applied = discounts.from_params(world, params["discounts"], customer=customer, currency=currency, amount=amount)
    else:
        applied = discounts.running(world, [customer["discount"]] if customer["discount"] else [])
    send = params.get("collection_method") == "send_invoice"
    if send and params.get("days_until_due") is None and params.get("due_date") is None:
        raise errors.invalid(
            "If invoice collection_method is `send_invoice`, you must provide either `due_date` or `days_until_due`.",
            "days_until_due",
            code="parameter_missing",
        )
    invoice = drafting.draft(
        world,
        customer,
        lines,
        billing_reason="manual",
        currency=currency,
        subscription=subscription,
        discounts=applied,
        auto_advance=params.get("auto_advance", False),
        metadata=check_metadata(params.get("metadata")),
    )
    set_fields(invoice, params, EDITABLE)
    if params.get("days_until_due") is not None:
        invoice["due_date"] = world.now + params["days_until_due"] * 86400
    if params.get("default_payment_method"):
        invoice["default_payment_method"] = methods.resolve(world, params["default_payment_method"])["id"]
    world.save(invoice)
    if invoice["auto_advance"]:
        invoicing.schedule_finalisation(world, invoice)
    return invoice


@route("GET", "/v1/invoices/{invoice}")
def retrieve(world: World, params: Document, invoice: str) -> Document:
    return world.get("invoice", invoice)


@route("POST", "/v1/invoices/{invoice}")
def update(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] != "draft" and set(params) - {
        "metadata",
        "auto_advance",
        "default_payment_method",
        "due_date",
    }:
        raise errors.invalid("Finalized invoices can't be updated in this way", code="invoice_not_editable")
    set_fields(document, params, EDITABLE)
    if params.get("default_payment_method"):
        document["default_payment_method"] = methods.resolve(world, params["default_payment_method"])["id"]
    if "discounts" in params:
        customer = world.get("customer", document["customer"])
        made = discounts.from_params(
            world,
            params["discounts"] or [],
            customer=customer,
            currency=document["currency"],
            amount=document["subtotal"],
        )
        document["discounts"] = document["_discounts"] = [discount["id"] for discount in made]
        drafting.total(world, document)
    merge_metadata(document, params)
    world.save(document, "invoice.updated")
    if "auto_advance" in params and document["status"] == "draft":
        world.follow_clock_of(world.find("customer", document["customer"]))
        if params["auto_advance"]:
            invoicing.schedule_finalisation(world, document)
        else:
            world.unschedule("invoice.finalize", document)
    return document


@route("DELETE", "/v1/invoices/{invoice}")
def delete(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] != "draft":
        raise errors.invalid("You can only delete draft invoices.", code="invoice_not_editable")
    for line in document["_lines"]:
        item = world.find("invoiceitem", (line["parent"]["invoice_item_details"] or {}).get("invoice_item"))
        if item is not None:
            item.update(invoice=None, _pending=True)
            world.save(item)
    return world.delete(document, "invoice.deleted")


@route("POST", "/v1/invoices/{invoice}/finalize")
def finalize(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    world.follow_clock_of(world.find("customer", document["customer"]))
    set_fields(document, params, ("auto_advance",))
    invoicing.finalize(world, document)
    if (
        document["auto_advance"]
        and document["status"] == "open"
        and document["collection_method"] == "charge_automatically"
    ):
        world.schedule("invoice.collect", document, world.now + invoicing.DRAFT_SECONDS)
    return document


@route("POST", "/v1/invoices/{invoice}/pay")
def pay(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    world.follow_clock_of(world.find("customer", document["customer"]))
    if document["status"] == "paid":
        raise errors.invalid("Invoice is already paid", code="invoice_already_paid")
    if document["status"] == "void":
        raise errors.invalid("This invoice is void and can no longer be paid.")
    if params.get("paid_out_of_band"):
        if document["status"] == "draft":
            invoicing.finalize(world, document)
        return invoicing.mark_paid(world, document, out_of_band=True)
    method = methods.resolve(world, params["payment_method"]) if params.get("payment_method") else None
    if method is not None and method["customer"] != document["customer"]:
        if method["customer"] is not None or not params["payment_method"].startswith("pm_card_"):
            raise errors.invalid(
                "The payment method must be attached to the customer of the invoice.", "payment_method"
            )
        methods.attach(world, method, world.get("customer", document["customer"]))
    return invoicing.pay(world, document, method=method, off_session=params.get("off_session", True))


@route("POST", "/v1/invoices/{invoice}/void")
def void(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] not in ("open", "uncollectible"):
        raise errors.invalid(
            f"You can only pass in open and uncollectible invoices. This invoice isn't open or uncollectible. It is "
            f"{document['status']}."
        )
    return invoicing.void(world, document)


@route("POST", "/v1/invoices/{invoice}/mark_uncollectible")
def mark_uncollectible(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] != "open":
        raise errors.invalid(f"You can only pass in open invoices. This invoice is {document['status']}.")
    return invoicing.mark_uncollectible(world, document)


@route("POST", "/v1/invoices/{invoice}/send")
def send(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] == "draft":
        invoicing.finalize(world, document)
    world.emit("invoice.sent", document)
    return document


@route("GET", "/v1/invoices")
def list_all(world: World, params: Document) -> Document:
    names = ("customer", "status", "subscription", "collection_method")
    return page(world, "invoice", params, "/v1/invoices", {name: params.get(name) for name in names})


@route("GET", "/v1/invoices/{invoice}/lines")
def lines(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    return page_of(document["_lines"], params, f"/v1/invoices/{invoice}/lines")


@route("GET", "/v1/invoice_payments/{payment}")
def retrieve_payment(world: World, params: Document, payment: str) -> Document:
    return world.get("invoice_payment", payment)


@route("GET", "/v1/invoice_payments")
def list_payments(world: World, params: Document) -> Document:
    wanted = params.get("payment") or {}
    where = {
        "invoice": params.get("invoice"),
        "payment_intent": wanted.get("payment_intent"),
        "status": params.get("status"),
    }
    return page(world, "invoice_payment", params, "/v1/invoice_payments", where)


@route("POST", "/v1/invoiceitems")
def create_item(world: World, params: Document) -> Document:
    if not params.get("customer"):
        raise errors.parameter_missing("customer")
    customer = world.get("customer", params["customer"], param="customer")
    world.follow_clock_of(customer)
    price = None
    wanted = (params.get("pricing") or {}).get("price")
    if wanted:
        price = world.get("price", wanted, param="pricing[price]")
    elif params.get("price_data"):
        price = world.add(
            products.new_price(world, {**params["price_data"], "active": False}, params["price_data"]["product"])
        )
    elif params.get("amount") is None:
        raise errors.parameter_missing("amount")
    subscription = None
    if params.get("subscription"):
        subscription = world.get("subscription", params["subscription"], param="subscription")
    invoice = world.get("invoice", params["invoice"], param="invoice") if params.get("invoice") else None
    if invoice is not None and invoice["status"] != "draft":
        raise errors.invalid("The invoice is not editable.", "invoice", code="invoice_not_editable")
    more = {name: params[name] for name in ("discountable", "period") if name in params}
    item = invoice_items.create(
        world,
        customer,
        price=price,
        quantity=params.get("quantity", 1),
        amount=params.get("amount"),
        currency=(params.get("currency") or customer["currency"] or "usd").lower(),
        description=params.get("description"),
        subscription=subscription,
        metadata=check_metadata(params.get("metadata")),
        **more,
    )
    if invoice is not None:
        line = {**invoice_items.line_for(world, item), "invoice": invoice["id"]}
        item.update(invoice=invoice["id"], _pending=False)
        world.save(item)
        invoice["_lines"].append(line)
        drafting.total(world, invoice)
        world.save(invoice, "invoice.updated")
    return item


@route("GET", "/v1/invoiceitems/{item}")
def retrieve_item(world: World, params: Document, item: str) -> Document:
    return world.get("invoiceitem", item)


@route("POST", "/v1/invoiceitems/{item}")
def update_item(world: World, params: Document, item: str) -> Document:
    document = world.get("invoiceitem", item)
    if not document["_pending"] and set(params) - {"metadata"}:
        raise errors.invalid("This invoice item is attached to an invoice and can no longer be changed.")
    set_fields(document, params, ("amount", "description", "discountable", "period"))
    merge_metadata(document, params)
    return world.save(document)


@route("DELETE", "/v1/invoiceitems/{item}")
def delete_item(world: World, params: Document, item: str) -> Document:
    document = world.get("invoiceitem", item)
    if not document["_pending"]:
        raise errors.invalid("This invoice item is attached to an invoice and can no longer be deleted.")
    return world.delete(document, "invoiceitem.deleted")


@route("GET", "/v1/invoiceitems")
def list_items(world: World, params: Document) -> Document:
    where = {"customer": params.get("customer"), "invoice": params.get("invoice"), "pending": params.get("pending")}
    return page(world, "invoiceitem", params, "/v1/invoiceitems", where)
