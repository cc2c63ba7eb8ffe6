"""Copy the invoices that Stripe has finalised, and list them beside the packs that were bought without one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, bindparam, literal, select, union_all
from sqlalchemy.orm import Session

import clock
from billing import access, catalog, pending, plan_periods, subscriptions
from billing.models import Invoice, Payment, Subscription
from billing.subscriptions import instant
from ledger.models import Bucket
from prepared import Reading

Json = dict[str, Any]

PER_PAGE = 20
RHYTHM = {"month": "monthly", "year": "yearly"}
DRAFT = "draft"


# Composed once: the billing page asks for all of them, and composing a statement costs more than running it.
_OWNER: BindParameter[int] = bindparam("owner_id")
_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)


class _Key(NamedTuple):
    """When an account was billed, and by what its document is found: an invoice's id at Stripe, or a charge's."""

    at: datetime
    key: str
    kind: str


def _keys_newest_first() -> Any:
    issued = select(Invoice.issued_at.label("at"), Invoice.stripe_id.label("key"), literal("invoice").label("kind"))
    bought = select(Payment.paid_at.label("at"), Payment.stripe_charge_id.label("key"), literal("pack").label("kind"))
    both = union_all(
        issued.where(Invoice.account_id == _OWNER),
        bought.where(Payment.account_id == _OWNER, Payment.stripe_invoice_id.is_(None)),
    ).subquery()
    newest_first = select(both).order_by(both.c.at.desc(), both.c.key)
    return newest_first.offset(bindparam("skipped")).limit(bindparam("wanted"))


# Every billing page asks.
_KEYS = Reading(_keys_newest_first(), _Key)
_INVOICES = select(Invoice).where(Invoice.account_id == _OWNER, Invoice.stripe_id.in_(_IDS))
_PAYMENTS = select(Payment).where(Payment.account_id == _OWNER).order_by(Payment.id)
_PAID_BY = _PAYMENTS.where(Payment.stripe_invoice_id.in_(_IDS))
_PACKS = _PAYMENTS.where(Payment.stripe_charge_id.in_(_IDS))
_CREDITS = select(Bucket.source, Bucket.granted).where(Bucket.account_id == _OWNER, Bucket.source.in_(_IDS))


@dataclass(frozen=True)
class Document:
    """One line of what an account was billed: an invoice, a payment, or both; `credits` are those it brought.

    `is_due` tells whether somebody still waits for its payment: what an ended plan owed is not collected any more.
    """

    at: datetime
    description: str
    currency: str
    total_cents: int
    tax_cents: int
    status: str
    credits: int
    is_due: bool
    invoice: Invoice | None
    payment: Payment | None

    @property
    def key(self) -> str:
        """By what it is found again: the id at Stripe of the invoice, else of the charge."""
        if self.invoice is not None:
            return self.invoice.stripe_id
        return self.payment.stripe_charge_id if self.payment else ""


@dataclass(frozen=True)
class Page:
    """Some documents, newest first, and whether there are older ones."""

    documents: list[Document]
    has_older: bool


def apply(session: Session, account_id: int, invoice: Json) -> None:
    """Make our row equal to a fetched invoice; a draft is nobody's yet and is left out."""
    if invoice["status"] == DRAFT:
        return
    row = session.get(Invoice, invoice["id"])
    if row is None:
        row = Invoice(stripe_id=invoice["id"], account_id=account_id)
        session.add(row)
    _copy(row, invoice)
    session.flush()


def open_invoice(session: Session, stripe_subscription_id: str) -> Invoice | None:
    """Find the newest invoice of a subscription that is to be paid."""
    query = select(Invoice).where(Invoice.stripe_subscription_id == stripe_subscription_id, Invoice.status == "open")
    return session.scalars(query.order_by(Invoice.issued_at.desc(), Invoice.stripe_id).limit(1)).first()


def page(session: Session, account_id: int, *, number: int = 1, size: int = PER_PAGE) -> Page:
    """Return a page of what an account was billed, newest first; pages count from 1."""
    found = _KEYS.all(session, owner_id=account_id, skipped=(number - 1) * size, wanted=size + 1)
    keys = [(document.kind, document.key) for document in found]
    return Page(_documents(session, account_id, keys[:size]), has_older=len(keys) > size)


def find(session: Session, account_id: int, key: str) -> Document | None:
    """Find one document of an account by its invoice's or its charge's id at Stripe."""
    kind = "invoice" if key.startswith("in_") else "pack"
    return next(iter(_documents(session, account_id, [(kind, key)])), None)


def _documents(session: Session, account_id: int, keys: list[tuple[str, str]]) -> list[Document]:
    invoices, paid_by = _invoices(session, account_id, [key for kind, key in keys if kind == "invoice"])
    packs = _packs(session, account_id, [key for kind, key in keys if kind == "pack"])
    brought = _credits(session, account_id, list(invoices), [str(p.grant_source) for p in packs.values()])
    live = access.subscription_of(session, account_id) if invoices else None
    documents = []
    for kind, key in keys:
        if kind == "invoice" and key in invoices:
            documents.append(_of_invoice(invoices[key], paid_by.get(key), brought.get(f"invoice:{key}", 0), live))
        elif key in packs:
            documents.append(_of_pack(packs[key], brought.get(str(packs[key].grant_source), 0)))
    return documents


def _invoices(
    session: Session, account_id: int, ids: list[str]
) -> tuple[dict[str, Invoice], dict[str | None, Payment]]:
    """Return invoices, and what they were paid by, each by the invoice's id."""
    if not ids:
        return {}, {}
    chosen = {"owner_id": account_id, "ids": ids}
    invoices = {row.stripe_id: row for row in session.scalars(_INVOICES, chosen)}
    return invoices, {row.stripe_invoice_id: row for row in session.scalars(_PAID_BY, chosen)}


def _packs(session: Session, account_id: int, ids: list[str]) -> dict[str, Payment]:
    if not ids:
        return {}
    return {row.stripe_charge_id: row for row in session.scalars(_PACKS, {"owner_id": account_id, "ids": ids})}


def _credits(session: Session, account_id: int, invoice_ids: list[str], sources: list[str]) -> dict[str, int]:
    wanted = [f"invoice:{invoice_id}" for invoice_id in invoice_ids] + sources
    if not wanted:
        return {}
    return {row.source: row.granted for row in session.execute(_CREDITS, {"owner_id": account_id, "ids": wanted})}


def _of_invoice(invoice: Invoice, payment: Payment | None, credits: int, live: Subscription | None) -> Document:
    is_wanted = live is not None and invoice.stripe_subscription_id == live.stripe_id
    return Document(
        at=invoice.issued_at,
        description=invoice.description,
        currency=invoice.currency,
        total_cents=invoice.total_cents,
        tax_cents=invoice.tax_cents,
        status=invoice.status,
        credits=credits,
        is_due=invoice.status == "open" and is_wanted,
        invoice=invoice,
        payment=payment,
    )


def _of_pack(payment: Payment, credits: int) -> Document:
    return Document(
        at=payment.paid_at,
        description=payment.description,
        currency=payment.currency,
        total_cents=payment.amount_cents,
        tax_cents=0,
        status="paid",
        credits=credits,
        is_due=False,
        invoice=None,
        payment=payment,
    )


def _copy(row: Invoice, invoice: Json) -> None:
    intent = pending.open_intent(invoice)
    refused = (intent.get("last_payment_error") or {}).get("payment_method") or {}
    times = invoice.get("status_transitions") or {}
    row.stripe_subscription_id = subscription_of(invoice)
    row.number = invoice.get("number")
    row.status = invoice["status"]
    row.reason = invoice.get("billing_reason") or "manual"
    row.description = _description(invoice)
    row.currency = invoice["currency"]
    row.subtotal_cents, row.total_cents = invoice["subtotal"], invoice["total"]
    row.tax_cents = sum(tax["amount"] for tax in invoice.get("total_taxes") or [])
    row.paid_cents, row.remaining_cents = invoice["amount_paid"], invoice["amount_remaining"]
    row.settled_cents = _settled(invoice)
    row.credited_cents = invoice.get("credited", 0)
    row.attempts = invoice["attempt_count"]
    row.next_attempt_at = instant(invoice.get("next_payment_attempt"))
    row.refused_method_id = refused.get("id")
    row.wants_customer = invoice["status"] == "open" and pending.wants_customer(intent)
    row.hosted_url, row.pdf_url = invoice.get("hosted_invoice_url"), invoice.get("invoice_pdf")
    row.issued_at = instant(times.get("finalized_at") or invoice["created"]) or clock.now()
    row.paid_at = instant(times.get("paid_at"))
    row.synced_at = clock.now()


def _settled(invoice: Json) -> int | None:
    """Return what a paid invoice was settled with; a credit note that came before the payment asked for less."""
    if invoice["status"] != "paid":
        return None
    return int(max(0, invoice["total"] - (invoice.get("pre_payment_credit_notes_amount") or 0)))


def _description(invoice: Json) -> str:
    lines: list[Json] = invoice["lines"]["data"]
    line = max(lines, key=lambda one: int(one["amount"]), default={})
    stripes_words = str(line.get("description") or invoice.get("description") or "Invoice")[:255]
    return _plan_in_words(invoice) or _change_in_words(invoice) or stripes_words


def _plan_in_words(invoice: Json) -> str | None:
    """Say a whole period of a plan as its owner knows it, "Pro, monthly"; None for what else there is to pay."""
    line = plan_periods.plan_line(invoice)
    if line is None or (line.get("parent") or {}).get("type") != "subscription_item_details":
        return None
    return _offer_in_words(line)


def _change_in_words(invoice: Json) -> str | None:
    """Say an upgrade as "Change to Team, monthly": Stripe's words name one line of it, with the amount of both."""
    line = plan_periods.plan_line(invoice)
    is_change = line is not None and any(other["amount"] < 0 for other in invoice["lines"]["data"])
    words = _offer_in_words(line) if line is not None and is_change else None
    return f"Change to {words}" if words else None


def _offer_in_words(line: Json) -> str | None:
    price_key = subscriptions.price_key_of(line["pricing"]["price_details"]["price"])
    if price_key is None or line["amount"] <= 0:
        return None
    price = catalog.current().price(price_key)
    return f"{catalog.current().offer(price_key).name}, {RHYTHM[price.interval or 'month']}"


def subscription_of(invoice: Json) -> str | None:
    """Return the id of the subscription that a fetched invoice belongs to."""
    named = ((invoice.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    return named["id"] if isinstance(named, dict) else named
