"""The billing page: the plan in words, what comes next, what pays for it, and every way out of its state."""

from __future__ import annotations

from datetime import datetime

import clock
from accounts.models import ADMIN
from billing import (
    access,
    auto_top_ups,
    catalog,
    coming_use,
    endings,
    invoices,
    pausing,
    pending,
    plan_changes,
    saved_cards,
    states,
    subscriptions,
)
from billing.catalog import Plan, Price
from billing.models import Subscription
from billing.pending import Planned
from billing.states import State, Way
from blueprints.billing.base import bp
from blueprints.billing.metering import usage_overview
from extensions import db
from ledger import statement
from web import filters, fragments, gates, trials
from web.current import current_account

RECENT_INVOICES = 3


@bp.get("/billing")
@gates.requires(role=ADMIN)
def index() -> str:
    """Show the plan in words, what comes next, and what can be done."""
    account_id, session = current_account().id, db.session()
    subscription = subscriptions.latest(session, account_id)
    state = states.state_of(subscription)
    live = subscription if subscription is not None and subscription.is_primary else None
    price = price_of(live)
    planned = pending.planned_change(session, live.stripe_id) if live else None
    return fragments.page(
        "billing/index.html",
        state=state,
        ways=states.RULES[state].ways,
        Way=Way,
        subscription=live,
        price=price,
        sentence=in_words(subscription, planned),
        plan=access.plan_opened_by(live),
        bought=plan_bought(live),
        trial=trials.of(live),
        next_invoice=next_invoice(live, planned),
        planned=planned,
        unpaid=pending.unpaid_change(session, live.stripe_id) if live else None,
        open_invoice=invoices.open_invoice(session, live.stripe_id) if live else None,
        recent=invoices.page(session, account_id, size=RECENT_INVOICES),
        balance=statement.balance(session, account_id),
        usage=usage_overview(),
        may_change=plan_changes.obstacle_to_any(live) is None,
        may_cancel=endings.may_cancel(live),
        may_resume=endings.may_resume(live),
        may_pause=pausing.may_pause(live),
        has_customer=current_account().stripe_customer_id is not None,
        card_on_file=card_in_words(live),
        saved_card=saved_cards.find(session, account_id),
        packs=catalog.current().packs_for_sale,
        auto=auto_top_ups.find(session, account_id),
    )


def in_words(subscription: Subscription | None, planned: Planned | None = None) -> str:
    """Say the subscription in one sentence, such as "Pro, monthly, renews on 21 December 2026 for $30.00."."""
    free, price, state = catalog.current().free_plan, price_of(subscription), states.state_of(subscription)
    on_free = f"You are on the {free.name} plan."
    if subscription is None or price is None:
        return on_free
    name = catalog.current().offer(price.key).name
    if state is State.ENDED or not subscription.is_primary:
        ended_at = subscription.ended_at
        return f"{name} ended on {filters.day(ended_at)}. {on_free}" if ended_at else on_free
    plan = f"{name}, {invoices.RHYTHM[price.interval]}" if price.interval else name
    return f"{plan}, {_what_happens(subscription, state, price, planned)}."


def _what_happens(subscription: Subscription, state: State, price: Price, planned: Planned | None) -> str:
    day = filters.day(subscription.period_ends_at) if subscription.period_ends_at else "its next invoice"
    if subscription.cancels_at is not None and state is not State.PAST_DUE:
        return f"ends on {filters.day(subscription.cancels_at)}"
    if state is State.TRIALING:
        return f"on trial until {day}"
    if state is State.PAUSED:
        until = subscription.open_until
        return f"is paused and open until {filters.day(until)}" if until and until > clock.now() else "is paused"
    if state in (State.PAST_DUE, State.UNPAID):
        return "waits for a payment"
    if state is State.INCOMPLETE:
        return "waits for its first payment"
    renewal = f"renews on {day}"
    if planned is not None and _is_next(planned, subscription):
        if not planned.is_new_price:
            return f"becomes {planned.plan.name} on {day}"
        return f"{renewal} for {_discounted(subscription, planned.amount_cents)}"
    # A subscriber keeps the price of the day, whatever the catalogue asks for now.
    if subscription.amount_cents is None:
        return renewal
    return f"{renewal} for {_discounted(subscription, subscription.amount_cents)}"


def next_invoice(subscription: Subscription | None, planned: Planned | None) -> tuple[str, datetime] | None:
    """Return the amount of the next renewal in words, and its day; None when none is to come."""
    state = states.state_of(subscription)
    if subscription is None or state not in (State.ACTIVE, State.TRIALING) or subscription.period_ends_at is None:
        return None
    if state is State.TRIALING and subscription.payment_method_id is None:
        return None  # without a card the trial ends, and nothing is charged
    if planned is not None and _is_next(planned, subscription):
        return _discounted(subscription, planned.amount_cents), planned.at
    if subscription.amount_cents is None:
        return "By use", subscription.period_ends_at
    return _discounted(subscription, subscription.amount_cents), subscription.period_ends_at


def _discounted(subscription: Subscription, cents: int) -> str:
    """Say what the next renewal costs, discounts taken off; use beyond the plan comes on top and stands beside it."""
    amount = coming_use.renewal_cents(db.session(), subscription, cents)
    return filters.money(amount, subscription.currency or catalog.current().currency)


def _is_next(planned: Planned, subscription: Subscription) -> bool:
    """Tell whether a planned change comes with the next renewal; a new price may come with a later one."""
    return subscription.period_ends_at is None or planned.at <= subscription.period_ends_at


def card_in_words(subscription: Subscription | None) -> str | None:
    """Say what the next invoice is charged to: "Visa ending in 4242"; None when there is no card."""
    if subscription is None or subscription.card_brand is None or subscription.card_expires_on is None:
        return None
    brand = subscription.card_brand
    return f"{saved_cards.BRANDS.get(brand, brand.capitalize())} ending in {subscription.card_last4}"


def plan_bought(subscription: Subscription | None) -> Plan | None:
    """Return the plan that a subscription is for, whether it is open at present or not."""
    price = price_of(subscription)
    offer = catalog.current().offer(price.key) if price else None
    return offer if isinstance(offer, Plan) else None


def price_of(subscription: Subscription | None) -> Price | None:
    """Return the catalogue's price of a subscription; None when it is not in the catalogue."""
    if subscription is None or subscription.price_key is None:
        return None
    current = catalog.current()
    return current.price(subscription.price_key) if current.has_price(subscription.price_key) else None
