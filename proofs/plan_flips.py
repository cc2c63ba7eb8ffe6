"""R14, farming by flips: no way of upgrading, downgrading, cancelling and trying again brings credits not paid for.

    python -m proofs.plan_flips --lives 10000 --database sqlite

Two accounts that share a card, or an address but for its tag, live through random trials, upgrades, downgrades,
changes between months and years, cancellations, renewals, refunds and disputes, under the app's own functions. Its
invoices come from proofs/paper_stripe.py, heard of late, twice and in any order; some lives are told to the local
Stripe as well, whose invoices must be the same. After each life:

- I10: what the invoices of a period brought is at most what its best plan brings, and all credits of a subscription
  at most those of the best plan for the time that was paid, however often the period was begun anew;
- I11: one trial was granted for each account, address and card;
- another order of hearing ends with the same credits, taken back alike.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import clock
import database
from accounts import people
from accounts.models import Account
from billing import allowances, catalog, charges, fulfilment, plan_periods, stripe_catalog, subscriptions
from billing.models import PlanGrant, StripeObject
from extensions import db
from ledger import invariants
from ledger.models import Bucket
from proofs import paper_stripe
from proofs.paper_stripe import PaperSubscription
from proofs.registry import Outcome, main, proof
from proofs.shop import open_shop
from proofs.throwaway import laboratory

Json = dict[str, Any]

PRESET = "projects"
START = datetime(2026, 3, 10, 12, tzinfo=UTC)
PRICES = ("starter_monthly", "starter_yearly", "pro_monthly", "pro_yearly")
STEPS = (2, 9)
DAYS = (0, 0, 1, 4, 11, 20, 31, 45, 140)
CARD = "4242424242424242"
# One credit may be won by rounding each time that a period is cut short.
SHORTEST_MONTH = timedelta(days=28)


@dataclass(frozen=True)
class Step:
    """What somebody does, after so many days and seconds."""

    who: int
    days: float
    act: str
    price_key: str = ""


@dataclass
class Life:
    """Two accounts, the subscriptions they have at Stripe, and what became of the charges."""

    number: int
    chance: random.Random
    now: datetime = START
    subscriptions: list[list[PaperSubscription]] = field(default_factory=lambda: [[], []])
    charges: dict[str, dict[str, Any]] = field(default_factory=dict)

    def go(self, step: Step) -> None:
        """Let one thing happen at Stripe; what cannot happen now is left out."""
        self.now += timedelta(days=step.days, seconds=self.chance.choice([0, 1800, 40_000]) if step.days else 0)
        for subscription in (s for own in self.subscriptions for s in own):
            subscription.pass_time(self.now)
        own = self.subscriptions[step.who]
        live = own[-1] if own and not own[-1].is_over else None
        if live is None:
            if step.act == "begin":
                number = self.number * 100 + 10 * step.who + len(own)
                trial_days = 0 if own else 14
                own.append(PaperSubscription(number, step.price_key, trial_days, f"card{self.number}", self.now))
        elif step.act == "change":
            live.change_to(step.price_key)
        elif step.act == "toggle":
            live.is_ending = not live.is_ending
        elif step.act == "cancel":
            live.cancel_now()
        elif step.act in ("refund", "dispute"):
            self._take_back(live, step.act)

    def _take_back(self, live: PaperSubscription, act: str) -> None:
        paid = [(i, paper_stripe.charge_of(i)) for i in live.paid]
        found = [(invoice, charge) for invoice, charge in paid if charge is not None]
        if found:
            invoice, charge = self.chance.choice(found)
            cents = charge["amount_captured"]
            refund = {"refunded_cents": self.chance.choice([cents, cents // 2, 100 % cents])}
            self.charges[invoice["id"]] = refund if act == "refund" else {"dispute": "needs_response"}


def steps(chance: random.Random) -> Iterator[Step]:
    """Make up what two people do."""
    acts = ["begin", "change", "change", "change", "change", "toggle", "cancel", "refund", "dispute", "wait"]
    yield Step(0, 0, "begin", chance.choice(PRICES))
    for _ in range(chance.randint(*STEPS)):
        yield Step(int(chance.random() < 0.3), chance.choice(DAYS), chance.choice(acts), chance.choice(PRICES))


def hear(session: Session, life: Life, accounts: list[int], chance: random.Random) -> None:
    """Bring an app in line with a life: in any order, some of it twice, with sweeps in between."""
    works: list[Callable[[], object]] = []
    of_charges: list[Callable[[], object]] = []
    for who, own in enumerate(life.subscriptions):
        for paper in own:
            works.append(_work_of_subscription(session, accounts[who], paper))
            for invoice in paper.paid:
                works.append(_work_of_invoice(session, accounts[who], paper, invoice))
                charge = paper_stripe.charge_of(invoice, **life.charges.get(invoice["id"], {}))
                if charge is not None:
                    of_charges.append(lambda who=who, charge=charge: charges.apply(session, accounts[who], charge))  # type: ignore[misc]
    works += of_charges
    chance.shuffle(works)
    again = chance.sample(works, len(works) // 3)
    # A charge that came before its invoice is looked at again when that has been recorded.
    for work in (*works, *again, *of_charges):
        work()
        session.flush()


def _work_of_subscription(session: Session, account_id: int, paper: PaperSubscription) -> Callable[[], object]:
    def work() -> None:
        _keep(session, "subscription", paper.stripe_id, paper.fetched())
        subscriptions.apply(session, account_id, paper.fetched())
        session.flush()
        allowances.grant_due(session, account_id)

    return work


def _work_of_invoice(
    session: Session, account_id: int, paper: PaperSubscription, invoice: Json
) -> Callable[[], object]:
    """Return what billing/sync.py does with an invoice: those paid before it and not known come along."""

    def work() -> None:
        place = plan_periods.order_of_payment(invoice)
        before = [i for i in paper.paid if plan_periods.order_of_payment(i) < place]
        unknown = [i for i in before if not fulfilment.is_fulfilled(session, i["id"])]
        earlier = [{**i, "trial": paper.fetched()} for i in unknown]
        _keep(session, "invoice", invoice["id"], invoice)
        fulfilment.fulfil_invoice(session, account_id, {**invoice, "trial": paper.fetched(), "earlier": earlier})
        allowances.grant_due(session, account_id)

    return work


def _keep(session: Session, kind: str, stripe_id: str, body: Json) -> None:
    if session.get(StripeObject, (kind, stripe_id)) is None:
        session.add(StripeObject(kind=kind, stripe_id=stripe_id, fetched_at=clock.now(), body=json.dumps(body)))
        session.flush()


def problems_of(session: Session, life: Life, accounts: list[int]) -> Iterator[str]:
    """Yield what a life brought that nobody paid for."""
    trials = [
        b.granted for b in session.scalars(select(Bucket).where(Bucket.kind == "trial")) if b.account_id in accounts
    ]
    if len(trials) > 1:
        yield f"I11: {len(trials)} trials of one card or address were granted"
    for who, own in enumerate(life.subscriptions):
        for paper in own:
            query = select(PlanGrant).where(PlanGrant.stripe_subscription_id == paper.stripe_id)
            grants = list(session.scalars(query.where(PlanGrant.account_id == accounts[who])))
            yield from _too_much(paper, grants)


def _too_much(paper: PaperSubscription, grants: list[PlanGrant]) -> Iterator[str]:
    plans = [period.plan for period in map(plan_periods.of, paper.paid) if period is not None]
    best = max((plan.credits for plan in plans), default=0)
    ends: dict[datetime, int] = defaultdict(int)
    for grant in grants:
        ends[grant.ends_at] += grant.credits
    for end, credits in ends.items():
        if credits > best:
            yield f"I10: {credits} credits were granted for the period to {end}, where the best plan brings {best}"
    paid = [g for g in grants if g.credits and not (paper.trial_until and g.starts_at < paper.trial_until)]
    if not paid:
        return
    time = max(g.ends_at for g in paid) - min(g.starts_at for g in paid)
    most = best * -(-time // SHORTEST_MONTH) + len(paper.paid)
    if sum(g.credits for g in paid) > most:
        yield f"I10: {sum(g.credits for g in paid)} credits for {time.days} days, where the best plan brings {most}"


def ends_of(session: Session, accounts: list[int]) -> list[tuple[object, ...]]:
    """Return everything that was granted and taken back, whichever account of a life it is."""
    rows = session.scalars(
        select(Bucket).where(Bucket.account_id.in_(accounts), ~Bucket.source.startswith("plan:free"))
    )
    return sorted((accounts.index(b.account_id), b.source, b.granted, b.clawed) for b in rows)


def live_through(session: Session, number: int, seed: int) -> list[str]:
    """Tell one life, every fifth in two orders of hearing of it; return what went wrong."""
    chance = random.Random(f"{seed} {number}")  # noqa: S311 - a life, not a secret
    life = Life(number, chance)
    told = list(steps(chance))
    for step in told:
        life.go(step)
    _Time.now = life.now
    ends = []
    found: list[str] = []
    for order in (1, 2) if number % 5 == 0 else (1,):
        accounts = _two_accounts(session, number)
        hear(session, life, accounts, random.Random(order))  # noqa: S311
        ends.append(ends_of(session, accounts))
        found += problems_of(session, life, accounts)
        session.rollback()
    # Which of two people with one card has the trial is whoever was heard of first.
    if ends[0] != ends[-1] and len(life.subscriptions[1]) == 0:
        found.append(f"two orders of hearing end differently: {ends}")
    return [f"life {number}: {problem}, after {told}" for problem in found]


def compare(lives: int, seed: int) -> tuple[int, list[str]]:
    """Tell some lives to the local Stripe as well; return how many invoices were compared, and those that differ."""
    compared, problems = 0, []
    with open_shop("sqlite") as shop:
        shop.place.app.extensions["catalog"] = catalog.load(PRESET)
        stripe_catalog.push()
        listed = shop.client.v1.prices.list({"limit": 100, "active": True}).data
        own = [p.to_dict() for p in listed if p.lookup_key and p.lookup_key.startswith(PRESET)]
        prices = {price["metadata"]["price_key"]: price["id"] for price in own}
        keys = {price_id: key for key, price_id in prices.items()}
        for number in range(lives):
            chance = random.Random(f"{seed} compared {number}")  # noqa: S311
            shop.crowd.join(1)
            price_key = chance.choice(PRICES)
            shop.crowd.buy(shop.crowd.accounts[-1], price_key, CARD)
            subscription = shop.client.v1.subscriptions.list({"limit": 1}).data[0].to_dict()
            started = datetime.fromtimestamp(subscription["start_date"], UTC)
            paper = PaperSubscription(number, price_key, 14, "card", started)
            told = [price_key]
            for _ in range(chance.randint(1, 5)):
                seconds = 86_400 * chance.choice(DAYS[2:]) + 7_200
                shop.advance(seconds)
                paper.pass_time(paper.now + timedelta(seconds=seconds))
                told.append(f"{seconds} s, {_change(shop.client, subscription['id'], prices, paper, chance)}")
            query: Any = {"subscription": subscription["id"], "limit": 100, "status": "paid"}
            made = [_with_prices(i.to_dict(), keys) for i in shop.client.v1.invoices.list(query).data][::-1]
            there = [paper_stripe.shape_of(i, subscription["start_date"]) for i in made if i["lines"]["data"]]
            here = [paper_stripe.shape_of(i, int(started.timestamp())) for i in paper.paid]
            compared += len(there)
            if there != here:
                problems.append(f"paper and the local Stripe differ after {told}: {here} is {there} there")
            if not paper.is_over:
                shop.client.v1.subscriptions.cancel(subscription["id"])
    return compared, problems


def _change(
    client: Any, subscription_id: str, prices: dict[str, str], paper: PaperSubscription, chance: random.Random
) -> str:
    if chance.random() < 0.2:
        return "nothing"
    price_key = chance.choice(PRICES)
    item = client.v1.subscriptions.retrieve(subscription_id).to_dict()["items"]["data"]
    (licensed,) = [i for i in item if i["price"]["recurring"]["usage_type"] != "metered"]
    change = {"items": [{"id": licensed["id"], "price": prices[price_key], "quantity": 1}]}
    client.v1.subscriptions.update(subscription_id, {**change, "proration_behavior": "always_invoice"})
    paper.change_to(price_key)
    return price_key


def _with_prices(invoice: Json, keys: dict[str, str]) -> Json:
    """Return an invoice with the keys of its prices and without what is billed by use."""
    lines = []
    for line in invoice["lines"]["data"]:
        price_key = keys.get(line["pricing"]["price_details"]["price"])
        if price_key in PRICES:
            line["pricing"]["price_details"]["price"] = {"metadata": {"price_key": price_key}}
            lines.append(line)
    invoice["lines"]["data"] = lines
    return invoice


class _Time:
    now = START


@contextmanager
def _its_own_time() -> Iterator[None]:
    original, clock.now = clock.now, lambda: _Time.now
    try:
        yield
    finally:
        clock.now = original


def _two_accounts(session: Session, number: int) -> list[int]:
    """Make two accounts that share an address but for its tag, at the beginning of time."""
    now, _Time.now = _Time.now, START
    found = []
    for who in range(2):
        user = people.create_user(
            session, email=f"person{number}+{who}@example.com", password_hash=None, confirmed_at=START
        )
        account: Account = people.personal_account(session, user.id)
        found.append(account.id)
    _Time.now = now
    return found


@proof(
    "R14",
    "credits farmed by flips of plans",
    passes="I10 and I11 hold; any order ends alike",
    quick={"lives": {"sqlite": 100, "postgresql": 50}, "compared": 5},
    whole={"lives": {"sqlite": 9_000, "postgresql": 1_000}, "compared": 60},
    is_long=True,
)
def measure(engine: str, *, seed: int, lives: int, compared: int) -> Outcome:
    """Tell so many lives, and some of them to the local Stripe."""
    problems: list[str] = []
    with laboratory(engine) as place, _its_own_time():
        place.app.extensions["catalog"] = catalog.load(PRESET)
        engine_of_writes = db.engine.execution_options(sqlite_begin="IMMEDIATE")
        for number in range(1, lives + 1):
            with Session(engine_of_writes) as session:
                problems += live_through(session, number, seed)
                if number % 100 == 0:
                    problems += invariants.violations(session)
        database.end_reads()
    invoices, differences = compare(compared, seed)
    note = f"lives, every fifth in two orders; {invoices} invoices of {compared} more compared with the local Stripe"
    return Outcome(lives, problems + differences, note)


if __name__ == "__main__":
    sys.exit(main(measure))
