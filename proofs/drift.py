"""R7, drift and a restored backup: what no webhook and no event tells of is found by the comparison, and mended.

    python -m proofs.drift --people 10 --database sqlite

A shop does business until all is in line. Then, one after the other, eighteen kinds of drift are put into the database
behind the app's back; last, it is restored from a copy that was made ten minutes of business earlier. After each, the
comparison of billing/compare.py goes to work, and after the restored copy the poller before it. Oracle: before anything
was damaged the comparison finds nothing (no false alarm); after each damage it finds something, and once the worker has
done its part everything is what Stripe's objects say (proofs/stripe_oracle.py) and a second comparison finds nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

import clock
import database
from accounts.models import Account
from billing import access, compare, poller, sync
from billing.differences import Difference
from billing.models import CheckoutIntent, Payment, StripeObject, Subscription, SyncTask
from billing.reversals import Dispute, Refund
from extensions import db
from ledger import clawback
from proofs.customers import DISPUTED_CARD
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop
from proofs.throwaway import Laboratory
from tests.databases import SqliteFile

Drift = Callable[[Session], object]
DRIFTS: dict[str, Drift] = {}


def drift(words: str) -> Callable[[Drift], Drift]:
    """Name a kind of drift by what is wrong afterwards."""

    def keep(damage: Drift) -> Drift:
        DRIFTS[words] = damage
        return damage

    return keep


LIVE = Subscription.stripe_status.in_(access.LIVE)


@drift("subscriptions are missing")
def _(session: Session) -> None:
    session.execute(delete(Subscription))


@drift("live subscriptions count as ended")
def _(session: Session) -> None:
    session.execute(update(Subscription).where(LIVE).values(stripe_status="canceled", is_primary=False))


@drift("ended or ending subscriptions count as live")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(stripe_status="past_due", ended_at=None))


@drift("subscriptions are of another plan")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(plan_key="team", price_key="team_monthly", amount_cents=1))


@drift("subscriptions have another quantity")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(quantity=Subscription.quantity + 3))


@drift("periods end at another time")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(period_ends_at=clock.now() + timedelta(days=400)))


@drift("cancellations are planned that nobody asked for, or forgotten")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(cancels_at=clock.now() + timedelta(days=3)))


@drift("accounts live by none of their subscriptions")
def _(session: Session) -> None:
    session.execute(update(Subscription).values(is_primary=False))


@drift("paid invoices were never seen")
def _(session: Session) -> None:
    session.execute(delete(StripeObject).where(StripeObject.kind == "invoice"))
    session.execute(delete(SyncTask).where(SyncTask.kind == "invoice"))


@drift("payments are missing")
def _(session: Session) -> None:
    session.execute(delete(Payment))


@drift("refunds are forgotten")
def _(session: Session) -> None:
    session.execute(update(Payment).values(refunded_cents=0))
    session.execute(delete(Refund))


@drift("refunds are invented")
def _(session: Session) -> None:
    session.execute(update(Payment).where(Payment.refunded_cents == 0).values(refunded_cents=Payment.amount_cents))


@drift("disputes are forgotten")
def _(session: Session) -> None:
    session.execute(update(Payment).values(dispute_status=None))
    session.execute(delete(Dispute))


@drift("disputes have ended otherwise")
def _(session: Session) -> None:
    session.execute(update(Dispute).values(stripe_status="warning_closed"))


@drift("credits were given back that are refunded")
def _(session: Session) -> None:
    query = select(Payment).where(Payment.refunded_cents > 0, Payment.grant_source.is_not(None))
    for payment in session.scalars(query).all():
        clawback.claw_to(session, payment.account_id, str(payment.grant_source), 0)


@drift("paid checkouts are open")
def _(session: Session) -> None:
    paid = CheckoutIntent.status == "complete"
    session.execute(update(CheckoutIntent).where(paid, CheckoutIntent.mode == "payment").values(status="open"))


@drift("accounts have forgotten their customers")
def _(session: Session) -> None:
    session.execute(update(Account).values(stripe_customer_id=None))


@drift("the memory of all objects and of the queue is gone")
def _(session: Session) -> None:
    for table in (StripeObject, SyncTask):
        session.execute(delete(table))


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    drifts: int = 0
    found: int = 0
    compared: int = 0
    problems: list[str] = field(default_factory=list)


@proof(
    "R7",
    "drift that is not found, or not mended",
    passes="0 false alarms, every drift found and mended, a restored backup caught up with",
    quick={"people": 4, "doings": 25},
    whole={"people": 10, "doings": 80},
)
def measure(engine: str, *, seed: int, people: int, doings: int) -> Outcome:
    """Damage the books in every way, restore an old copy, and compare."""
    tally = Tally()
    with open_shop(engine, seed) as shop:
        shop.crowd.join(people)
        poller.poll()
        _do_business(shop, doings)
        _settle(shop)
        tally.problems += [f"before any damage: {problem}" for problem in shop.judge().problems]
        tally.problems += [f"false alarm: {d.object_id} {d.words}" for d in _compare()]
        for words, damage in DRIFTS.items():
            database.write(damage)
            _mend(shop, tally, words)
        _restore_a_backup(shop, tally, doings // 5 + 10)
        _mend(shop, tally, "a restored backup")
    note = f"kinds of drift; {tally.found} differences found and mended, {tally.compared} facts compared"
    return Outcome(tally.drifts, tally.problems, note)


def _mend(shop: Shop, tally: Tally, words: str) -> None:
    """Have the comparison find what differs and the worker mend it; what is left, or not found, is wrong."""
    found = _compare()
    tally.drifts += 1
    tally.found += len(found)
    if not found:
        tally.problems.append(f"{words}: not found")
    sync.drain()
    verdict = shop.judge()
    tally.compared += verdict.compared
    tally.problems += [f"{words}: {problem}" for problem in verdict.problems]
    tally.problems += [f"{words}: still {d.object_id} {d.words}" for d in _compare()]


def _compare() -> list[Difference]:
    found: list[Difference] = []
    compare.run_whole(found.append)
    return found


def _do_business(shop: Shop, doings: int) -> None:
    shop.crowd.buy(shop.crowd.accounts[0], "credits_5", DISPUTED_CARD)
    for _ in range(doings):
        shop.crowd.act()
        shop.advance(5)


def _settle(shop: Shop) -> None:
    for _ in range(3):
        shop.postman.collect()
        shop.postman.deliver_some(len(shop.postman.bag))
        sync.drain()


def _restore_a_backup(shop: Shop, tally: Tally, doings: int) -> None:
    """Do ten minutes of business after a copy was made, go back to it, and have the poller bring what it can.

    People who bought for the first time meanwhile have customers at Stripe that nobody here knows of: theirs is left
    to the comparison.
    """
    poller.poll()
    began = shop.sandbox.clock.now()
    shop.crowd.join(1)
    with _backup(shop.place):
        shop.crowd.subscribe(shop.crowd.accounts[-1])
        _do_business(shop, doings)
        shop.advance(max(0.0, began + 600 - shop.sandbox.clock.now()))
        _settle(shop)
    poller.poll()
    sync.drain()


@contextmanager
def _backup(place: Laboratory) -> Iterator[None]:
    """Copy the database now, and put the copy in its place at the end."""
    db.session.remove()
    db.engine.dispose()
    if isinstance(place.place, SqliteFile):
        kept = place.place.path.with_suffix(".backup")
        shutil.copyfile(place.place.path, kept)
        yield
        db.session.remove()
        db.engine.dispose()
        for suffix in ("-wal", "-shm"):
            Path(f"{place.place.path}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(kept, place.place.path)
        return
    name, on_server = place.place.name, place.place._on_server
    on_server(f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
    yield
    db.session.remove()
    db.engine.dispose()
    on_server(f'DROP DATABASE "{name}" WITH (FORCE)')
    on_server(f'ALTER DATABASE "{name}_backup" RENAME TO "{name}"')


if __name__ == "__main__":
    sys.exit(main(measure))
