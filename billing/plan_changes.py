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
import failpoints
from billing import catalog, fulfilment, gateway, limits, metered_items, pending, prices, subscriptions, usage_reports
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
    the next invoice. `credits` come at once. `used_cents` of what is due bill what was used beyond the old plan until
    now: that part may grow until the change is confirmed, as it would have without a change.
    """

    choice: Choice
    account_id: int
    stripe_subscription_id: str
    from_stripe_price_id: str
    to_stripe_price_id: str
    proration_date: int
    lines: list[tuple[str, int]]
    due_cents: int
    used_cents: int
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
    if len(subscriptions.plan_items(fresh)) > 1:
        raise ChangeRefused("several")
    if item["price"]["id"] != subscription.stripe_price_id or fresh["status"] != subscription.stripe_status:
        raise ChangeRefused("moved")
    to_price = prices.stripe_price_id(choice.price.key)
    at = at or int(clock.now().timestamp())
    usage_reports.flush_account(account_id)
    swap: Json = {"items": _swapped(fresh, choice.price.key, to_price)}
    whole = whole_period(fresh, to_price, from_period_end=choice.when is When.AT_PERIOD_END)
    facts: Json = {
        "choice": choice,
        "stripe_subscription_id": stripe_id,
        "account_id": account_id,
        "from_stripe_price_id": item["price"]["id"],
        "to_stripe_price_id": to_price,
        "proration_date": at,
        "currency": whole["currency"],
        "next_cents": whole["total"],
    }
    if choice.when is When.AT_PERIOD_END or fresh["status"] == Status.TRIALING:
        nothing: Json = dict.fromkeys(
            ("due_cents", "used_cents", "from_balance_cents", "to_balance_cents", "carried_cents", "credits"), 0
        )
        return Quote(**facts, **nothing, lines=[], next_at=instant(item["current_period_end"]))
    how = {"proration_behavior": "always_invoice", "proration_date": at}
    bill = gateway.preview_change(stripe_id, {**swap, **how})
    owed_after = bill["starting_balance"] + bill["total"] - bill["amount_due"]  # below 0: the customer has credit
    return Quote(
        **facts,
        lines=[(line["description"] or choice.plan.name, line["amount"]) for line in bill["lines"]["data"]],
        due_cents=bill["amount_due"],
        used_cents=sum(_net(line) for line in bill["lines"]["data"] if metered_items.is_usage(line)),
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
        plan_price(quoted.stripe_subscription_id, quoted.choice.price, quoted.to_stripe_price_id, key=key)
        return Outcome(Result.PLANNED)
    fresh = gateway.retrieve_subscription(quoted.stripe_subscription_id)
    if fresh.get("schedule"):
        gateway.release_schedule(_id_of(fresh["schedule"]), idempotency_key=f"{key}:release")
        failpoints.hit("change.schedule_released")
    usage_reports.flush_account(quoted.account_id)  # this invoice bills what was used under the old plan
    items = _swapped(fresh, quoted.choice.price.key, quoted.to_stripe_price_id)
    params: Json = {"items": items, "payment_behavior": "pending_if_incomplete"}
    if fresh["status"] == Status.TRIALING:
        params["proration_behavior"] = "none"
    else:
        params |= {"proration_behavior": "always_invoice", "proration_date": quoted.proration_date}
    answer = gateway.update_subscription(quoted.stripe_subscription_id, params, idempotency_key=key)
    failpoints.hit("change.made")
    invoice_id = _id_of(answer["latest_invoice"])
    if not answer.get("pending_update"):
        return Outcome(Result.DONE, invoice_id)
    return _unpaid(gateway.retrieve_invoice(invoice_id))


def undo_planned(stripe_schedule_id: str, *, key: str) -> None:
    """Give up a change that was planned for the end of the period."""
    gateway.release_schedule(stripe_schedule_id, idempotency_key=key)
    failpoints.hit("change.undone")


def withdraw_unpaid(stripe_invoice_id: str, *, key: str) -> None:
    """Call off the invoice that a change waits for; Stripe then forgets the change."""
    gateway.void_invoice(stripe_invoice_id, idempotency_key=key)
    failpoints.hit("change.withdrawn")


def whole_period(fresh: Json, stripe_price_id: str, *, from_period_end: bool) -> Json:
    """Ask Stripe for the invoice of a whole period at a price, without use; changes nothing."""
    alone: Json = {"items": _plan_alone(fresh, stripe_price_id), "proration_behavior": "none"}
    if from_period_end:
        # A discount may end until then, so Stripe is asked for the invoice of that day: as if the rest were a trial.
        alone["trial_end"] = subscriptions.plan_item(fresh)["current_period_end"]
    return gateway.preview_change(fresh["id"], alone, is_recurring=True)


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


def plan_price(
    stripe_subscription_id: str, price: catalog.Price, stripe_price_id: str, *, key: str, until: int | None = None
) -> None:
    """Have another price begin when the paid period ends, or at a later end of one (`until`, in epoch seconds).

    Puts a second phase behind the present one; a schedule that is there already is told anew. Raises
    errors.StripeError.
    """
    fresh = gateway.retrieve_subscription(stripe_subscription_id)
    schedule = fresh.get("schedule") or gateway.schedule_of(stripe_subscription_id, idempotency_key=f"{key}:schedule")
    failpoints.hit("change.schedule_made")
    present = next(p for p in schedule["phases"] if p["start_date"] == schedule["current_phase"]["start_date"])
    item = subscriptions.plan_item(fresh)
    phases: list[Json] = [
        {
            "items": [_phase_item(each) for each in present["items"]],
            "start_date": present["start_date"],
            "end_date": until or item["current_period_end"],
            **_discounts(present),
        },
        {
            "items": [
                {"price": stripe_price_id, "quantity": item.get("quantity") or 1},
                *({"price": price_id} for price_id in _prices_by_use(fresh, price.key)),
            ],
            "duration": {"interval": price.interval, "interval_count": 1},
            "proration_behavior": "none",  # Stripe's default would bill the change a second time
            **_discounts(present),
        },
    ]
    gateway.update_schedule(
        schedule["id"], {"end_behavior": "release", "phases": phases}, idempotency_key=f"{key}:phases"
    )
    failpoints.hit("change.phases_told")


def _swapped(fresh: Json, price_key: str, stripe_price_id: str) -> list[Json]:
    """Return the items of a change: the plan's price in place of the old one, and its prices by use.

    A price by use that stays, stays the subscriber's own; one that goes is taken off rather than replaced, so that what
    was used until now is billed by it and nothing of it by the next.
    """
    item = subscriptions.plan_item(fresh)
    wanted = _prices_by_use(fresh, price_key)
    present = {one["price"]["id"]: one["id"] for one in fresh["items"]["data"] if metered_items.is_by_use(one["price"])}
    return [
        plan_swap(item, stripe_price_id),
        *({"id": item_id, "deleted": True} for price_id, item_id in present.items() if price_id not in wanted),
        *({"price": price_id} for price_id in wanted if price_id not in present),
    ]


def _plan_alone(fresh: Json, stripe_price_id: str) -> list[Json]:
    """Return the items that leave only the plan: what a period costs without use, which ends by the month.

    With a yearly plan Stripe's next invoice would otherwise be a month's, over use alone.
    """
    item = subscriptions.plan_item(fresh)
    by_use = [one["id"] for one in fresh["items"]["data"] if metered_items.is_by_use(one["price"])]
    return [plan_swap(item, stripe_price_id), *({"id": item_id, "deleted": True} for item_id in by_use)]


def plan_swap(item: Json, stripe_price_id: str) -> Json:
    """Return the entry of `items` that gives a plan's item another price and leaves its quantity."""
    return {"id": item["id"], "price": stripe_price_id, "quantity": item.get("quantity") or 1}


def _prices_by_use(fresh: Json, price_key: str) -> list[str]:
    """Return the Stripe prices by which a plan's use is billed; those that the subscription has already stay."""
    metered = [one["price"] for one in fresh["items"]["data"] if metered_items.is_by_use(one["price"])]
    kept = {subscriptions.price_key_of(price): str(price["id"]) for price in metered}
    wanted = [price.key for price in metered_items.overages_of(price_key)]
    return [kept.get(key) or prices.metered_price_id(key) for key in wanted]


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


def _net(line: Json) -> int:
    return int(line["amount"] - sum(part["amount"] for part in line.get("discount_amounts") or []))


def _ends_at(bill: Json) -> datetime | None:
    # A credit's line may reach further: an unused year, when a month of a larger plan begins.
    return instant(max(line["period"]["end"] for line in bill["lines"]["data"] if line["amount"] >= 0))


def _id_of(named: Json | str) -> str:
    return str(named["id"]) if isinstance(named, dict) else named
