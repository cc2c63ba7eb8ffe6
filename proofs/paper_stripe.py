"""A subscription on paper: the invoices that Stripe would make of it, fast enough for tens of thousands of lives.

Only what billing reads is made: lines with their periods, prices and signs, payments, the order of payment, the
subscription itself. `proofs/plan_flips.py` compares it with the local Stripe, life by life.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from billing import catalog
from billing.periods import add_months

Json = dict[str, Any]

# A renewal's invoice stays a draft for an hour before it is charged.
DRAFT = timedelta(hours=1)


@dataclass
class PaperSubscription:
    """One subscription and everything that it has made; times are whole seconds."""

    number: int
    price_key: str
    trial_days: int
    card: str
    now: datetime
    status: str = "active"
    is_ending: bool = False
    balance_cents: int = 0
    paid: list[Json] = field(default_factory=list)
    _drafts: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.starts = self.anchor = self.now
        self.trial_until = self.now + timedelta(days=self.trial_days) if self.trial_days else None
        if self.trial_until:
            self.status, self.ends = "trialing", self.trial_until
            self._pay([_line(self.price_key, 0, self.now, self.ends)], "subscription_create")
        else:
            self.ends = self._end_after(self.now)
            self._pay([self._whole()], "subscription_create")

    @property
    def stripe_id(self) -> str:
        """The id of the subscription."""
        return f"sub_{self.number}"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status == "canceled"

    def pass_time(self, until: datetime) -> None:
        """Let renewals, the trial's end and the end of what is cancelled happen."""
        while not self.is_over and self.ends <= until:
            self.now = self.ends
            self._charge_drafts()
            if self.is_ending:
                self.status = "canceled"
                break
            if self.status == "trialing":
                self.status, self.anchor = "active", self.ends
            self.starts, self.ends = self.ends, self._end_after(self.ends)
            self._drafts.append(self._invoice([self._whole()], "subscription_cycle"))
        self.now = until
        self._charge_drafts()

    def change_to(self, price_key: str) -> None:
        """Change the plan now and settle the difference at once."""
        self._charge_drafts(even_fresh=True)
        old, self.price_key = self.price_key, price_key
        if self.status == "trialing" or old == price_key:
            return
        unused = -_share(_cents(old), self.starts, self.now, self.ends)
        back = _line(old, unused, self.now, self.ends, is_proration=True)
        if _interval(old) == _interval(price_key):
            rest = _share(_cents(price_key), self.starts, self.now, self.ends)
            new = _line(price_key, rest, self.now, self.ends, is_proration=True)
        else:
            self.starts = self.anchor = self.now
            self.ends = self._end_after(self.now)
            new = self._whole()
        self._settle(self._invoice([back, new], "subscription_update"), self.now)

    def cancel_now(self) -> None:
        """End it; nothing comes back."""
        self.status = "canceled"

    def fetched(self) -> Json:
        """Return the subscription as the app fetches it."""
        item = {
            "id": f"si_{self.number}",
            "price": _price(self.price_key),
            "quantity": 1,
            "current_period_start": _epoch(self.starts),
            "current_period_end": _epoch(self.ends),
        }
        return {
            "id": self.stripe_id,
            "status": self.status,
            "customer": f"cus_{self.number}",
            "items": {"data": [item]},
            "start_date": _epoch(self.started),
            "trial_start": _epoch(self.started) if self.trial_until else None,
            "trial_end": _epoch(self.trial_until) if self.trial_until else None,
            "cancel_at_period_end": self.is_ending,
            "cancel_at": None,
            "ended_at": _epoch(self.now) if self.is_over else None,
            "latest_invoice": {"id": self.paid[-1]["id"], "status": "paid"},
            "metadata": {"intent": f"intent_{self.number}"},
            "charged_to": {"id": f"pm_{self.card}", "card": _card(self.card)},
        }

    def _pay(self, lines: list[Json], billing_reason: str) -> None:
        self._settle(self._invoice(lines, billing_reason), self.now)

    def _charge_drafts(self, *, even_fresh: bool = False) -> None:
        due = [d for d in self._drafts if even_fresh or d["created"] + DRAFT.seconds <= _epoch(self.now)]
        for invoice in due:
            self._drafts.remove(invoice)
            self._settle(invoice, min(self.now, datetime.fromtimestamp(invoice["created"], UTC) + DRAFT))

    def _invoice(self, lines: list[Json], billing_reason: str) -> Json:
        number = len(self.paid) + len(self._drafts) + 1
        return {
            "id": f"in_{self.number}_{number}",
            "number": f"PAPER{self.number}-{number:04d}",
            "status": "draft",
            "billing_reason": billing_reason,
            "created": _epoch(self.now),
            "parent": {"type": "subscription_details", "subscription_details": {"subscription": self.stripe_id}},
            "lines": {"data": lines},
        }

    def _settle(self, invoice: Json, at: datetime) -> None:
        """Pay an invoice, as far as the customer's credit balance does not."""
        total = sum(line["amount"] for line in invoice["lines"]["data"])
        due = max(0, total + self.balance_cents)
        self.balance_cents += total - due
        invoice |= {"status": "paid", "status_transitions": {"paid_at": _epoch(at)}, "payments": {"data": []}}
        if due:
            payment: Json = {"id": f"pi_{invoice['id']}", "latest_charge": f"ch_{invoice['id']}", "currency": "usd"}
            payment["created"] = _epoch(at)
            part = {"status": "paid", "amount_paid": due, "payment": {"payment_intent": payment}}
            invoice["payments"]["data"].append(part)
        self.paid.append(invoice)

    def _whole(self) -> Json:
        return _line(self.price_key, _cents(self.price_key), self.starts, self.ends)

    def _end_after(self, start: datetime) -> datetime:
        step = 12 if _interval(self.price_key) == "year" else 1
        months = step
        while add_months(self.anchor, months) <= start:
            months += step
        return add_months(self.anchor, months)


def charge_of(invoice: Json, *, refunded_cents: int = 0, dispute: str | None = None) -> Json | None:
    """Return the charge of an invoice as the app fetches it; None when the credit balance paid it all."""
    if not invoice["payments"]["data"]:
        return None
    (part,) = invoice["payments"]["data"]
    charge_id, cents = part["payment"]["payment_intent"]["latest_charge"], part["amount_paid"]
    details = {"due_by": None, "submission_count": 0}
    disputes = [
        {
            "id": f"du_{charge_id}",
            "status": dispute,
            "reason": "general",
            "amount": cents,
            "currency": "usd",
            "created": invoice["created"],
            "evidence": {},
            "evidence_details": details,
        }
    ]
    return {
        "id": charge_id,
        "paid": True,
        "amount_captured": cents,
        "amount_refunded": refunded_cents,
        "disputes": disputes if dispute else [],
        "refunds": {"data": []},
        "purchase": ("invoice", invoice["id"]),
    }


def shape_of(invoice: Json, started: int) -> tuple[object, ...]:
    """Return what of an invoice decides about credits, the same for paper and for the local Stripe."""
    lines = [
        (
            line["pricing"]["price_details"]["price"]["metadata"]["price_key"],
            (line["amount"] > 0) - (line["amount"] < 0),
            line["period"]["start"] - started,
            line["period"]["end"] - started,
            line["parent"]["type"],
        )
        for line in invoice["lines"]["data"]
    ]
    return invoice["billing_reason"], invoice["status_transitions"]["paid_at"] - started, sorted(lines)


def _line(price_key: str, cents: int, start: datetime, end: datetime, *, is_proration: bool = False) -> Json:
    kind = "invoice_item_details" if is_proration else "subscription_item_details"
    return {
        "amount": cents,
        "quantity": 1,
        "description": price_key,
        "period": {"start": _epoch(start), "end": _epoch(end)},
        "parent": {"type": kind, kind: {"proration": is_proration}},
        "pricing": {"price_details": {"price": _price(price_key)}},
    }


def _share(cents: int, start: datetime, now: datetime, end: datetime) -> int:
    return round(cents * ((end - now) / (end - start)))


def _price(price_key: str) -> Json:
    recurring = {"interval": _interval(price_key), "usage_type": "licensed"}
    price: Json = {"id": f"price_{price_key}", "metadata": {"price_key": price_key}, "currency": "usd"}
    return {**price, "unit_amount": _cents(price_key), "recurring": recurring, "lookup_key": None}


def _card(fingerprint: str) -> Json:
    return {"fingerprint": fingerprint, "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034}


def _cents(price_key: str) -> int:
    return catalog.current().price(price_key).amount_cents


def _interval(price_key: str) -> str:
    return str(catalog.current().price(price_key).interval)


def _epoch(at: datetime) -> int:
    return int(at.timestamp())
