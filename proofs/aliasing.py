"""R4, aliasing: one payment is heard of in every way at once and counts once.

    python -m proofs.aliasing --payments 1000 --database sqlite

Of each payment the session's and the payment's events, a second Event object for each of them, a repeated delivery, ten
visits to the page that the customer returns to, and two workers: all at the same time, in real threads. Oracle: exactly
the packs and invoices that Stripe has as paid (proofs/stripe_oracle.py): one grant and one payment row each.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from billing import checkout, outcomes, sync
from proofs.customers import CARD, PACKS
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop

VISITS = 10
WORKERS = 2
PER_ROUND = 5


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    payments: int = 0
    notices: int = 0
    problems: list[str] = field(default_factory=list)


def prove(engine: str, *, payments: int, seed: int) -> Tally:
    """Make so many payments, in rounds of a few, and hear of each in every way at once."""
    tally = Tally()
    with open_shop(engine, seed) as shop, ThreadPoolExecutor(8) as pool:
        chance = random.Random(seed)  # noqa: S311 - what is bought, not a secret
        while tally.payments < payments:
            shop.crowd.join(PER_ROUND)
            sessions = [_buy(shop, account_id, chance) for account_id in shop.crowd.accounts[-PER_ROUND:]]
            tally.payments += len(sessions)
            errands = _notices(shop, sessions)
            chance.shuffle(errands)
            tally.notices += len(errands)
            for done in [pool.submit(_in_context, shop, errand) for errand in errands]:
                done.result(120)
        while sync.run_due():
            pass
        tally.problems = shop.judge().problems
    return tally


def _buy(shop: Shop, account_id: int, chance: random.Random) -> str:
    price_key = chance.choice([*PACKS, "basic_monthly", "pro_monthly"])
    url = checkout.start(account_id, price_key, base_url="http://127.0.0.1:5000")
    shop.crowd.pay(url, CARD)
    return url.rstrip("/").rsplit("/", 1)[-1]


def _notices(shop: Shop, sessions: list[str]) -> list[Callable[[], object]]:
    shop.postman.collect()
    bodies = list(shop.postman.bag)
    shop.postman.bag.clear()
    twins = [body.replace(b'"id": "evt_', b'"id": "evt_twin_', 1) for body in bodies]
    deliveries = [(lambda body=body: shop.postman.deliver(body)) for body in [*bodies, *bodies, *twins]]
    visits = [(lambda i=session_id: outcomes.bring_in_line(i)) for session_id in sessions for _ in range(VISITS)]
    return [*deliveries, *visits, *([lambda: sync.drain(20)] * WORKERS)]


def _in_context(shop: Shop, errand: Callable[[], object]) -> None:
    with shop.place.app.app_context():
        errand()


@proof(
    "R4",
    "payments heard of in many ways",
    passes="exactly one grant and one payment row each",
    quick={"payments": 10},
    whole={"payments": {"sqlite": 700, "postgresql": 300}},
    is_long=True,
)
def measure(engine: str, *, seed: int, payments: int) -> Outcome:
    """Pay, and hear of it in every way."""
    tally = prove(engine, payments=payments, seed=seed)
    return Outcome(tally.payments, tally.problems, f"payments, {tally.notices} notices")


if __name__ == "__main__":
    sys.exit(main(measure))
