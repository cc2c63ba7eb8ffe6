"""Hosted invoices, their printable page, and receipts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from stripe_sandbox import errors
from stripe_sandbox.engine import invoicing, methods, subscriptions
from stripe_sandbox.pages import access, card_form
from stripe_sandbox.pages.checkout import SHOP
from stripe_sandbox.world import World

blueprint = Blueprint("invoices", __name__)
Document = dict[str, Any]
PAYABLE = ("open", "uncollectible")


def _invoice(world: World, token: str) -> Document:
    invoice = world.first("invoice", {"hosted": token})
    if invoice is None:
        abort(404)
    world.follow_clock_of(world.find("customer", invoice["customer"]))
    return invoice


@blueprint.get("/invoice/<token>")
def show(token: str) -> Any:
    """Show an invoice, and the form that pays it while it is open."""
    with access.world() as world:
        return _page(world, _invoice(world, token))


def _page(
    world: World, invoice: Document, *, form: dict[str, str] | None = None, error: errors.StripeError | None = None
) -> str:
    form = form or {}
    saved = _cards(world, invoice["customer"])
    wrong = card_form.wrong_field(error)
    newly = bool(form.get("card_number")) or bool(wrong)
    return render_template(
        "invoices/show.html",
        **_facts(world, invoice),
        saved_cards=saved,
        chosen=form.get("saved_card") or (None if newly or not saved else saved[0]["id"]),
        payable=invoice["status"] in PAYABLE,
        form=form,
        error=error,
        wrong=wrong,
        **card_form.offers(),
    )


def _facts(world: World, invoice: Document) -> Document:
    intent = invoicing.intent_of(world, invoice)
    charge = world.find("charge", (intent or {}).get("latest_charge"))
    return {
        "invoice": invoice,
        "shop": SHOP,
        "customer": world.find("customer", invoice["customer"]) or {},
        "lines": invoice["_lines"],
        "off": sum(one["amount"] for one in invoice["total_discount_amounts"] or []),
        "credit": invoice["amount_due"] - invoice["total"],
        "charge": charge if charge and charge["status"] == "succeeded" else None,
    }


def _cards(world: World, customer: str) -> list[Document]:
    return [one for one in world.select("payment_method", {"customer": customer}) if one["type"] == "card"]


@blueprint.post("/invoice/<token>")
def pay(token: str) -> Any:
    """Charge the invoice to a saved card or a new one; a bank that asks is asked next."""
    form = {name: value.strip() for name, value in request.form.items()}
    if form.get("test_card"):
        with access.world() as world:
            return _page(world, _invoice(world, token), form=card_form.fill_in(form))
    error = access.perform(lambda world: _pay(world, _invoice(world, token), form))
    access.sandbox().run_due()
    with access.world() as world:
        invoice = _invoice(world, token)
        if error is not None:
            return _page(world, invoice, form=form, error=error), 422
        intent = invoicing.intent_of(world, invoice)
        if intent is not None and intent["status"] == "requires_action":
            return redirect(f"/challenge/{intent['id']}", 303)
        return redirect(f"/invoice/{token}", 303)


def _pay(world: World, invoice: Document, form: dict[str, str]) -> None:
    if invoice["status"] not in PAYABLE:
        raise errors.invalid("This invoice cannot be paid any more.")
    method, is_new = _method(world, invoice, form)
    intent = invoicing.intent_of(world, invoice)
    if intent is not None:
        intent["_return_url"] = invoice["hosted_invoice_url"]
        world.save(intent)
    invoicing.pay(world, invoice, method=method, off_session=False)
    if is_new and invoice["status"] == "paid":
        keep_for_renewals(world, method, invoice["customer"])


def _method(world: World, invoice: Document, form: dict[str, str]) -> tuple[Document, bool]:
    if form.get("saved_card"):
        method = world.get("payment_method", form["saved_card"], param="saved_card")
        if method["customer"] != invoice["customer"]:
            raise errors.no_such("payment_method", form["saved_card"], param="saved_card")
        return method, False
    card, month, year = card_form.read(world, form)
    billing = {"name": form.get("billing_name") or None}
    return methods.new_card(world, card, exp_month=month, exp_year=year, billing=billing), True


def keep_for_renewals(world: World, method: Document, customer_id: str) -> None:
    """Attach a card to its customer and charge renewals to it from now on."""
    customer = world.get("customer", customer_id)
    methods.attach(world, method, customer)
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    world.save(customer, "customer.updated")
    for subscription in list(world.select("subscription", {"customer": customer_id})):
        # A card of the subscription's own would win over the customer's, and the new card would never be charged.
        if subscription["status"] in subscriptions.LIVE and subscription["default_payment_method"]:
            subscription["default_payment_method"] = method["id"]
            world.save(subscription, "customer.subscription.updated")


@blueprint.get("/invoice/<token>/pdf")
def printable(token: str) -> str:
    """Show an invoice as it is printed: the browser makes the PDF."""
    with access.world() as world:
        return render_template("invoices/printable.html", **_facts(world, _invoice(world, token)))


@blueprint.get("/receipts/<charge_id>")
def receipt(charge_id: str) -> str | Response:
    """Show what a charge took, and what of it was given back."""
    with access.world() as world:
        charge = access.get_or_404(world, "charge", charge_id)
        if charge["status"] != "succeeded":
            abort(404)
        refunds = list(world.select("refund", {"charge": charge_id}, ascending=True))
        card = charge["payment_method_details"]["card"]
        return render_template("invoices/receipt.html", charge=charge, refunds=refunds, card=card, shop=SHOP)
