"""How pages write things: moments, amounts, kinds of objects, and the tone of a status."""

from __future__ import annotations

import json
import urllib.parse
from datetime import UTC, datetime
from typing import Any

from stripe_sandbox.engine.wording import money

TONES = {
    "positive": "active available complete delivered enabled paid ready succeeded won",
    "warning": "past_due pending incomplete requires_action requires_payment_method needs_response under_review "
    "warning_needs_response warning_under_review unpaid paused advancing requires_capture open",
    "danger": "failed canceled lost expired uncollectible incomplete_expired disabled dropped void abandoned",
    "info": "trialing draft processing not_started requires_confirmation",
}
_BY_STATUS = {status: tone for tone, statuses in TONES.items() for status in statuses.split()}
KINDS = {
    "billing.meter": "meter",
    "billing.meter_event": "meter event",
    "billing_portal.configuration": "portal configuration",
    "billing_portal.session": "portal session",
    "checkout.session": "checkout session",
    "customer_balance_transaction": "customer balance change",
    "entitlements.active_entitlement": "active entitlement",
    "entitlements.feature": "feature",
    "invoiceitem": "invoice item",
    "tax_id": "tax ID",
    "test_helpers.test_clock": "test clock",
}


def tone_of(status: Any) -> str:
    """Return the tone in which a status is shown."""
    return _BY_STATUS.get(str(status), "neutral")


def kind_name(kind: str, *, many: bool = False) -> str:
    """Return what people call a kind of object: "checkout sessions"."""
    name = KINDS.get(kind, kind.replace("_", " "))
    return name if not many else f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def moment(at: float | None) -> str:
    """Write a moment to the second, in UTC: 21 Nov 2026, 12:44:28."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%d %b %Y, %H:%M:%S}".lstrip("0")


def day(at: float | None) -> str:
    """Write the day of a moment: 21 November 2026."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%d %B %Y}".lstrip("0")


def amount(cents: int | None, currency: str | None) -> str:
    return "" if cents is None else money(cents, currency or "usd")


def path_of(url: str) -> str:
    """Return an address without its host: links between the sandbox's own pages stay where the reader is."""
    return urllib.parse.urlsplit(url)._replace(scheme="", netloc="").geturl()


def pretty(value: Any) -> str:
    """Write JSON for reading; text that is no JSON stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


FAULTS = {
    "slow": "Slow",
    "429": "Too many requests (429)",
    "500": "Fails (500), nothing done",
    "500_after": "Fails (500), work done",
    "unreachable": "Unreachable",
    "unreachable_after": "Done, answer lost",
    "drop": "Lost",
    "duplicate": "Sent twice",
    "delay": "Late",
    "reorder": "Out of order",
}
