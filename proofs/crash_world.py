"""The world in which the app ends at failpoints: people with browsers, a postman, a worker, and a mail server.

None of them ends with the app. A person who gets no answer sends the same form again, or walks away and never comes
back; the postman delivers again what was not answered; the worker is started again when its leases have run out.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.test import Client, TestResponse

import clock
import database
from accounts import people, sessions
from billing import address_errands, periods
from extensions import db, limiter
from jobs import worker
from mail.models import PENDING, SENT, Email
from proofs import stripe_oracle
from proofs.customers import CARD
from proofs.forks import Ended, Forks, Line
from proofs.mail_server import Letter, MailServer
from proofs.shop import ENDPOINT, Shop, open_shop
from proofs.throwaway import WEBHOOK_SECRET
from stripe_sandbox import deliveries
from tests.billing.forms import hidden_fields

T = TypeVar("T")

BASE = "http://127.0.0.1:5000"
HEADERS = {"Sec-Fetch-Site": "same-origin"}
MOST_PRESSES = 6
LOOKING_AROUND = {"poll", "compare"}
# Longer than any lease of the app's own, the longest of which is a mail's.
LEASES = 65
MOST_ROUNDS = 12
BETWEEN_SCENES = 700


class WalkedAway(Exception):
    """The person got no answer and does not come back."""


class Unfit(Exception):
    """The scene did not go as it must, whether anything ended or not."""


@dataclass
class Person:
    """Somebody with a browser, who does everything through the site's own pages."""

    world: World
    email: str
    browser: Client
    account_id: int = 0
    user_id: int = 0

    def look(self, path: str) -> TestResponse:
        """Open a page without any danger."""
        with self.world.calm():
            return self.browser.get(path, base_url=BASE)

    def form(self, path: str, action: str = "", **fields: str) -> dict[str, str]:
        """Open a page without any danger and fill in its form to an address, the page's own unless another is named."""
        page = self.look(path)
        if page.status_code != 200:
            raise Unfit(f"{path} answered {page.status}")
        return {**hidden_fields(page.get_data(as_text=True), action or path), **fields}

    def visit(self, path: str) -> TestResponse:
        """Open a page during which the server may end; open it again then."""
        return self.world.insist(lambda: self.browser.get(path, base_url=BASE))

    def send(self, action: str, fields: dict[str, str]) -> TestResponse:
        """Send a form during which the server may end; send the very same again then."""
        return self.world.insist(lambda: self.browser.post(action, data=fields, base_url=BASE, headers=HEADERS))

    def sign_in(self) -> None:
        """Be signed in, as if they had been all along."""
        token = database.write(sessions.start, self.user_id, is_remembered=False)
        app = self.world.shop.place.app
        signer = app.session_interface.get_signing_serializer(app)
        self.browser.set_cookie("session", signer.dumps({"_user_id": token, "_fresh": True}), domain="127.0.0.1")

    def buys(self, price_key: str, card: str = CARD) -> None:
        """Buy something without any danger, and be served."""
        with self.world.calm():
            self.world.pay(self.order(price_key), card)
            self.world.settle()

    def order(self, price_key: str) -> str:
        """Ask for a checkout; return the address that it leads to."""
        page = f"/pricing/checkout/{price_key}"
        answer = self.send(page, self.form(page))
        if answer.status_code != 303:
            raise Unfit(f"the checkout answered {answer.status}")
        return str(answer.location)

    def customer(self) -> str:
        """Return their id at Stripe."""
        with Session(db.engine) as session:
            return people.get_account(session, self.account_id).stripe_customer_id or ""


@dataclass
class World:
    """A shop whose app lives in forks, and everybody around it; `persons` are those of the present scene."""

    shop: Shop
    forks: Forks
    post_office: MailServer
    folder: Path
    walks_away: bool = False
    persons: list[Person] = field(default_factory=list)
    _born: int = 0
    _letters_before: int = 0

    def begin(self) -> None:
        """Begin a scene: nobody is there, some minutes have passed since the last one."""
        limiter.reset()
        self.persons.clear()
        self.shop.advance(BETWEEN_SCENES)
        self._letters_before = len(self.post_office.letters())

    def new_person(self, *, signed_up: bool = True) -> Person:
        """Return somebody new, who has an account and is signed in unless they have yet to sign up."""
        self._born += 1
        person = Person(self, f"person{self._born}@example.com", self.forks.browser())
        self.persons.append(person)
        if signed_up:
            person.user_id, person.account_id = database.write(_sign_up, person.email)
            person.sign_in()
        return person

    def subscriber(self, price_key: str = "basic_monthly") -> Person:
        """Return somebody who has a plan."""
        person = self.new_person()
        person.buys(price_key)
        return person

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Let nothing end meanwhile."""
        before, self.forks.is_calm = self.forks.is_calm, True
        try:
            yield
        finally:
            self.forks.is_calm = before

    def insist(self, ask: Callable[[], T]) -> T:
        """Ask the site until it answers; or walk away at its first silence."""
        for _ in range(MOST_PRESSES):
            try:
                return ask()
            except Ended:
                if self.walks_away:
                    raise WalkedAway from None
        raise Unfit("the site never answers")

    def work(self, *, looks_around: bool = False) -> None:
        """Let the worker do its chores once; it is started again when it ends.

        Unless it looks around it does without what only finds news that webhooks bring as well.
        """
        chores = [chore for chore in worker.chores() if looks_around or chore.name not in LOOKING_AROUND]
        for chore in chores:
            chore.due_at = 0.0
        self.keep_running(lambda: [worker._run(chore) for chore in chores])

    def keep_running(self, work: Callable[[], T]) -> T:
        """Run something that is started again, once the leases of the dead have run out, whenever it ends."""
        for _ in range(MOST_PRESSES):
            try:
                return self.forks.run(work)
            except Ended:
                self.shop.advance(LEASES)
        raise Unfit("it ends again and again")

    def deliver(self) -> int:
        """Deliver what Stripe has to say, shuffled and some of it twice, until it is answered with 200; count it."""
        postman = self.shop.postman
        postman.collect()
        bag = [postman.take() for _ in range(len(postman.bag))]
        signed = [(body, deliveries.sign(body, [WEBHOOK_SECRET])) for body in bag]
        if not signed:
            return 0
        statuses = self.keep_running(lambda: [self._post(body, signature) for body, signature in signed])
        if set(statuses) != {200}:
            raise Unfit(f"webhooks were answered with {sorted(set(statuses))}")
        return len(statuses)

    def pass_a_month(self) -> None:
        """Let every subscription renew, and not long ago: what is heard of days later gets no receipt any more."""
        now = clock.now()
        self.shop.advance((periods.add_months(now, 1) - now + timedelta(hours=5)).total_seconds())

    def settle(self) -> None:
        """Deliver and work until nothing waits, neither an object nor a mail."""
        self.deliver()
        for _ in range(MOST_ROUNDS):
            self.work()
            if self._is_at_rest() and not self.deliver():
                return
            self.shop.advance(LEASES)
        raise Unfit("it does not come to rest")

    def pay(self, url: str, card: str = CARD) -> None:
        """Pay on Stripe's page."""
        self.shop.sandbox.pay(url, card)

    def letters(self, to: str) -> list[Letter]:
        """Return what the mail server accepted for somebody in this scene, in its order."""
        return [letter for letter in self.post_office.letters()[self._letters_before :] if letter.to == to]

    def link_in(self, letter: Letter) -> str:
        """Return the path of the link that a mail is about."""
        found = re.search(rf"{BASE}(/(?:verify|password/reset|settings/email)/\S+)", letter.text)
        if found is None:
            raise Unfit(f"there is no link in {letter.subject!r}")
        return found[1]

    def judge(self, *, by_stripe: bool) -> list[str]:
        """Return what is wrong with the people of this scene, by Stripe's objects, and with their mails."""
        problems = self._mail_problems()
        if by_stripe:
            with Session(db.engine) as session:
                accounts = [person.account_id for person in self.persons if person.account_id]
                problems += stripe_oracle.judge(session, self.shop.client, only=accounts).problems
        return problems

    def end(self) -> None:
        """Let the people of this scene be forgotten, so that no renewal of theirs disturbs the next one."""
        for person in self.persons:
            customer = person.customer() if person.account_id else ""
            if customer:
                for one in self.shop.client.v1.subscriptions.list({"customer": customer}).data:
                    self.shop.client.v1.subscriptions.cancel(one.id)
        self.shop.postman.collect()
        self.shop.postman.bag.clear()

    def _post(self, body: bytes, signature: str) -> int:
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
        browser = self.shop.place.app.test_client()
        return browser.post(ENDPOINT, data=body, headers=headers, base_url=BASE).status_code

    def _is_at_rest(self) -> bool:
        with Session(db.engine) as session:
            waiting = session.scalar(select(func.count()).select_from(Email).where(Email.status == PENDING))
            waiting = waiting or address_errands.waiting(session)
        return self.shop.is_at_rest() and not waiting

    def _mail_problems(self) -> list[str]:
        """Compare the outbox with what arrived: each once, and once more at most for each process that ended."""
        letters = self.post_office.letters()[self._letters_before :]
        arrived = [letter.message_id.strip("<>").partition("@")[0] for letter in letters]
        with Session(db.engine) as session:
            addresses = [person.email for person in self.persons]
            rows = session.scalars(select(Email).where(Email.to_address.in_(addresses))).all()
            # Somebody of an earlier scene may still get one.
            promised = set(session.scalars(select(Email.uuid)))
        problems = [
            f"the mail {r.dedupe_key} is {r.status}: {r.last_error}" for r in rows if r.status in {"dead", PENDING}
        ]
        sent = [row for row in rows if row.status == SENT]
        problems += [f"the mail {row.dedupe_key} never arrived" for row in sent if row.uuid not in arrived]
        again = len(arrived) - len(set(arrived))
        if again > self.forks.deaths:
            problems.append(f"{again} mails arrived again, and only {self.forks.deaths} processes ended")
        problems += [f"a mail arrived that nobody promised: {i}" for i in set(arrived) - promised]
        return problems


@contextmanager
def open_world(engine: str, seed: int, catalogue: str = "cv") -> Iterator[World]:
    """Open a shop with a mail server that sells a catalogue; its app lives in forks of this process."""
    lines: list[Line] = []

    def between(slow: object) -> Line:
        lines.append(Line(slow))  # type: ignore[arg-type]
        return lines[0]

    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        post_office = MailServer(Path(folder))
        post_office.start()
        try:
            settings = {"MAIL_URL": post_office.url, "APP_BASE_URL": BASE, "CATALOG": catalogue}
            with open_shop(engine, seed, settings=settings, between=between) as shop:
                random.seed(seed)
                yield World(shop, Forks(shop.place.app, lines[0]), post_office, Path(folder))
        finally:
            post_office.stop()


def _sign_up(session: Session, email: str) -> tuple[int, int]:
    user = people.create_user(session, email=email, password_hash=None, confirmed_at=clock.now())
    return user.id, people.personal_account(session, user.id).id


def days(count: float) -> float:
    """Return so many days in seconds."""
    return timedelta(days=count).total_seconds()
