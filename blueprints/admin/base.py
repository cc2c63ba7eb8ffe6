"""The blueprint that every page of the back office hangs on, and what these pages share."""

from __future__ import annotations

from flask import Blueprint, abort, request, url_for
from flask_login import current_user
from sqlalchemy import select

from accounts import people
from accounts.models import Account
from billing.models import Payment
from extensions import db

bp = Blueprint("admin", __name__)

PAGES = (
    ("Overview", "admin.index"),
    ("Customers", "admin.list_customers"),
    ("Disputes", "admin.list_disputes"),
    ("Support", "admin.list_support"),
    ("Sync", "admin.sync_health"),
    ("Mails", "admin.mails"),
    ("Audit log", "admin.audit_log"),
)
MAX_DIGITS = 18  # what a database takes for an id


def own_pages(current: str) -> list[tuple[str, str, bool]]:
    """Return the pages of the back office for its tabs."""
    return [(words, url_for(endpoint), endpoint == current) for words, endpoint in PAGES]


def actor() -> str:
    """Return who acts, as the audit log names them."""
    return str(current_user.email)


def get_customer(public_id: str) -> Account:
    """Return the account in an address; 404 when there is none."""
    account = people.find_account(db.session(), public_id=public_id)
    return account if account is not None else abort(404)


def get_payment(stripe_charge_id: str) -> Payment:
    """Return the payment in an address; 404 when there is none."""
    payment = db.session.scalar(select(Payment).where(Payment.stripe_charge_id == stripe_charge_id))
    return payment if payment is not None else abort(404)


def asked_id(name: str) -> int | None:
    """Return a number of the query that stands for an id, None when there is none or no such number."""
    given = request.args.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS else None
