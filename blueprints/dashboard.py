"""The first page of a signed-in person: the balance, what it buys, what changed it, and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, render_template

from billing import access, catalog
from billing.models import Status, Subscription
from extensions import db
from ledger import statement
from web import filters, gates
from web.current import current_account

bp = Blueprint("dashboard", __name__)

USAGE_DAYS = 30
RECENT = 6
# What credits are spent on, in words, by the catalogue's cost keys: one and many.
BUYS = {"cv_page": ("CV page", "CV pages")}


@dataclass(frozen=True)
class PlanInWords:
    """The plan card: its name, its state if that matters, and rows of a name and a value."""

    name: str
    stripe_status: str | None
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """One line of the recent activity; `amount` is the change in credits, None when nothing moved."""

    title: str
    at: datetime
    detail: str
    amount: int | None


@bp.get("/dashboard")
@gates.requires()
def index() -> str:
    """Show the balance by source, the last month's use and activity, and the plan."""
    session = db.session()
    account_id = current_account().id
    balance = statement.balance(session, account_id)
    subscription = access.subscription_of(session, account_id)
    plan = access.plan_opened_by(subscription)
    usage = statement.daily_usage(session, account_id, days=USAGE_DAYS)
    return render_template(
        "dashboard/index.html",
        balance=balance,
        what_it_buys=what_it_buys(balance.total),
        is_low=is_low(balance),
        next_expiry=next_expiry(balance.sources),
        plan=plan,
        plan_card=plan_in_words(plan, subscription),
        subscription=subscription,
        usage=[(filters.short_day(u.day), u.credits) for u in usage],
        used=sum(u.credits for u in usage),
        recent=[entry(line) for line in statement.recent(session, account_id, RECENT)],
    )


def what_it_buys(credits: int) -> str:
    """Say what a balance is worth in work, such as "about 12 CV pages"; empty when the catalogue names no cost."""
    for key, (one, many) in BUYS.items():
        cost = catalog.current().costs.get(key, 0)
        if cost:
            count = credits // cost
            return f"about {filters.number(count)} {one if count == 1 else many}"
    return ""


def is_low(balance: statement.Balance) -> bool:
    """Tell whether it is time for a word about the next step; who has not used anything yet is left in peace."""
    is_small = balance.total < catalog.current().policies.low_balance_credits
    return is_small and (balance.total == 0 or any(s.remaining < s.granted for s in balance.sources))


def entry(line: statement.Activity) -> Entry:
    """Turn a line of the statement into one of the timeline."""
    return Entry(line.reason, line.at, f"{filters.number(line.balance)} left", line.credits or None)


def next_expiry(sources: Sequence[statement.Source]) -> tuple[int, datetime] | None:
    """Return how many credits expire next, and when; None when none of them do."""
    moments = [s.expires_at for s in sources if s.expires_at is not None]
    if not moments:
        return None
    first = min(moments)
    return sum(s.remaining for s in sources if s.expires_at == first), first


def plan_in_words(plan: catalog.Plan, subscription: Subscription | None) -> PlanInWords:
    """Say what the plan brings, what it costs, and what happens next on which day."""
    rows = [("Credits a month", filters.number(plan.credits))] if plan.credits else []
    if subscription is None:
        return PlanInWords(plan.name, None, rows)
    if subscription.price_key and catalog.current().has_price(subscription.price_key):
        price = catalog.current().price(subscription.price_key)
        # A subscriber keeps the price of the day, whatever the catalogue asks for now.
        if subscription.amount_cents is not None:
            amount = filters.money(subscription.amount_cents, subscription.currency or price.currency)
            rows.append(("Price", f"{amount} a {price.interval}"))
    if subscription.cancels_at is not None:
        rows.append(("Ends on", filters.day(subscription.cancels_at)))
    elif subscription.stripe_status == Status.TRIALING and subscription.trial_ends_at is not None:
        rows.append(("Trial ends on", filters.day(subscription.trial_ends_at)))
    elif subscription.period_ends_at is not None:
        rows.append(("Renews on", filters.day(subscription.period_ends_at)))
    return PlanInWords(plan.name, subscription.stripe_status, rows)
