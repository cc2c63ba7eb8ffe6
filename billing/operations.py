"""What operators ask Stripe for from the command line: one function per operation, described before it is done.

A `Step` says in words what it will do and does it once per idempotency key; a `Listing` says which fields make its
table. Both speak to Stripe through billing/gateway.py. Everything that changes an object the app knows of comes back by
webhook and sync, like a change made in Stripe's Dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from billing import charges, errors, evidence, gateway
from billing.money import in_words
from extensions import db
from mail import links

Json = dict[str, Any]


class NotAnOperation(errors.BillingError):
    """What was asked for makes no sense; the text says why."""


@dataclass(frozen=True)
class Step:
    """A change at Stripe: what it will do, in words, doing it under a key, and what speaks for another way."""

    words: str
    run: Callable[[str], Json]
    warning: str = ""


@dataclass(frozen=True)
class Listing:
    """A list at Stripe: its columns by heading, and how many of the newest objects it brings."""

    columns: Mapping[str, Callable[[Json], object]]
    run: Callable[[int], list[Json]]


def _create(words: str, request: Callable[[Any, Any, Any], Any], params: Json) -> Step:
    given = {name: value for name, value in params.items() if value not in (None, {}, [])}
    return Step(words, lambda key: gateway.call(lambda c: request(c.v1, given, {"idempotency_key": key})))


def _list(
    request: Callable[[Any, Any], Any], columns: Mapping[str, Callable[[Json], object]], **filters: object
) -> Listing:
    given = {name: value for name, value in filters.items() if value is not None}

    def run(limit: int) -> list[Json]:
        return list(gateway.call(lambda c: request(c.v1, {**given, "limit": limit}))["data"])

    return Listing({"Id": lambda o: o["id"], **columns}, run)


def _of(name: str) -> Callable[[Json], object]:
    return lambda thing: thing.get(name) if thing.get(name) is not None else ""


def _amount(name: str) -> Callable[[Json], object]:
    def words(thing: Json) -> object:
        return "" if thing.get(name) is None else in_words(thing[name], thing["currency"])

    return words


# Customers, products, prices -------------------------------------------------------------------------------------


def create_customer(email: str, name: str | None) -> Step:
    """Make a customer who belongs to no account of ours: for invoices written by hand."""
    words = f"Create the customer {name or email} at Stripe, without an account here"
    return _create(words, lambda v1, p, o: v1.customers.create(p, o), {"email": email, "name": name})


def list_customers(email: str | None) -> Listing:
    """List customers, all or those with an address."""
    columns = {"E-mail": _of("email"), "Name": _of("name")}
    return _list(lambda v1, p: v1.customers.list(p), columns, email=email)


def create_product(name: str, description: str | None) -> Step:
    """Make a product that the catalogue knows nothing of."""
    params = {"name": name, "description": description}
    return _create(f"Create the product {name}", lambda v1, p, o: v1.products.create(p, o), params)


def list_products() -> Listing:
    """List products."""
    return _list(lambda v1, p: v1.products.list(p), {"Name": _of("name"), "Active": _of("active")})


def create_price(
    product: str, amount_cents: int, currency: str, interval: str | None = None, lookup_key: str | None = None
) -> Step:
    """Make a price of a product, once or per month or year."""
    amount = in_words(amount_cents, currency)
    params = {
        "product": product,
        "unit_amount": amount_cents,
        "currency": currency,
        "recurring": {"interval": interval} if interval else None,
        "lookup_key": lookup_key,
    }
    words = f"Create a price of {amount}{f' a {interval}' if interval else ''} for {product}"
    return _create(words, lambda v1, p, o: v1.prices.create(p, o), params)


def list_prices(product: str | None) -> Listing:
    """List prices, all or those of a product."""
    columns = {
        "Amount": _amount("unit_amount"),
        "Every": lambda o: (o.get("recurring") or {}).get("interval", "once"),
        "Lookup key": _of("lookup_key"),
        "Product": _of("product"),
        "Active": _of("active"),
    }
    return _list(lambda v1, p: v1.prices.list(p), columns, product=product)


# Selling ---------------------------------------------------------------------------------------------------------


def create_payment_link(price: str, quantity: int) -> Step:
    """Make an address at which anybody can pay a price."""
    params = {"line_items": [{"price": price, "quantity": quantity}]}
    words = f"Create a payment link for {quantity} x {price}"
    return _create(words, lambda v1, p, o: v1.payment_links.create(p, o), params)


def create_coupon(
    *,
    name: str | None,
    percent_off: int | None,
    amount_off_cents: int | None,
    currency: str,
    duration: str,
    months: int | None,
) -> Step:
    """Make a coupon of a share or an amount; raises NotAnOperation unless exactly one is given."""
    if (percent_off is None) == (amount_off_cents is None):
        raise NotAnOperation("a coupon takes off either a share or an amount: give one of both")
    if (duration == "repeating") != (months is not None):
        raise NotAnOperation("the duration 'repeating' needs a number of months, and no other takes one")
    off = f"{percent_off} %" if percent_off is not None else in_words(amount_off_cents or 0, currency)
    params = {
        "name": name,
        "percent_off": percent_off,
        "amount_off": amount_off_cents,
        "currency": currency if amount_off_cents is not None else None,
        "duration": duration,
        "duration_in_months": months,
    }
    return _create(f"Create a coupon of {off} off, {duration}", lambda v1, p, o: v1.coupons.create(p, o), params)


def list_coupons() -> Listing:
    """List coupons."""
    columns = {
        "Name": _of("name"),
        "Off": lambda o: f"{o['percent_off']} %" if o["percent_off"] else in_words(o["amount_off"], o["currency"]),
        "Duration": _of("duration"),
        "Valid": _of("valid"),
    }
    return _list(lambda v1, p: v1.coupons.list(p), columns)


def list_payment_intents(customer: str | None) -> Listing:
    """List payments under way and done, all or those of a customer."""
    columns = {"Amount": _amount("amount"), "Status": _of("status"), "Customer": _of("customer")}
    return _list(lambda v1, p: v1.payment_intents.list(p), columns, customer=customer)


def retrieve_balance() -> Listing:
    """Return the account's money at Stripe: available and on its way."""

    def run(_limit: int) -> list[Json]:
        balance = gateway.call(lambda c: c.v1.balance.retrieve())
        kinds = ("available", "pending")
        return [{"id": kind, **part} for kind in kinds for part in balance[kind]]

    return Listing({"Balance": _of("id"), "Amount": _amount("amount")}, run)


# Invoices --------------------------------------------------------------------------------------------------------


def create_invoice(customer: str, days_until_due: int | None, description: str | None) -> Step:
    """Make a draft of an invoice: sent by mail with a due date, or else charged to the card on file."""
    params = {
        "customer": customer,
        "auto_advance": False,
        "collection_method": "send_invoice" if days_until_due is not None else "charge_automatically",
        "days_until_due": days_until_due,
        "description": description,
    }
    how = f"to be paid within {days_until_due} days" if days_until_due is not None else "charged to the card on file"
    words = f"Create a draft invoice for {customer}, {how}"
    return _create(words, lambda v1, p, o: v1.invoices.create(p, o), params)


def create_invoice_item(customer: str, invoice: str, amount_cents: int, currency: str, description: str) -> Step:
    """Put a line into a draft."""
    params = {
        "customer": customer,
        "invoice": invoice,
        "amount": amount_cents,
        "currency": currency,
        "description": description,
    }
    words = f"Add {description}, {in_words(amount_cents, currency)}, to {invoice}"
    return _create(words, lambda v1, p, o: v1.invoice_items.create(p, o), params)


def finalize_invoice(invoice: str) -> Step:
    """Give a draft its number; it cannot be changed any more, and is due."""
    words = f"Finalize {invoice}: it gets its number, is due, and cannot be changed any more"
    return _create(words, lambda v1, p, o: v1.invoices.finalize_invoice(invoice, p, o), {})


def list_invoices(customer: str | None) -> Listing:
    """List invoices, all or those of a customer."""
    columns = {
        "Number": _of("number"),
        "Total": _amount("total"),
        "Due": _amount("amount_remaining"),
        "Status": _of("status"),
        "Customer": _of("customer"),
    }
    return _list(lambda v1, p: v1.invoices.list(p), columns, customer=customer)


# Subscriptions ---------------------------------------------------------------------------------------------------


def list_subscriptions(customer: str | None, status: str) -> Listing:
    """List subscriptions in some state, all or those of a customer."""
    columns = {
        "Status": _of("status"),
        "Price": lambda o: ", ".join(item["price"]["id"] for item in o["items"]["data"]),
        "Customer": _of("customer"),
    }
    return _list(lambda v1, p: v1.subscriptions.list(p), columns, customer=customer, status=status)


def update_subscription(
    subscription: str,
    *,
    price: str | None,
    quantity: int | None,
    ends_at_period_end: bool | None,
    proration: str,
) -> Step:
    """Change price, quantity, or whether it ends with its period; raises NotAnOperation when nothing is to change.

    The item is named and its quantity sent along: without the one Stripe adds a second item, without the other it sets
    the quantity to 1. An unpaid change leaves the subscription as it is.
    """
    params: Json = {}
    parts = []
    if price is not None or quantity is not None:
        items = gateway.call(lambda c: c.v1.subscriptions.retrieve(subscription))["items"]["data"]
        if len(items) != 1:
            raise NotAnOperation(f"{subscription} has {len(items)} items: change it in Stripe's Dashboard")
        changed = {"id": items[0]["id"], "price": price, "quantity": quantity or items[0].get("quantity")}
        params["items"] = [{name: value for name, value in changed.items() if value is not None}]
        params["proration_behavior"] = proration
        if proration == "always_invoice":
            params["payment_behavior"] = "pending_if_incomplete"
        parts.append(f"to {quantity or items[0].get('quantity')} x {price or 'its price'} ({proration})")
    if ends_at_period_end is not None:
        params["cancel_at_period_end"] = ends_at_period_end
        parts.append("to end with its period" if ends_at_period_end else "to go on")
    if not params:
        raise NotAnOperation("nothing is to change: give a price, a quantity, or whether it ends with its period")
    if len(parts) == 2 and params.get("payment_behavior"):
        raise NotAnOperation("Stripe takes a change that is invoiced at once alone: make the other one by itself")
    words = f"Change {subscription} {' and '.join(parts)}"
    return _create(words, lambda v1, p, o: v1.subscriptions.update(subscription, p, o), params)


def cancel_subscription(subscription: str, *, invoices_now: bool, prorates: bool) -> Step:
    """End a subscription at once. Stripe keeps no idempotency key for it: asked again, it says that it has ended."""
    rest = "the rest of the period is credited" if prorates else "nothing is paid back"
    params = {"invoice_now": invoices_now, "prorate": prorates}
    words = f"End {subscription} now, not with its period; {rest}"
    return Step(words, lambda _key: gateway.call(lambda c: c.v1.subscriptions.cancel(subscription, params)))  # type: ignore[arg-type]


# Money that goes back --------------------------------------------------------------------------------------------


def create_refund(charge: str, amount_cents: int | None, reason: str) -> Step:
    """Refund a charge, in part or in full; its credits follow. Warns where an invoice asks for a credit note."""
    amount = f"{amount_cents} cents" if amount_cents is not None else "all that is left"
    params = {"charge": charge, "amount": amount_cents, "reason": reason}
    words = f"Refund {amount} of {charge}; the credits it paid for are taken back in proportion"
    step = _create(words, lambda v1, p, o: v1.refunds.create(p, o), params)
    return replace(step, warning=_invoice_warning(charge))


def _invoice_warning(charge: str) -> str:
    intent = gateway.retrieve_charge(charge).get("payment_intent")
    invoice = gateway.find_invoice_of_payment(intent) if intent else None
    if invoice is None:
        return ""
    is_known = charges.is_recorded(db.session(), charge)
    better = links.to("admin.refund", charge=charge) if is_known else "Stripe's dashboard"
    return (
        f"{charge} paid the invoice {invoice}. A plain refund leaves that invoice as it is, with its tax; a credit "
        f"note pays back the same and puts it right. Make one at {better}"
    )


def list_disputes(charge: str | None) -> Listing:
    """List disputes, all or those of a charge."""
    columns = {
        "Amount": _amount("amount"),
        "Reason": _of("reason"),
        "Status": _of("status"),
        "Charge": _of("charge"),
    }
    return _list(lambda v1, p: v1.disputes.list(p), columns, charge=charge)


def update_dispute(dispute: str, fields: Mapping[str, str], *, submit: bool) -> Step:
    """Keep evidence with a dispute, or send it to the bank; raises NotAnOperation for a field that Stripe has not."""
    unknown = set(fields) - set(evidence.FIELDS)
    if unknown or not fields:
        known = ", ".join(evidence.FIELDS)
        raise NotAnOperation(f"evidence is given as field=text, and the fields are {known}")
    sent = "send it to the bank, once and for all" if submit else "keep it as a draft"
    params = {"evidence": dict(fields), "submit": submit}
    words = f"Put {', '.join(fields)} into the evidence of {dispute} and {sent}"
    return _create(words, lambda v1, p, o: v1.disputes.update(dispute, p, o), params)
