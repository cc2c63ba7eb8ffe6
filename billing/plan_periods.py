"""What an invoice of a subscription pays for: the plan, its credits and their span, and its place among the others.

Nothing here asks the database or Stripe: an invoice is read as it was fetched, with the whole price of each line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from billing import catalog, subscriptions
from billing.periods import add_months, months_between
from billing.subscriptions import instant

Json = dict[str, Any]

# The longest period that is sold is a year; a change names the money that comes back, not when its period began.
LOOK_BACK = timedelta(days=370)


@dataclass(frozen=True)
class Period:
    """What a plan's line of an invoice pays for: `credits` of a plan from an instant to another.

    A yearly plan grants monthly: then the span is the month of `month_starts_at`, and `is_part_of_year` tells that the
    line begins in the middle of its year, as an upgrade's does. `begins_at` is when it was bought; `lapsed` are spans
    that had ended by then and whose money came back - after a pause, or for another plan of so many credits a period.
    `credits` are those of all plans that are paid for the same span: somebody may have added a second one at Stripe.
    """

    plan: catalog.Plan
    stripe_subscription_id: str | None
    credits: int
    is_trial: bool
    starts_at: datetime
    ends_at: datetime
    paid_until: datetime
    month_starts_at: datetime
    is_part_of_year: bool
    begins_at: datetime
    # What a change brings on a subscription with several plans: no share of what the others were granted.
    difference: int | None
    lapsed: tuple[tuple[datetime, datetime, int], ...]


def of(invoice: Json) -> Period | None:
    """Return what an invoice pays for; None when it is not a plan of the catalogue."""
    line = plan_line(invoice)
    sold = _plan_of_line(line) if line is not None else None
    return _period_of(invoice, line, *sold) if line is not None and sold is not None else None


def plan_line(invoice: Json) -> Json | None:
    """Find the line that pays for a plan's period: of an upgrade's lines, the charge and not the credit."""
    if subscription_of(invoice) is None:
        return None
    lines = [line for line in invoice["lines"]["data"] if _plan_of_line(line) is not None and line["amount"] >= 0]
    return max(lines, key=lambda line: (line["period"]["end"], line["amount"]), default=None)


def subscription_of(invoice: Json) -> str | None:
    """Return the id of an invoice's subscription, or None."""
    found = _details_of(invoice).get("subscription")
    return found["id"] if isinstance(found, dict) else found


def order_of_payment(invoice: Json) -> tuple[int, int, int]:
    """Return the key by which a subscription's paid invoices stand in Stripe's order: as they were paid, then numbered.

    What is paid later stands later, so whoever sees some paid invoices sees all that stand before them.
    """
    paid_at = (invoice.get("status_transitions") or {}).get("paid_at") or 0
    return paid_at, invoice.get("created") or 0, int((invoice.get("number") or "0").rpartition("-")[2])


def pays_for_a_plan(invoice: Json) -> bool:
    """Tell whether a fetched invoice pays for a plan of the catalogue; a trial may have been refused."""
    period = of(invoice)
    return period is not None and not period.is_trial


def others_since(invoice: Json) -> datetime | None:
    """Return since when invoices may have been made whose credits a paid invoice shares; None when there are none.

    Its own credits follow from theirs, so those that were paid before it must be known first. The first invoice of a
    subscription has none before it.
    """
    line = plan_line(invoice)
    if invoice["status"] != "paid" or line is None or invoice.get("billing_reason") == "subscription_create":
        return None
    # Going on after a pause, too, depends on what the pause gave back, which may have been long ago.
    is_change = invoice.get("billing_reason") == "subscription_update"
    if is_change or any(other["amount"] < 0 for other in invoice["lines"]["data"]):
        return instant(invoice["created"] - int(LOOK_BACK.total_seconds()))
    return instant(line["period"]["start"] - 86400)


def spans_taken_back(invoice: Json) -> list[list[int]]:
    """Return the spans of time whose money an invoice's own lines give back, in epoch seconds."""
    lines = [line for line in invoice["lines"]["data"] if line["amount"] < 0]
    return [[line["period"]["start"], line["period"]["end"]] for line in lines]


def description_of(invoice: Json) -> str:
    """Return the words of an invoice for what it is about."""
    line = plan_line(invoice) or next(iter(invoice["lines"]["data"]), {})
    return line.get("description") or "Subscription"


def within_year(period: Period, year_starts_at: datetime) -> Period:
    """Return the same period, with its month counted from the day on which its year began."""
    month = months_between(year_starts_at, period.starts_at)
    return replace(
        period,
        month_starts_at=add_months(year_starts_at, month),
        ends_at=min(add_months(year_starts_at, month + 1), period.paid_until),
    )


def _period_of(invoice: Json, line: Json, price_key: str, plan: catalog.Plan) -> Period:
    starts_at, paid_until = (datetime.fromtimestamp(line["period"][end], UTC) for end in ("start", "end"))
    price = catalog.current().price(price_key)
    is_trial = line["amount"] == 0 and price.amount_cents > 0
    period = Period(
        plan=plan,
        stripe_subscription_id=subscription_of(invoice),
        credits=_credits_of_all(invoice, line),
        is_trial=is_trial,
        starts_at=starts_at,
        ends_at=paid_until,
        paid_until=paid_until,
        month_starts_at=starts_at,
        is_part_of_year=price.interval == "year" and not is_trial and add_months(starts_at, 12) > paid_until,
        begins_at=starts_at,
        difference=_difference(invoice, line),
        lapsed=tuple(
            (since, until, _exchanged_for(invoice, since, until))
            for since, until in _taken_back(invoice)
            if until <= starts_at
        ),
    )
    if price.interval == "year":
        # The day is that of the year's end, unless the year began on the 29th of February.
        period = within_year(period, add_months(paid_until, -12) if period.is_part_of_year else starts_at)
    # The old period ends for the customer where its money comes back, minutes before a new one begins.
    return replace(period, starts_at=min([starts_at, *(s for s, until in _taken_back(invoice) if until > starts_at)]))


def is_change(invoice: Json) -> bool:
    """Tell whether an invoice bills a change within a period, of which it does not say what stays beside it."""
    line = plan_line(invoice)
    return line is not None and _is_proration(line)


def _credits_of_all(invoice: Json, line: Json) -> int:
    """Return the credits of a plan's line, and of the other plans' whole periods that are paid for the same span."""
    beside: dict[str | int, int] = {}
    for number, other in enumerate(invoice["lines"]["data"]):
        sold = _plan_of_line(other)
        if sold is None or other["amount"] < 0 or other["period"] != line["period"] or _is_proration(other):
            continue
        item = (other["parent"].get("subscription_item_details") or {}).get("subscription_item")
        beside[item or number] = _credits_of(other)
    return _credits_of(line) if _is_proration(line) else sum(beside.values())


def _difference(invoice: Json, line: Json) -> int | None:
    """Return what a change brings beside another plan: what it charges for, less what it gives money back for."""
    if not _is_proration(line) or invoice.get("plans", 1) < 2:
        return None
    lines = [other for other in invoice["lines"]["data"] if other["period"]["end"] == line["period"]["end"]]
    sold = [other for other in lines if _plan_of_line(other) is not None]
    return sum(_credits_of(other) * (1 if other["amount"] >= 0 else -1) for other in sold)


def _credits_of(line: Json) -> int:
    sold = _plan_of_line(line)
    return sold[1].credits * (line.get("quantity") or 1) if sold is not None else 0


def _is_proration(line: Json) -> bool:
    parent = line.get("parent") or {}
    details = (parent.get("invoice_item_details"), parent.get("subscription_item_details"))
    return any((detail or {}).get("proration", False) for detail in details)


def _taken_back(invoice: Json) -> list[tuple[datetime, datetime]]:
    """Return the spans of time whose money comes back by an invoice, or came back by the one right before it."""
    spans = [*spans_taken_back(invoice), *invoice.get("returned", ())]
    instants = [(instant(start), instant(end)) for start, end in spans]
    return [(since, until) for since, until in instants if since and until]


def _exchanged_for(invoice: Json, since: datetime, until: datetime) -> int:
    """Return the credits a period of the plans that an invoice charges for a span whose money it gives back."""
    credits = 0
    for line in invoice["lines"]["data"]:
        sold = _plan_of_line(line) if line["amount"] > 0 else None
        span = instant(line["period"]["start"]), instant(line["period"]["end"])
        if sold is not None and span == (since, until):
            credits += sold[1].credits * (line.get("quantity") or 1)
    return credits


def _plan_of_line(line: Json) -> tuple[str, catalog.Plan] | None:
    parent = line.get("parent") or {}
    # What an upgrade charges for the rest of a period is an invoice item made by its subscription.
    is_proration = (parent.get("invoice_item_details") or {}).get("proration", False)
    if parent.get("type") != "subscription_item_details" and not is_proration:
        return None
    if line.get("quantity") == 0:
        return None  # an item that was set to none in the Dashboard pays for none
    price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    price_key = subscriptions.price_key_of(price) if isinstance(price, dict) else None
    if price_key is None or catalog.current().price(price_key).is_metered:
        return None
    offer = catalog.current().offer(price_key)
    return (price_key, offer) if isinstance(offer, catalog.Plan) else None


def _details_of(invoice: Json) -> Json:
    return (invoice.get("parent") or {}).get("subscription_details") or {}
