"""Random changes of plan: what the preview shows is what the invoice charges, to the cent.

    python -m proofs.previews --changes 200 --database sqlite

Hypothesis draws the cases: from which price to which, in a trial or at any second of a period, a quantity, a coupon,
credit on the customer's balance, use beyond the plan, and how long somebody thinks before confirming. Each is quoted
and confirmed by the app, as the pages do it; the invoice that Stripe makes is the judge, and so is the renewal after
it, but for what is used until then.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import clock
import database
from billing import access, catalog, customers, errors, gateway, metered_items, plan_changes, prices, sync, usage
from billing.models import Subscription
from billing.plan_changes import Outcome as Changed
from billing.plan_changes import Quote, Result, When
from extensions import db
from proofs import registry
from proofs.registry import Outcome, proof
from proofs.shop import Shop, open_shop

TRIAL_DAYS, DAY, HOUR = 14, 86400, 3600
COUPONS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "a quarter for ever": {"percent_off": 25, "duration": "forever"},
    "a third for three months": {"percent_off": 33.3, "duration": "repeating", "duration_in_months": 3},
    "$7.77 for ever": {"amount_off": 777, "currency": "usd", "duration": "forever"},
}
OVERAGES = catalog.load("projects").plan("pro").overages
PRICES = [price.key for plan in catalog.load("projects").plans for price in plan.prices]


@dataclass(frozen=True)
class Case:
    """One change: who changes to what, when, and with what in their pockets."""

    start: str
    to: str
    is_trial: bool
    part: float
    quantity: int
    coupon: str
    balance_cents: int
    used: int
    thinks: int


def cases() -> st.SearchStrategy[Case]:
    """Draw changes between two prices of the preset `projects`."""
    pairs = st.permutations(PRICES).map(lambda keys: keys[:2])
    return st.builds(
        lambda pair, **rest: Case(start=pair[0], to=pair[1], **rest),
        pairs,
        is_trial=st.booleans(),
        part=st.floats(0.001, 0.97),
        quantity=st.integers(1, 3),
        coupon=st.sampled_from(sorted(COUPONS)),
        balance_cents=st.sampled_from([0, 0, -350, -100_000]),
        used=st.sampled_from([0, 1, 99_999, 100_001, 123_457, 1_500_000]),
        thinks=st.integers(1, 29 * 60),
    )


@proof(
    "R21",
    "previews that are not their invoices",
    passes="0 of 200 changes differ by a cent",
    quick={"changes": 8},
    whole={"changes": {"sqlite": 200, "postgresql": 50}},
    is_long=True,
)
def measure(engine: str, *, seed: int, changes: int) -> Outcome:
    """Quote, confirm and renew so many changes; return those whose amounts differ."""
    problems: list[str] = []
    counts = {"now": 0, "later": 0}
    with open_shop(engine, seed, settings={"CATALOG": "projects"}) as shop:
        shop.sandbox.strict = False
        for number, case in enumerate(drawn(changes, seed)):
            if number % 25 == 0:
                shop.reopen(seed)  # who is left behind would be renewed again and again
            found, when = _try(shop, number, case)
            counts[when] += 1
            problems += [f"{case}: {problem}" for problem in found]
    note = f"changes, {counts['now']} at once and {counts['later']} at the period's end"
    return Outcome(changes, problems, note)


def drawn(count: int, number: int) -> list[Case]:
    """Return as many cases as are asked for, the same for a seed."""
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def keep(case: Case) -> None:
        found.append(case)

    while len(found) < count:
        keep()
        number += 1
    return found[:count]


def _try(shop: Shop, number: int, case: Case) -> tuple[list[str], str]:
    account_id, stripe_id = _subscribe(shop, number, case)
    shop.advance(case.part * (TRIAL_DAYS * DAY if case.is_trial else _length(stripe_id)))
    sync.run_now("subscription", stripe_id)
    _use(account_id, case)
    shop.advance(5)
    mine = _mine(account_id)
    choice = plan_changes.choose(db.session(), mine, case.to)
    quote = plan_changes.quote(db.session(), mine, choice)
    when = "now" if choice.when is When.NOW else "later"
    shop.advance(case.thinks)
    again = plan_changes.quote(db.session(), _mine(account_id), choice, at=quote.proration_date)
    problems = _differences("quoted again", _amounts(quote), _amounts(again))
    outcome = plan_changes.confirm(again, key=f"change:{number}:{account_id}")
    sync.run_now("subscription", stripe_id)
    problems += _charged_otherwise(shop, case, quote, outcome)
    problems += _renewed_otherwise(shop, case, stripe_id, quote)
    return problems, when


def _subscribe(shop: Shop, number: int, case: Case) -> tuple[int, str]:
    """Sign somebody up and subscribe them, as a checkout would leave it."""
    shop.crowd.join(1)
    account_id = shop.crowd.accounts[-1]
    customer_id = customers.ensure(account_id)
    client = shop.client.v1
    card = client.payment_methods.attach("pm_card_visa", {"customer": customer_id})
    if case.balance_cents:
        balance: Any = {"amount": case.balance_cents, "currency": "usd"}
        client.customers.balance_transactions.create(customer_id, balance)
    by_use = [{"price": prices.metered_price_id(p.key)} for p in metered_items.overages_of(case.start)]
    plan = {"price": prices.stripe_price_id(case.start), "quantity": case.quantity}
    params: Any = {
        "customer": customer_id,
        "items": [plan, *by_use],
        "default_payment_method": card.id,
        "metadata": {"number": str(number)},
    }
    if case.is_trial:
        params["trial_period_days"] = TRIAL_DAYS
    coupon: Any = COUPONS[case.coupon]
    if coupon:
        params["discounts"] = [{"coupon": client.coupons.create(coupon).id}]
    stripe_id = client.subscriptions.create(params).id
    sync.run_now("subscription", stripe_id)
    return account_id, stripe_id


def _use(account_id: int, case: Case) -> None:
    try:
        if case.used:
            database.write(usage.record, account_id, OVERAGES[0].meter, case.used, key="once")
    except errors.LimitReached:  # a plan or a trial without use beyond it
        return


def _charged_otherwise(shop: Shop, case: Case, quote: Quote, outcome: Changed) -> list[str]:
    """Return how the invoice of a change that was made at once differs from its quote."""
    if quote.choice.when is When.AT_PERIOD_END:
        return _differences("planned", (Result.PLANNED, 0, 0), (outcome.result, quote.due_cents, quote.credits))
    if case.is_trial:
        return _differences("in a trial", (Result.DONE, 0), (outcome.result, quote.due_cents))
    invoice = shop.client.v1.invoices.retrieve(str(outcome.stripe_invoice_id))
    quoted = (
        Result.DONE,
        "paid",
        quote.due_cents,
        quote.due_cents,
        [cents for _, cents in quote.lines],
        quote.carried_cents - quote.to_balance_cents,
    )
    charged = (
        outcome.result,
        invoice.status,
        invoice.amount_due,
        invoice.amount_paid,
        [line.amount for line in invoice.lines.data],
        invoice.ending_balance,
    )
    return _differences("charged", quoted, charged)


def _renewed_otherwise(shop: Shop, case: Case, stripe_id: str, quote: Quote) -> list[str]:
    """Return how the renewal after a change differs from what was shown of it; nothing of what is used counts.

    A coupon over a share takes its share of use too; one over an amount takes the same off, with use or without.
    """
    if quote.next_at is None:
        return ["no next invoice was shown"]
    span = quote.next_at - clock.now()
    if span > timedelta(days=40):
        return []  # a year ahead: tests/billing/test_previews_equal_invoices.py goes there
    shop.advance(span.total_seconds() + HOUR)
    found = shop.client.v1.invoices.list(
        {"subscription": stripe_id, "created": {"gte": int(quote.next_at.timestamp())}, "limit": 100}
    )
    invoices = list(found.auto_paging_iter())
    if not invoices:
        return [f"not billed on {quote.next_at}"]
    is_share = "percent_off" in (COUPONS[case.coupon] or {"percent_off": 0})
    lines = [line for line in invoices[-1].lines.data if _is_by_use(line)]
    by_use = [_after_discounts(line) if is_share else line.amount for line in lines]
    return _differences("renewed", quote.next_cents, invoices[-1].total - sum(by_use))


def _is_by_use(line: Any) -> bool:
    details = line.pricing.price_details if line.pricing else None
    return bool(details and metered_items.is_by_use(gateway.retrieve_price(str(details.price))))


def _after_discounts(line: Any) -> int:
    return int(line.amount - sum(part.amount for part in line.discount_amounts or []))


def _amounts(quote: Quote) -> tuple[object, ...]:
    return quote.due_cents, quote.lines, quote.next_cents, quote.carried_cents, quote.to_balance_cents


def _differences(what: str, shown: object, made: object) -> list[str]:
    return [] if shown == made else [f"{what}: shown {shown}, made {made}"]


def _length(stripe_id: str) -> float:
    row = db.session.get(Subscription, stripe_id)
    if row is None or row.period_ends_at is None or row.period_starts_at is None:
        raise LookupError(stripe_id)
    # A yearly plan changes somewhere in its first months: what it uses ends by the month.
    return min((row.period_ends_at - row.period_starts_at).total_seconds(), 100 * DAY)


def _mine(account_id: int) -> Subscription:
    found = access.subscription_of(db.session(), account_id)
    if found is None:
        raise LookupError(f"account {account_id} has no subscription")
    return found


if __name__ == "__main__":
    sys.exit(registry.main(measure))
