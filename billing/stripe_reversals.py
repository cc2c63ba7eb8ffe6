"""What Stripe is asked about money that goes back: refunds, credit notes, disputes, early fraud warnings."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

from billing import gateway

Json = dict[str, Any]


def create_refund(params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Pay money of a charge back, once per key."""
    return gateway.call(lambda c: c.v1.refunds.create(cast(Any, params), {"idempotency_key": idempotency_key}))


def preview_credit_note(params: Mapping[str, Any]) -> Json:
    """Work out the credit note that would pay back a part of an invoice; changes nothing."""
    return gateway.call(lambda c: c.v1.credit_notes.preview(cast(Any, params)))


def create_credit_note(params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Credit a part of an invoice and pay it back, once per key."""
    return gateway.call(lambda c: c.v1.credit_notes.create(cast(Any, params), {"idempotency_key": idempotency_key}))


def find_refund_of(intent: str, *, charge_id: str) -> str | None:
    """Find the id of the refund of a charge that was made for an intent, None when none was."""
    found = gateway.pages(lambda c: c.v1.refunds.list({"charge": charge_id, "limit": 100}))
    return next((r["id"] for r in found if (r.get("metadata") or {}).get("intent") == intent), None)


def credited_besides_refunds(invoice_id: str) -> int:
    """Return how many cents of an invoice went back by credit note to the customer's balance or outside Stripe."""
    notes = gateway.pages(lambda c: c.v1.credit_notes.list({"invoice": invoice_id, "limit": 100}))
    return sum(
        note["post_payment_amount"] - sum(refund["amount_refunded"] for refund in note["refunds"])
        for note in notes
        if note["status"] != "void"
    )


def find_credit_note_of(intent: str, *, invoice_id: str) -> str | None:
    """Find the id of the credit note of an invoice that was made for an intent, None when none was."""
    found = gateway.pages(lambda c: c.v1.credit_notes.list({"invoice": invoice_id, "limit": 100}))
    return next((n["id"] for n in found if (n.get("metadata") or {}).get("intent") == intent), None)


def upload_evidence(name: str, content: bytes, *, idempotency_key: str) -> Json:
    """Upload a file as evidence, once per key; it belongs to no dispute until one is told."""
    file = BytesIO(content)
    file.name = name
    params: Any = {"purpose": "dispute_evidence", "file": file}
    return gateway.call(lambda c: c.v1.files.create(params, {"idempotency_key": idempotency_key}))


def update_dispute(dispute_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Keep evidence with a dispute and, with `submit`, send it to the bank, once per key."""
    options: Any = {"idempotency_key": idempotency_key}
    return gateway.call(lambda c: c.v1.disputes.update(dispute_id, cast(Any, params), options))


def retrieve_fraud_warning(warning_id: str, *, quick: bool = False) -> Json:
    """Fetch an early fraud warning with the customer of its charge under the key `customer`."""
    expand: Any = {"expand": ["charge"]}
    warning = gateway.call(lambda c: c.v1.radar.early_fraud_warnings.retrieve(warning_id, expand), quick=quick)
    charge = warning["charge"]
    return {**warning, "charge": charge["id"], "customer": charge["customer"]}
