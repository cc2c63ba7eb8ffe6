"""The invoices of an account, and a receipt of each to print; both from our own rows."""

from __future__ import annotations

from flask import abort, render_template, request

from accounts import people
from accounts.models import ADMIN
from billing import invoices as billed
from blueprints.billing.base import bp
from extensions import db
from web import gates
from web.current import current_account

MOST_PAGES = 1000


@bp.get("/billing/invoices")
@gates.requires(role=ADMIN)
def invoices() -> str:
    """List what the account was billed, newest first."""
    number = min(max(1, request.args.get("page", 1, type=int)), MOST_PAGES)
    page = billed.page(db.session(), current_account().id, number=number)
    return render_template("billing/invoices.html", page=page, number=number)


@bp.get("/billing/receipts/<key>")
@gates.requires(role=ADMIN)
def receipt(key: str) -> str:
    """Show one receipt, by the id of an invoice or charge of the account's own."""
    document = billed.find(db.session(), current_account().id, key)
    if document is None:
        abort(404)
    buyer = people.owner_email(db.session(), current_account().id)
    return render_template("billing/receipt.html", document=document, buyer=buyer)
