"""The first page of a signed-in person: the balance, what it buys, what changed it, and the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import ADMIN, MEMBER
from billing import access, catalog
from billing.access import SubscriptionRow
from billing.models import PlanGrant, Status
from extensions import db
from ledger import statement
from web import filters, fragments, gates, trials
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
    """One line of the recent activity; `amount` is the change in credits, None when nothing moved.

    `ago` is in words already: it is part of what the page is kept by.
    """

    title: str
    at: datetime
    ago: str
    detail: str
    amount: int | None


@bp.get("/dashboard")
@gates.requires(role=MEMBER)
def index() -> str:
    """Show the balance by source, the last month's use and activity, and the plan."""
    session = db.session()
    account_id = current_account().id
    balance = statement.balance(session, account_id)
    subscription = access.row_of(session, account_id)
    plan = access.plan_opened_by(subscription)
    usage = statement.daily_usage(session, account_id, days=USAGE_DAYS)
    pays = gates.may(role=ADMIN)
    return fragments.page(
        "dashboard/index.html",
        pays=pays,
        balance=balance,
        source_names=source_names(session, account_id, balance.sources),
        what_it_buys=what_it_buys(balance.total),
        is_low=is_low(balance),
        next_expiry=next_expiry(balance.sources),
        plan=plan,
        plan_card=plan_in_words(plan, subscription, with_price=pays),
        subscription=subscription,
        trial=trials.of(subscription),
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


def source_names(session: Session, account_id: int, sources: Sequence[statement.Source]) -> dict[str, str]:
    """Tell apart the credits of several plans or periods: "Pro plan, from 5 Dec"; by their sources in the ledger."""
    kinds = Counter(source.kind for source in sources)
    alike = [source.source for source in sources if kinds[source.kind] > 1 and source.kind in {"plan", "trial"}]
    if not alike:
        return {}
    grants = session.scalars(select(PlanGrant).where(PlanGrant.account_id == account_id, PlanGrant.source.in_(alike)))
    plans = {plan.key: plan.name for plan in catalog.current().plans}
    return {
        grant.source: f"{plans.get(grant.plan_key, 'Former')} plan, from {filters.short_day(grant.starts_at)}"
        for grant in grants
    }


def is_low(balance: statement.Balance) -> bool:
    """Tell whether it is time for a word about the next step; who has not used anything yet is left in peace."""
    is_small = balance.total < catalog.current().policies.low_balance_credits
    return is_small and (balance.total == 0 or any(s.remaining < s.granted for s in balance.sources))


def entry(line: statement.Activity) -> Entry:
    """Turn a line of the statement into one of the timeline."""
    return Entry(
        line.reason, line.at, filters.ago(line.at), f"{filters.number(line.balance)} left", line.credits or None
    )


def next_expiry(sources: Sequence[statement.Source]) -> tuple[int, datetime] | None:
    """Return how many credits expire on the next day that takes any, and when; None when none of them do."""
    moments = [s.expires_at for s in sources if s.expires_at is not None]
    if not moments:
        return None
    first = min(moments)
    # By the day, because that is what the page says: an upgrade's credits expire seconds apart from its plan's.
    return sum(s.remaining for s in sources if s.expires_at and s.expires_at.date() == first.date()), first


def plan_in_words(plan: catalog.Plan, subscription: SubscriptionRow | None, *, with_price: bool = True) -> PlanInWords:
    """Say what the plan brings, what it costs, and what happens next on which day."""
    rows = [("Credits a month", filters.number(plan.credits))] if plan.credits else []
    if subscription is None:
        return PlanInWords(plan.name, None, rows)
    if with_price and subscription.price_key and catalog.current().has_price(subscription.price_key):
        price = catalog.current().price(subscription.price_key)
        # A subscriber keeps the price of the day, whatever the catalogue asks for now.
        if subscription.amount_cents is not None:
            amount = filters.money(subscription.amount_cents, subscription.currency or price.currency)
            rows.append(("Price", f"{amount} a {price.interval}"))
    if subscription.cancels_at is not None:
        rows.append(("Ends on", filters.day(subscription.cancels_at)))
    elif subscription.stripe_status == Status.TRIALING and subscription.trial_ends_at is not None:
        rows.append(("Trial ends on", filters.day(subscription.trial_ends_at)))
    elif subscription.stripe_status == Status.ACTIVE and subscription.period_ends_at is not None:
        rows.append(("Renews on", filters.day(subscription.period_ends_at)))
    return PlanInWords(plan.name, subscription.stripe_status, rows)
