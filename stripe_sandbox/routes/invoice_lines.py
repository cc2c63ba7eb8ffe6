"""Changing the lines of a draft invoice, and paying an open one with a payment intent made elsewhere."""

from __future__ import annotations

from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.engine import drafting, invoice_items, invoicing, pricing
from stripe_sandbox.routes import products, route
from stripe_sandbox.routes.fields import check_metadata, merge_metadata, set_fields
from stripe_sandbox.world import World

Document = dict[str, Any]


def _draft(world: World, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if document["status"] != "draft":
        raise errors.invalid("This invoice is no longer editable.", code="invoice_not_editable")
    world.follow_clock_of(world.find("customer", document["customer"]))
    return document


@route("POST", "/v1/invoices/{invoice}/add_lines")
def add_lines(world: World, params: Document, invoice: str) -> Document:
    document = _draft(world, invoice)
    customer = world.get("customer", document["customer"])
    for position, wanted in enumerate(params["lines"]):
        item = _item(world, document, customer, wanted, f"lines[{position}]")
        item.update(invoice=invoice, _pending=False)
        world.save(item)
        document["_lines"].append({**invoice_items.line_for(world, item), "invoice": invoice})
    return _changed(world, document, params)


def _item(world: World, invoice: Document, customer: Document, wanted: Document, where: str) -> Document:
    if wanted.get("invoice_item"):
        item = world.get("invoiceitem", wanted["invoice_item"], param=f"{where}[invoice_item]")
        if item["customer"] != customer["id"] or not item["_pending"]:
            raise errors.invalid("The invoice item is not pending for this customer.", f"{where}[invoice_item]")
        return item
    price = _price(world, wanted, where)
    if price is None and wanted.get("amount") is None:
        raise errors.parameter_missing(f"{where}[amount]")
    more = {name: wanted[name] for name in ("discountable", "period") if name in wanted}
    return invoice_items.create(
        world,
        customer,
        price=price,
        quantity=wanted.get("quantity", 1),
        amount=wanted.get("amount"),
        currency=invoice["currency"],
        description=wanted.get("description"),
        metadata=check_metadata(wanted.get("metadata")),
        **more,
    )


def _price(world: World, wanted: Document, where: str) -> Document | None:
    named = (wanted.get("pricing") or {}).get("price")
    if named:
        return world.get("price", named, param=f"{where}[pricing][price]")
    data = wanted.get("price_data")
    if not data:
        return None
    if data.get("product_data"):
        product = world.add(products.new_product(world, data["product_data"]))
    elif data.get("product"):
        product = world.get("product", data["product"], param=f"{where}[price_data][product]")
    else:
        raise errors.parameter_missing(f"{where}[price_data][product]")
    return world.add(products.new_price(world, {**data, "active": False}, product["id"]))


@route("POST", "/v1/invoices/{invoice}/update_lines")
def update_lines(world: World, params: Document, invoice: str) -> Document:
    document = _draft(world, invoice)
    for position, wanted in enumerate(params["lines"]):
        _update(world, _line(document, wanted["id"]), wanted, f"lines[{position}]")
    return _changed(world, document, params)


@route("POST", "/v1/invoices/{invoice}/lines/{line}")
def update_line(world: World, params: Document, invoice: str, line: str) -> Document:
    document = _draft(world, invoice)
    found = _line(document, line)
    _update(world, found, params, "")
    _changed(world, document, {})
    return found


def _line(invoice: Document, line_id: str) -> Document:
    for line in invoice["_lines"]:
        if line["id"] == line_id:
            found: Document = line
            return found
    raise errors.no_such("invoice line item", line_id)


def _update(world: World, line: Document, wanted: Document, where: str) -> None:
    set_fields(line, wanted, ("description", "discountable", "period", "quantity"))
    if "metadata" in wanted:
        merge_metadata(line, wanted)
    price = _price(world, wanted, where)
    if price is not None:
        line["pricing"] = drafting.priced(price)
        line["_product"] = price["product"]
    known = world.find("price", ((line["pricing"] or {}).get("price_details") or {}).get("price"))
    if "amount" in wanted:
        line["amount"] = wanted["amount"]
    elif known is not None and (price is not None or "quantity" in wanted):
        line["amount"] = pricing.amount(known, line["quantity"])
    line["subtotal"] = line["amount"]
    line["quantity_decimal"] = None if line["quantity"] is None else str(line["quantity"])


@route("POST", "/v1/invoices/{invoice}/remove_lines")
def remove_lines(world: World, params: Document, invoice: str) -> Document:
    document = _draft(world, invoice)
    for wanted in params["lines"]:
        line = _line(document, wanted["id"])
        document["_lines"].remove(line)
        item = world.find("invoiceitem", (line["parent"]["invoice_item_details"] or {}).get("invoice_item"))
        if item is None:
            continue
        if wanted["behavior"] == "delete":
            world.delete(item, "invoiceitem.deleted")
        else:
            item.update(invoice=None, _pending=True)
            world.save(item)
    return _changed(world, document, params)


def _changed(world: World, invoice: Document, params: Document) -> Document:
    if "invoice_metadata" in params:
        merge_metadata(invoice, {"metadata": params["invoice_metadata"]})
    drafting.total(world, invoice)
    return world.save(invoice, "invoice.updated")


@route("POST", "/v1/invoices/{invoice}/attach_payment")
def attach_payment(world: World, params: Document, invoice: str) -> Document:
    document = world.get("invoice", invoice)
    if not params.get("payment_intent"):
        raise errors.parameter_missing("payment_intent")
    intent = world.get("payment_intent", params["payment_intent"], param="payment_intent")
    if document["status"] != "open":
        raise errors.invalid(f"You can only attach payments to open invoices. This invoice is {document['status']}.")
    if intent["customer"] != document["customer"] or intent.get("_invoice"):
        raise errors.invalid(
            "The payment intent must be the customer's own and pay no other invoice.", "payment_intent"
        )
    former = invoicing.open_payment(world, document)
    if former is not None:
        former["is_default"] = False
        invoicing.cancel_payment(world, former)
    intent["_invoice"] = invoice
    world.save(intent)
    invoicing.add_payment(world, document, intent)
    if intent["status"] == "succeeded":
        invoicing.mark_paid(world, document, intent=intent)
    return document
