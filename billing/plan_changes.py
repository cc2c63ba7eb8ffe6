"""Change a subscription's plan or rhythm: what it will cost is worked out by Stripe and shown before it is done.

More is given at once and paid at once; less begins when the paid period ends. The confirmation uses the preview's own
proration date, so that both are the same to the cent however long somebody thinks in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

import clock
from billing import catalog, fulfilment, gateway, limits, pending, prices, subscriptions
from billing.errors import BillingError, LimitReached
from billing.models import Status, Subscription
from billing.subscriptions import instant

Json = dict[str, Any]

CHANGEABLE = frozenset({Status.TRIALING, Status.ACTIVE})


class When(StrEnum):
    """When a change takes effect."""

    NOW = "now"
    AT_PERIOD_END = "at_period_end"


class ChangeRefused(BillingError):
    """The subscription cannot change to this price now: it owes, ends, is gone, or `obstacles` are in the way."""

    status = 409

    def __init__(self, why: str, obstacles: tuple[LimitReached, ...] = ()) -> None:
        super().__init__(why)
        self.obstacles = obstacles


@dataclass(frozen=True)
class Choice:
    """A price that a subscriber can change to, when it would begin, and what is in the way."""

    plan: catalog.Plan
    price: catalog.Price
    when: When
    obstacles: tuple[LimitReached, ...]


@dataclass(frozen=True)
class Quote:
    """What a change costs, in cents, and brings, as Stripe works it out for one second (`proration_date`).

    `due_cents` is charged when it is confirmed, `from_balance_cents` of the total comes from the customer's balance,
    `to_balance_cents` stay there for the next invoices, and `carried_cents` are too little for a card and are added to
    the next invoice. `credits` come at once.
    """

    choice: Choice
    stripe_subscription_id: str
    stripe_item_id: str
    from_stripe_price_id: str
    to_stripe_price_id: str
    proration_date: int
    lines: list[tuple[str, int]]
    due_cents: int
    from_balance_cents: int
    to_balance_cents: int
    carried_cents: int
    next_cents: int
    next_at: datetime | None
    credits: int
    currency: str


class Result(StrEnum):
    """What became of a confirmed change."""

    DONE = "done"
    PLANNED = "planned"
    DECLINED = "declined"
    ACTION_REQUIRED = "action_required"


@dataclass(frozen=True)
class Outcome:
    """The result, the invoice that was made, its page at Stripe, and the bank's words when the card was declined."""

    result: Result
    stripe_invoice_id: str | None = None
    hosted_url: str | None = None
    words: str = ""


def obstacle_to_any(subscription: Subscription | None) -> str | None:
    """Say in a word why the subscription cannot change at all: none, unknown, ending, owing; None when it can."""
    if subscription is None:
        return "none"
    if subscription.plan_key is None or subscription.plan_key not in {p.key for p in catalog.current().plans}:
        return "unknown"
    if subscription.stripe_status not in CHANGEABLE:
        return "owing"
    return "ending" if subscription.cancels_at else None


def choices(session: Session, subscription: Subscription) -> list[Choice]:
    """List every price on sale that the subscription does not have, in the catalogue's order."""
    plans = [plan for plan in catalog.current().plans_for_sale if not plan.is_free]
    found = [(plan, price) for plan in plans for price in plan.prices if price.key != subscription.price_key]
    return [_choice(session, subscription, plan, price) for plan, price in found if price.interval]


def choose(session: Session, subscription: Subscription | None, price_key: str) -> Choice:
    """Return one choice; raise ChangeRefused when it is not open, UnknownOffer when it is not sold."""
    catalog.current().for_sale(price_key)
    why = obstacle_to_any(subscription)
    if subscription is None or why:
        raise ChangeRefused(why or "none")
    choice = next((c for c in choices(session, subscription) if c.price.key == price_key), None)
    if choice is None:
        raise ChangeRefused("same")
    if choice.obstacles:
        raise ChangeRefused("limits", choice.obstacles)
    return choice


def quote(session: Session, subscription: Subscription, choice: Choice, *, at: int | None = None) -> Quote:
    """Ask Stripe what a change costs, as of a second of the present period (now, unless told); changes nothing.

    Raises errors.StripeError, PriceMissing, and ChangeRefused when the subscription is another one at Stripe by now.
    """
    account_id, stripe_id = subscription.account_id, subscription.stripe_id
    fresh = gateway.retrieve_subscription(stripe_id)
    item = subscriptions.plan_item(fresh)
    if item["price"]["id"] != subscription.stripe_price_id or fresh["status"] != subscription.stripe_status:
        raise ChangeRefused("moved")
    to_price = prices.stripe_price_id(choice.price.key)
    at = at or int(clock.now().timestamp())
    swap: Json = {"items": [{"id": item["id"], "price": to_price, "quantity": item.get("quantity") or 1}]}
    whole = gateway.preview_change(stripe_id, {**swap, "proration_behavior": "none"}, is_recurring=True)
    facts: Json = {
        "choice": choice,
        "stripe_subscription_id": stripe_id,
        "stripe_item_id": item["id"],
        "from_stripe_price_id": item["price"]["id"],
        "to_stripe_price_id": to_price,
        "proration_date": at,
        "currency": whole["currency"],
        "next_cents": whole["total"],
    }
    if choice.when is When.AT_PERIOD_END or fresh["status"] == Status.TRIALING:
        nothing: Json = dict.fromkeys(
            ("due_cents", "from_balance_cents", "to_balance_cents", "carried_cents", "credits"), 0
        )
        return Quote(**facts, **nothing, lines=[], next_at=instant(item["current_period_end"]))
    how = {"proration_behavior": "always_invoice", "proration_date": at}
    bill = gateway.preview_change(stripe_id, {**swap, **how})
    owed_after = bill["starting_balance"] + bill["total"] - bill["amount_due"]  # below 0: the customer has credit
    return Quote(
        **facts,
        lines=[(line["description"] or choice.plan.name, line["amount"]) for line in bill["lines"]["data"]],
        due_cents=bill["amount_due"],
        from_balance_cents=max(0, bill["total"] - bill["amount_due"] - max(0, owed_after)),
        to_balance_cents=max(0, -owed_after),
        carried_cents=max(0, owed_after),
        credits=fulfilment.credits_of(session, account_id, bill),
        next_at=_ends_at(bill),
    )


def confirm(quoted: Quote, *, key: str) -> Outcome:
    """Make the change that was quoted; the old plan stays until the new one is paid.

    Raises CardDeclined when Stripe refuses the card at once, and errors.StripeError; then nothing has changed.
    """
    if quoted.choice.when is When.AT_PERIOD_END:
        _plan_for_period_end(quoted, key)
        return Outcome(Result.PLANNED)
    fresh = gateway.retrieve_subscription(quoted.stripe_subscription_id)
    if fresh.get("schedule"):
        gateway.release_schedule(_id_of(fresh["schedule"]), idempotency_key=f"{key}:release")
    item = subscriptions.plan_item(fresh)
    swap = {"id": quoted.stripe_item_id, "price": quoted.to_stripe_price_id, "quantity": item.get("quantity") or 1}
    params: Json = {"items": [swap], "payment_behavior": "pending_if_incomplete"}
    if fresh["status"] == Status.TRIALING:
        params["proration_behavior"] = "none"
    else:
        params |= {"proration_behavior": "always_invoice", "proration_date": quoted.proration_date}
    answer = gateway.update_subscription(quoted.stripe_subscription_id, params, idempotency_key=key)
    invoice_id = _id_of(answer["latest_invoice"])
    if not answer.get("pending_update"):
        return Outcome(Result.DONE, invoice_id)
    return _unpaid(gateway.retrieve_invoice(invoice_id))


def undo_planned(stripe_schedule_id: str, *, key: str) -> None:
    """Give up a change that was planned for the end of the period."""
    gateway.release_schedule(stripe_schedule_id, idempotency_key=key)


def withdraw_unpaid(stripe_invoice_id: str, *, key: str) -> None:
    """Call off the invoice that a change waits for; Stripe then forgets the change."""
    gateway.void_invoice(stripe_invoice_id, idempotency_key=key)


def _choice(session: Session, subscription: Subscription, plan: catalog.Plan, price: catalog.Price) -> Choice:
    old = catalog.current().plan(str(subscription.plan_key))
    obstacles = limits.exceeded(session, subscription.account_id, now=old, then=plan)
    return Choice(plan, price, _when(subscription, old, plan, price), tuple(obstacles))


def _when(subscription: Subscription, old: catalog.Plan, plan: catalog.Plan, price: catalog.Price) -> When:
    """Decide when a change begins: a trial changes at once, a later plan or a year of the same one too."""
    if subscription.stripe_status == Status.TRIALING:
        return When.NOW
    keys = [p.key for p in catalog.current().plans]
    rank_before, rank_after = keys.index(old.key), keys.index(plan.key)
    is_year_of_the_same = rank_after == rank_before and price.interval == "year"
    return When.NOW if rank_after > rank_before or is_year_of_the_same else When.AT_PERIOD_END


def _plan_for_period_end(quoted: Quote, key: str) -> None:
    """Put a second phase behind the present one; a schedule that is there already is told anew."""
    fresh = gateway.retrieve_subscription(quoted.stripe_subscription_id)
    schedule = fresh.get("schedule") or gateway.schedule_of(
        quoted.stripe_subscription_id, idempotency_key=f"{key}:schedule"
    )
    present = next(p for p in schedule["phases"] if p["start_date"] == schedule["current_phase"]["start_date"])
    item = subscriptions.plan_item(fresh)
    interval = quoted.choice.price.interval
    phases: list[Json] = [
        {
            "items": [_phase_item(each) for each in present["items"]],
            "start_date": present["start_date"],
            "end_date": item["current_period_end"],
            **_discounts(present),
        },
        {
            "items": [{"price": quoted.to_stripe_price_id, "quantity": item.get("quantity") or 1}],
            "duration": {"interval": interval, "interval_count": 1},
            "proration_behavior": "none",  # Stripe's default would bill the change a second time
            **_discounts(present),
        },
    ]
    gateway.update_schedule(
        schedule["id"], {"end_behavior": "release", "phases": phases}, idempotency_key=f"{key}:phases"
    )


def _phase_item(item: Json) -> Json:
    known = {"price": _id_of(item["price"]), "quantity": item.get("quantity")}
    return {name: value for name, value in known.items() if value is not None}


def _discounts(phase: Json) -> Json:
    """Carry a discount on: a phase that names none has none."""
    found = [{name: value for name, value in each.items() if value} for each in phase.get("discounts") or []]
    return {"discounts": found} if found else {}


def _unpaid(invoice: Json) -> Outcome:
    intent = pending.open_intent(invoice)
    is_waiting = pending.wants_customer(intent)
    error = intent.get("last_payment_error") or {}
    return Outcome(
        Result.ACTION_REQUIRED if is_waiting else Result.DECLINED,
        invoice["id"],
        invoice.get("hosted_invoice_url"),
        "" if is_waiting else error.get("message") or "The card was declined.",
    )


def _ends_at(bill: Json) -> datetime | None:
    # A credit's line may reach further: an unused year, when a month of a larger plan begins.
    return instant(max(line["period"]["end"] for line in bill["lines"]["data"] if line["amount"] >= 0))


def _id_of(named: Json | str) -> str:
    return str(named["id"]) if isinstance(named, dict) else named
