"""R11, sending twice: one key, one effect, on every route that changes money.

    python -m proofs.idempotency --senders 8 --spends 1000 --database sqlite

1. One key is spent so many times at once: one debit, one result; with another amount or reason it is refused.
2. Every POST route of the app's map is either in MOVES_MONEY with a form to send, or in MOVES_NONE with the reason: a
   new route in neither is a failure. Of each form, one person sends it once, and another, prepared alike, sends it from
   many tabs at once and then again. Oracle: both end with the same ledger and the same objects at Stripe, and not with
   those they had before.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import select

import database
from accounts.models import Account
from billing import credit_codes
from billing.purchase_tables import CreditCodeUse, TopUp
from extensions import db, limiter
from ledger import invariants, spending
from ledger.errors import IdempotencyConflict
from ledger.models import Transaction, Wallet
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop
from proofs.throwaway import WEBHOOK_SECRET
from tests.admin.office import Office
from tests.billing.cards import with_card
from tests.billing.forms import hidden_fields, open_form, submit
from tests.checker.samples import cv
from tests.persons import Person, csrf_token, hire, sign_up
from tests.reports import buying
from tests.worlds import Stripe

Facts = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """A form that was opened and not sent: who sends it where, and whose money it is about."""

    whose: Person
    action: str
    fields: dict[str, str]
    sender: Person | None = None
    json: dict[str, str] | None = None


@dataclass(frozen=True)
class World:
    """The shop, its staff, and names that nobody has yet."""

    shop: Shop
    stripe: Stripe
    office: Office
    names: Iterator[str]

    @property
    def app(self) -> Flask:
        return self.shop.place.app

    def person(self) -> Person:
        return sign_up(self.app, next(self.names))

    def buyer(self) -> Person:
        return with_card(self.app, self.stripe, next(self.names))

    def subscriber(self, price_key: str = "pro_monthly") -> Person:
        person = self.person()
        self.stripe.pay(person.checkout(price_key))
        self.stripe.settle()
        return person


# The forms ---------------------------------------------------------------------------------------------------------


def _buy_now(world: World) -> Form:
    ann, action = world.buyer(), "/billing/top-up/credits_30"
    return Form(ann, action, open_form(ann, "/billing", action))


def _start_checkout(world: World) -> Form:
    ann, action = world.person(), "/pricing/checkout/pro_monthly"
    return Form(ann, action, open_form(ann, "/pricing", action))


def _redeem(world: World) -> Form:
    ann, action = world.person(), "/billing/redeem"
    with world.app.app_context():
        if db.session.get(credit_codes.CreditCode, "PROOF-R11") is None:
            database.write(credit_codes.create, "PROOF-R11", credits=7, max_uses=100)
    return Form(ann, action, {**open_form(ann, action, action), "code": "PROOF-R11"})


def _change(world: World) -> Form:
    ann, action = world.subscriber("basic_monthly"), "/billing/change"
    return Form(ann, action, open_form(ann, f"{action}?to=pro_monthly", action))


def _undo(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/change/undo"
    submit(ann, "/billing/change?to=basic_monthly", "/billing/change")
    return Form(ann, action, open_form(ann, "/billing", action))


def _cancel(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/cancel"
    return Form(ann, action, open_form(ann, action, action))


def _cancel_now(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/cancel/now"
    return Form(ann, action, open_form(ann, action, action))


def _resume(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/resume"
    submit(ann, "/billing/cancel", "/billing/cancel")
    return Form(ann, action, open_form(ann, "/billing", action))


def _pause(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/pause"
    return Form(ann, action, open_form(ann, action, action))


def _unpause(world: World) -> Form:
    ann, action = world.subscriber(), "/billing/unpause"
    submit(ann, "/billing/pause", "/billing/pause")
    world.stripe.settle()
    return Form(ann, action, open_form(ann, action, action))


def _check_cv(world: World) -> Form:
    ann = world.person()
    fields = buying.hidden_fields(buying.ask_price(ann, cv("developer")))
    return Form(ann, "/cv", {**fields, "text": cv("developer"), "advert": ""})


def _check_cv_by_api(world: World) -> Form:
    return Form(world.person(), "/api/v1/cv", {}, json={"text": cv("developer")})


def _refund(world: World) -> Form:
    ann = world.buyer()
    page = world.office.preview(ann, "2.00")
    action = f"/admin/payments/{world.office.payment(ann).stripe_charge_id}/refund/confirm"
    return Form(ann, action, hidden_fields(page.text, action), sender=world.office.staff)


def _adjust(world: World) -> Form:
    ann = world.person()
    page = world.office.path(ann)
    fields = open_form(world.office.staff, page, f"{page}/credits")
    given = {"adjust-credits": "5", "adjust-reason": "a proof"}
    return Form(ann, f"{page}/credits", {**fields, **given}, sender=world.office.staff)


def _forgive(world: World) -> Form:
    ann = world.buyer()
    world.office.spend(ann, 7, key=f"debt-{ann.account_id}")
    world.office.refund(ann, "5.00")
    world.stripe.settle()
    page = world.office.path(ann)
    fields = open_form(world.office.staff, page, f"{page}/debt")
    given = {"forgive-credits": "1", "forgive-reason": "a proof"}
    return Form(ann, f"{page}/debt", {**fields, **given}, sender=world.office.staff)


MOVES_MONEY: dict[str, Callable[[World], Form]] = {
    "admin.adjust": _adjust,
    "admin.confirm_refund": _refund,
    "admin.forgive": _forgive,
    "billing.buy_now": _buy_now,
    "billing.cancel": _cancel,
    "billing.cancel_now": _cancel_now,
    "billing.confirm_change": _change,
    "billing.confirm_unpause": _unpause,
    "billing.pause": _pause,
    "billing.redeem": _redeem,
    "billing.resume": _resume,
    "billing.start_checkout": _start_checkout,
    "billing.undo_change": _undo,
    "reports.create": _check_cv,
    "reports_api.create": _check_cv_by_api,
}
SIGNING_IN = "signs people in and out, or changes how; tests/auth holds that it does so once"
IN_A_TEAM = "changes who is in a team; tests/team holds that it does so once"
OF_AN_ADDRESS = "changes where mail goes; tests/settings holds that it does so once"
MOVES_NONE = {
    "admin.attach_file": "keeps a file at Stripe",
    "admin.give_evidence": "sends words to the bank",
    "admin.mark_answered": "closes a question",
    "admin.pause": "stops spending; the same cause counts once",
    "admin.refund": "shows what a refund would do",
    "admin.replay": "has something looked at again",
    "admin.resend": "sends a mail",
    "admin.resume": "lets spending go on",
    "admin.revoke_api_key": "ends a key",
    **{f"auth.{name}": SIGNING_IN for name in ("change_password", "check_mail", "forgot_password", "login", "logout")},
    "auth.confirm_password": SIGNING_IN,
    **{f"auth.{name}": SIGNING_IN for name in ("register", "reset_password", "verify")},
    "api_keys.create": "makes a key, once per form",
    "api_keys.revoke": "ends a key",
    "billing.agree_to_auto_top_up": "agrees to later purchases, and stores the same agreement again",
    "billing.portal": "opens Stripe's portal",
    "billing.set_cap": "sets a number to what the form says",
    "billing.stop_auto_top_up": "switches off",
    "pages.theme": "keeps a colour",
    "projects.create": "makes a project, which costs nothing",
    "projects.record": "counts use, once per number of the form; tests of the projects hold it",
    "projects_api.create": "makes a project, which costs nothing",
    "projects_api.record": "counts use, once per key; tests of the projects hold it",
    "reports.preview": "says a price",
    "reports_api.price": "says a price",
    **{f"settings.{each}": OF_AN_ADDRESS for each in ("cancel_email", "change_email", "confirm_email", "resend_email")},
    "settings.end_other_sessions": SIGNING_IN,
    "settings.end_session": SIGNING_IN,
    "settings.delete_account": "ends an account, after which its form belongs to nobody",
    "support.ask": "keeps a question, once per form",
    "team.switch": "changes whom one acts for",
    **{f"team.{each}": IN_A_TEAM for each in ("accept", "invite", "leave", "remove", "resend", "withdraw")},
    **{f"team.{each}": IN_A_TEAM for each in ("change_role", "hand_over", "rename")},
    "webhooks.stripe": "proved by R1 and R4",
}


# What is compared --------------------------------------------------------------------------------------------------


def facts(world: World, person: Person) -> Facts:
    """Return a person's money as counts of what there is, without anything that tells two persons apart."""
    with world.app.app_context():
        account = db.session.get_one(Account, person.account_id)
        wallet = db.session.get(Wallet, account.id)
        moves = db.session.execute(
            select(Transaction.kind, Transaction.credits, Transaction.used).where(Transaction.account_id == account.id)
        )
        own = {
            "ledger": Counter(map(tuple, moves)),
            "wallet": (wallet.balance, wallet.debt) if wallet else (0, 0),
            "top-ups": Counter(db.session.scalars(select(TopUp.status).where(TopUp.account_id == account.id))),
            "codes": Counter(
                db.session.scalars(select(CreditCodeUse.code).where(CreditCodeUse.account_id == account.id))
            ),
        }
        customer_id = account.stripe_customer_id
    return {**own, **(_at_stripe(world.shop, customer_id) if customer_id else {})}


def _at_stripe(shop: Shop, customer_id: str) -> Facts:
    api: Any = shop.client.v1
    of = {"customer": customer_id, "limit": 100}
    charges = api.charges.list(of).data
    subscriptions = api.subscriptions.list({**of, "status": "all"}).data
    return {
        "charges": Counter((c.amount, c.amount_refunded, c.status) for c in charges),
        "refunds": Counter(r.amount for c in charges for r in api.refunds.list({"charge": c.id}).data),
        "invoices": Counter((i.total, i.status) for i in api.invoices.list(of).data),
        "sessions": Counter((s.mode, s.status, s.amount_total) for s in api.checkout.sessions.list(of).data),
        "subscriptions": Counter(
            (s.status, s.cancel_at_period_end, s.cancel_at, bool(s.pause_collection), bool(s.schedule))
            for s in subscriptions
        ),
        "schedules": Counter(s.status for s in api.subscription_schedules.list(of).data),
    }


def _send(world: World, form: Form, *, tabs: int) -> set[int]:
    """Send a form from so many tabs at once; return the answers' statuses."""
    sender = form.sender or form.whose
    headers = {"Sec-Fetch-Site": "same-origin"}
    if form.json is not None:
        headers |= {"X-CSRFToken": csrf_token(sender.client), "Idempotency-Key": "one-key-of-the-proof"}
    cookie = sender.client.get_cookie("session")
    assert cookie is not None

    def send(_: int) -> int:
        tab = world.app.test_client()
        tab.set_cookie("session", cookie.value)
        return tab.post(form.action, data=form.fields or None, json=form.json, headers=headers).status_code

    with ThreadPoolExecutor(max(tabs, 1)) as pool:
        return set(pool.map(send, range(tabs)))


def compare(world: World, endpoint: str, *, senders: int) -> list[str]:
    """Let one person send a form once and another often; return what is wrong."""
    once, often = MOVES_MONEY[endpoint](world), MOVES_MONEY[endpoint](world)
    before = facts(world, once.whose)
    if before != facts(world, often.whose):
        return [f"{endpoint}: the two persons did not begin alike"]
    _send(world, once, tabs=1)
    world.stripe.settle()
    statuses = _send(world, often, tabs=senders) | _send(world, often, tabs=2)
    world.stripe.settle()
    wanted, found = facts(world, once.whose), facts(world, often.whose)
    problems = [f"{endpoint}: answered {status}" for status in statuses if status >= 500 and status != 503]
    if wanted == before:
        problems.append(f"{endpoint}: sending the form once changed nothing")
    wrong = [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]
    problems += [f"{endpoint}: {name} are {found.get(name)} and not {wanted.get(name)}" for name in sorted(wrong)]
    return problems


def _one_key(world: World, spends: int) -> list[str]:
    """Spend under one key so many times at once, then with another amount and for another reason."""
    person = world.person()
    before = person.balance()

    def spend(credits: int, reason: str) -> int:
        with world.app.app_context():
            made = database.write(spending.spend, person.account_id, credits, idempotency_key="one key", reason=reason)
            return made.transaction_id

    with ThreadPoolExecutor(16) as pool:
        results = set(pool.map(lambda _: spend(2, "a proof"), range(spends)))
    problems = [] if len(results) == 1 else [f"one key gave {len(results)} results"]
    if person.balance() != before - 2:
        problems.append(f"one key took {before - person.balance()} credits, not 2")
    for credits, reason in ((1, "a proof"), (2, "another reason")):
        try:
            spend(credits, reason)
        except IdempotencyConflict:
            continue
        problems.append(f"the key was taken for {credits} credits, {reason}")
    return problems


def _changed_body(world: World) -> list[str]:
    form = _check_cv_by_api(world)
    answered = [_send(world, form, tabs=4)]
    changed = Form(form.whose, form.action, {}, json={"text": cv("developer") + " and more"})
    answered.append(_send(world, changed, tabs=2))
    return [] if answered[1] == {409} else [f"a changed body under the same key was answered {answered[1]}"]


@proof(
    "R11",
    "a form sent often",
    passes="1 debit and 1 result per key, a changed body 409, one effect per form on every route that moves money",
    quick={"senders": 4, "spends": 100},
    whole={"senders": 8, "spends": 1_000},
)
def measure(engine: str, *, seed: int, senders: int, spends: int) -> Outcome:
    """Send everything often, and compare with sending it once."""
    with open_shop(engine, seed) as shop, ThreadPoolExecutor(1) as stage:
        shop.place.app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1"]
        shop.sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
        limiter.enabled = False  # it would keep out just what is tried here
        try:
            # In a thread of its own: here the app's context is open, and its requests would share one person.
            return stage.submit(_measure, shop, senders, spends).result()
        finally:
            limiter.enabled = True


def unlisted(app: Flask) -> list[str]:
    """Return what is wrong with the tables: a route that may change something and is in neither."""
    return [
        f"{endpoint} is in neither table: give it a form in MOVES_MONEY, or say in MOVES_NONE why it moves none"
        for endpoint in sorted(_routes_that_change(app) - MOVES_MONEY.keys() - MOVES_NONE.keys())
    ]


def _routes_that_change(app: Flask) -> set[str]:
    changing = {"POST", "PUT", "PATCH", "DELETE"}
    return {rule.endpoint for rule in app.url_map.iter_rules() if changing & (rule.methods or set())}


def _measure(shop: Shop, senders: int, spends: int) -> Outcome:
    app = shop.place.app
    names = (f"sender{number}@example.com" for number in range(10_000))
    stripe = Stripe(app, shop.sandbox)
    world = World(shop, stripe, Office(hire(sign_up(app, "staff@example.com")), stripe), names)
    problems = unlisted(app) + _one_key(world, spends) + _changed_body(world)
    tried = sorted(_routes_that_change(app) & MOVES_MONEY.keys())
    for endpoint in tried:
        problems += compare(world, endpoint, senders=senders)
    with app.app_context():
        problems += invariants.violations(db.session())
    return Outcome(spends + len(tried) * (senders + 3), problems, f"sendings, {len(tried)} routes that move money")


if __name__ == "__main__":
    sys.exit(main(measure))
