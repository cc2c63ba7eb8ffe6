"""R15, races to the checkout: many tabs at once make one customer, one open session, at most one live subscription.

    python -m proofs.checkout_race --people 20 --database sqlite

Each person's tabs post the real form at the same moment, half of the people in all tabs for one plan, half for two
plans; then every address that any tab was given is paid. Each fourth person has an older tab besides, whose session
was forgotten here (as after a restored backup) and is paid too: that second subscription must be ended and paid back
within ten simulated minutes. Oracle: Stripe's own lists, and proofs/stripe_oracle.py for status, payments and credits.
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import update

import database
from billing import checkout, errors, sync
from billing.models import CheckoutIntent
from extensions import limiter
from proofs.customers import CARD, Declined
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop
from tests.persons import Person, csrf_token, sign_up

BASE_URL = "http://127.0.0.1:5000"
MINUTES = 10
# Another tab was faster, or Stripe is still at the same request of another one: both ask to try again.
BUSY = {409, 503}


def race(shop: Shop, pool: ThreadPoolExecutor, person: Person, keys: list[str]) -> tuple[list[str], list[str]]:
    """Post the forms of all tabs at once; return the addresses that they were sent to, and what was wrong."""
    # In a thread of its own: here the app's context is open, and its requests would share one token.
    token = pool.submit(csrf_token, person.client).result()
    cookie = person.client.get_cookie("session")
    assert cookie is not None

    def post(price_key: str) -> tuple[int, str]:
        tab = shop.place.app.test_client()
        tab.set_cookie("session", cookie.value)
        headers = {"Sec-Fetch-Site": "same-origin"}
        answer = tab.post(f"/pricing/checkout/{price_key}", data={"csrf_token": token}, headers=headers)
        return answer.status_code, str(answer.location or "")

    answers = list(pool.map(post, keys))
    wrong = [f"{person.email}: a tab was answered {status}" for status, _ in answers if status not in {303, *BUSY}]
    return sorted({url for status, url in answers if status == 303 and "/c/pay/" in url}), wrong


def _facts(shop: Shop, person: Person) -> tuple[list[str], list[str], list[str]]:
    """Return the person's customers, open sessions and live subscriptions at Stripe."""
    wanted = {"email": person.email, "limit": 100}
    customers = [customer.id for customer in shop.client.v1.customers.list(wanted).data]  # type: ignore[arg-type]
    sessions, live = [], []
    for customer_id in customers:
        opened = shop.client.v1.checkout.sessions.list({"customer": customer_id, "status": "open", "limit": 100}).data
        sessions += [session.id for session in opened]
        live += [s.id for s in shop.client.v1.subscriptions.list({"customer": customer_id, "limit": 100}).data]
    return customers, sessions, live


def _one_person(shop: Shop, pool: ThreadPoolExecutor, person: Person, tabs: int, number: int) -> list[str]:
    is_mixed, has_old_tab = number % 2 == 1, number % 4 == 0
    old_tab = _old_tab(person) if has_old_tab else None
    keys = [("basic_monthly", "pro_monthly")[n % 2 if is_mixed else 1] for n in range(tabs)]
    urls, problems = race(shop, pool, person, keys)
    if is_mixed:  # both plans may have driven each other out: the next click settles it
        with suppress(errors.CheckoutBusy):
            urls = [*urls, checkout.start(person.account_id, "pro_monthly", base_url=BASE_URL)]
    customers, sessions, _ = _facts(shop, person)
    expected = 2 if has_old_tab else 1
    if len(customers) != 1:
        problems.append(f"{person.email} has {len(customers)} customers")
    if len(sessions) != expected:
        problems.append(f"{person.email} has {len(sessions)} open sessions, not {expected}")
    for url in dict.fromkeys([*filter(None, [old_tab]), *urls]):
        with suppress(Declined):
            shop.crowd.pay(url, CARD)
        shop.advance(1)
    return problems


def _old_tab(person: Person) -> str:
    """Open a checkout and lose what is known of it here, while Stripe keeps it open."""
    url = checkout.start(person.account_id, "basic_monthly", base_url=BASE_URL)
    database.write(_forget, person.account_id)
    return url


def _forget(session: database.Session, account_id: int) -> None:
    owned = update(CheckoutIntent).where(CheckoutIntent.account_id == account_id)
    session.execute(owned.values(status="failed"))


def _come_to_rest(shop: Shop) -> None:
    for _ in range(MINUTES):
        shop.postman.collect()
        shop.postman.deliver_some(len(shop.postman.bag))
        while sync.run_due():
            pass
        shop.advance(60)


@proof(
    "R15",
    "races to the checkout",
    passes="1 customer, 1 open session, at most 1 live subscription each; a second one ended and paid back in 10 min",
    quick={"people": 4, "tabs": 8},
    whole={"people": {"sqlite": 200, "postgresql": 60}, "tabs": 20},
)
def measure(engine: str, *, seed: int, people: int, tabs: int) -> Outcome:
    """Let everybody race, pay whatever can be paid, and count what exists at Stripe."""
    problems: list[str] = []
    with open_shop(engine, seed) as shop, ThreadPoolExecutor(8) as pool:
        random.seed(seed)
        shop.place.app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1"]
        limiter.enabled = False  # twenty tabs of one person are just what it keeps out
        try:
            crowd = [sign_up(shop.place.app, f"racer{number}@example.com") for number in range(people)]
            for number, person in enumerate(crowd):
                problems += _one_person(shop, pool, person, tabs, number)
            _come_to_rest(shop)
            paid_twice = 0
            for number, person in enumerate(crowd):
                customers, sessions, live = _facts(shop, person)
                paid_twice += number % 4 == 0
                if len(customers) != 1 or sessions or len(live) != 1:
                    problems.append(
                        f"{person.email} ends with {len(customers)} customers, {len(sessions)} open sessions and "
                        f"{len(live)} live subscriptions"
                    )
            kept = sum(1 for refund in shop.client.v1.refunds.list({"limit": 100}).auto_paging_iter() if refund)
            if kept != paid_twice:
                problems.append(f"{paid_twice} paid twice and {kept} payments went back")
            problems += shop.judge().problems
        finally:
            limiter.enabled = True
    return Outcome(people * tabs, problems, f"posts of {people} people, {paid_twice} of whom paid twice")


if __name__ == "__main__":
    sys.exit(main(measure))
