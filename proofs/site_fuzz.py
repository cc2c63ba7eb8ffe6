"""S2: every page and form of the site is given what nobody would send; it always answers, and the books stay right.

    python -m proofs.site_fuzz --requests 20000 --database sqlite

Four visitors - nobody, a new person, a subscriber with a card, staff - open every page they find by its links, and send
its forms with some fields changed to nonsense; every route of the app's map is asked with odd addresses, bodies and
methods as well. Passes with no answer of 500 or above, and `flask doctor` finds nothing afterwards.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, got_request_exception
from flask.testing import FlaskClient
from werkzeug.routing import BuildError, Rule
from werkzeug.test import TestResponse

from billing import doctor
from extensions import db, limiter
from proofs.idempotency import World
from proofs.registry import Outcome, main, proof
from proofs.shop import Shop, open_shop
from proofs.throwaway import WEBHOOK_SECRET
from tests.admin.office import Office
from tests.persons import hire, sign_up
from tests.web.documents import Document
from tests.worlds import Stripe

ROUND = 250
MOST_PAGES = 60
SERVER_ERROR = 500
# Leaving would end the visit, Stripe's own door has a proof of its own, and no worker runs here.
LEFT_OUT = {"auth.logout", "webhooks.stripe", "static", "health.working"}
TEXTS = (
    *("", " ", "0", "-1", "1.5", "NaN", "1e400", "9" * 400, "999999999999", "٣", "²", "null", "true", "[]", "{}"),
    *("a" * 70_000, "\x00", "a\x00b", "\ud800", "\r\nX-Evil: 1", "\u202e\u0301\U0001f4b3", "\t", "\u200f", "İ", "%00"),
    *("javascript:alert(1)", "<script>alert(1)</script>", "{{7*7}}", "' OR 1=1 --", "2026-13-45", "0000-00-00", "+1"),
    *(
        "ann@example.com",
        "@",
        "a@b",
        "é@é.é",
        "http://[",
        "http://127.0.0.1:99999/",
        "//evil.example",
        "\\\\evil",
        "../..",
    ),
)
QUERIES = ("next", "to", "page", "q", "kind", "from", "until", "before", "interval", "session_id", "after", "limit")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Form:
    """A form as a page shows it."""

    page: str
    action: str
    method: str
    fields: dict[str, str]


@dataclass
class Visitor:
    """Somebody with a browser: what they found by following links."""

    words: str
    browser: FlaskClient
    pages: list[str] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)

    def explore(self, begin: tuple[str, ...]) -> None:
        """Open the pages that links lead to, and take note of their forms."""
        todo, seen = list(begin), set(begin)
        while todo and len(self.pages) < MOST_PAGES:
            page = todo.pop(0)
            answer = self.browser.get(page)
            if answer.status_code != 200 or answer.mimetype != "text/html":
                continue
            self.pages.append(page)
            document = Document(answer.text)
            self.forms += _forms(page, document)
            for link in document.links():
                path = urlsplit(link)
                where = path.path + (f"?{path.query}" if path.query else "")
                if not path.netloc and path.path.startswith("/") and where not in seen:
                    seen.add(where)
                    todo.append(where)


@dataclass
class Tally:
    """What was answered, and what broke."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    raised: list[str] = field(default_factory=list)


@proof(
    "S2",
    "nonsense that breaks a page",
    passes="0 answers of 500 or above, and `flask doctor` finds nothing",
    quick={"requests": 500},
    whole={"requests": {"sqlite": 12_000, "postgresql": 3_000}},
    is_long=True,
)
def measure(engine: str, *, seed: int, requests: int) -> Outcome:
    """Send so many odd requests."""
    with open_shop(engine, seed) as shop, ThreadPoolExecutor(1) as stage:
        shop.place.app.config["TRUSTED_HOSTS"] = ["localhost", "127.0.0.1"]
        shop.sandbox.add_webhook("http://127.0.0.1:5000/webhooks/stripe", WEBHOOK_SECRET)
        # In a thread of its own: here the app's context is open, and its requests would share one person.
        tally = stage.submit(_visit, shop, seed, requests).result()
        found = [finding for _, findings in doctor.examine(db.session()) for finding in findings]
    problems = [f"{words}, {count} times" for words, count in tally.broken.most_common()]
    problems += [f"{finding.check}: {finding.problem}" for finding in found]
    told = ", ".join(f"{count:,} x {status}" for status, count in sorted(tally.statuses.items()))
    return Outcome(sum(tally.statuses.values()), problems, f"requests: {told}")


def _visit(shop: Shop, seed: int, requests: int) -> Tally:
    """Let a new set of visitors come for each round, because some of what they do ends their visit."""
    app, tally = shop.place.app, Tally()
    names = (f"visitor{number}@example.com" for number in range(1_000_000))
    stripe = Stripe(app, shop.sandbox)
    world = World(shop, stripe, Office(hire(sign_up(app, "staff@example.com")), stripe), names)
    with got_request_exception.connected_to(lambda _app, exception: tally.raised.append(_told(exception)), app):
        for number in range(0, requests, ROUND):
            chance = random.Random(f"{seed}:{number}")  # noqa: S311 - which nonsense to send
            limiter.reset()
            visitors = list(_visitors(world))
            for _ in range(min(ROUND, requests - number)):
                if chance.random() < 0.05:
                    limiter.reset()
                _send_one(app, chance.choice(visitors), chance, tally)
            stripe.settle()
    return tally


def _visitors(world: World) -> Iterator[Visitor]:
    subscriber = world.buyer()
    world.stripe.pay(subscriber.checkout("pro_monthly"))
    world.stripe.settle()
    staff = hire(world.person())
    for words, browser in (
        ("nobody", world.app.test_client()),
        ("a new person", world.person().client),
        ("a subscriber", subscriber.client),
        ("staff", staff.client),
    ):
        visitor = Visitor(words, browser)
        visitor.explore(("/", "/dashboard", "/billing", "/pricing", "/admin", "/login", world.office.path(subscriber)))
        yield visitor


def _send_one(app: Flask, visitor: Visitor, chance: random.Random, tally: Tally) -> None:
    send = chance.choices([_odd_form, _odd_query, _odd_route], [5, 1, 3])[0]
    words, answer = send(app, visitor, chance)
    tally.statuses[answer.status_code] += 1
    if answer.status_code >= SERVER_ERROR:
        why = tally.raised[-1] if tally.raised else answer.text[:200]
        tally.broken[f"{words} by {visitor.words}: {answer.status_code}, {why}"] += 1
    answer.close()


def _odd_form(_app: Flask, visitor: Visitor, chance: random.Random) -> tuple[str, TestResponse]:
    """Send a form with some of its fields changed, left out or doubled."""
    if not visitor.forms:
        return _odd_query(_app, visitor, chance)
    form = chance.choice(visitor.forms)
    fields: dict[str, Any] = dict(form.fields)
    for name in chance.sample(sorted(fields), min(len(fields), chance.choice([0, 1, 1, 2, 9]))):
        if name == "csrf_token" and chance.random() < 0.9:
            continue
        fields[name] = _odd(chance)
        if chance.random() < 0.1:
            fields[name] = [_odd(chance), _odd(chance)]
        elif chance.random() < 0.1:
            del fields[name]
    if form.method == "GET":
        return f"GET {form.action}", visitor.browser.get(form.action, query_string=fields)
    headers = {"Sec-Fetch-Site": "same-origin"}
    return f"POST {form.action}", visitor.browser.post(form.action, data=fields, headers=headers)


def _odd_query(_app: Flask, visitor: Visitor, chance: random.Random) -> tuple[str, TestResponse]:
    page = chance.choice(visitor.pages or ["/"]).partition("?")[0]
    odd = {name: _odd(chance) for name in chance.sample(QUERIES, 3)}
    return f"GET {page}", visitor.browser.get(page, query_string=odd)


def _odd_route(app: Flask, visitor: Visitor, chance: random.Random) -> tuple[str, TestResponse]:
    """Ask for any route with nonsense in its address, its body and its headers."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in LEFT_OUT]
    rule = chance.choice(rules)
    method = chance.choice([*(rule.methods or ()), *METHODS[:2]])
    body: dict[str, Any] = chance.choice(
        [
            {"json": {chance.choice(["text", "credits", "events", "name"]): _odd(chance)}},
            {"json": chance.choice([[], 7, "text", None, {"a": {"b": [{}]}}])},
            {"data": {"name": _odd(chance), "csrf_token": _odd(chance)}},
            {"data": chance.randbytes(300), "content_type": chance.choice(["application/json", "text/plain", "é", ""])},
            {"data": "[" * 100_000, "content_type": "application/json"},
            {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
        ]
    )
    headers = {
        "Sec-Fetch-Site": chance.choice(["same-origin", "cross-site"]),
        "Idempotency-Key": chance.choice(["a-key", "", "k" * 300, "é"]),
        "Accept": chance.choice(["application/json", "text/html", "*/*;q=x", ""]),
    }
    if chance.random() < 0.2:
        headers["Authorization"] = chance.choice(["Bearer", "Bearer tg_live_" + "0" * 64, "Basic !!", "Bearer é", "tg"])
    path = _address(app, rule, chance)
    return f"{method} {rule.endpoint}", visitor.browser.open(path, method=method, headers=headers, **body)


def _address(app: Flask, rule: Rule, chance: random.Random) -> str:
    values = {name: chance.choice([*TEXTS[1:], "1", "ch_1", "evt_1", "pro_monthly"]) for name in rule.arguments}
    try:
        return app.url_map.bind("localhost").build(rule.endpoint, values, method=next(iter(rule.methods or ["GET"])))
    except (BuildError, UnicodeError, ValueError):
        return rule.rule


def _odd(chance: random.Random) -> str:
    text = chance.choice(TEXTS)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if "\ud800" in text else text


def _forms(page: str, document: Document) -> Iterator[Form]:
    for form in document.all("form"):
        fields = {}
        for control in document.all("input", "select", "textarea", "button"):
            if control.attrs.get("name") and (control.inside("form") is form):
                fields[control.attrs["name"]] = control.attrs.get("value", "")
        action = form.attrs.get("action") or page.partition("?")[0]
        if action.startswith("/") and action != "/logout":
            yield Form(page, action, form.attrs.get("method", "get").upper(), fields)


def _told(exception: BaseException) -> str:
    """Return an exception in a line: what, and where in our own code."""
    step, where = exception.__traceback__, ""
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if "site-packages" not in name and "/lib/python" not in name:
            where = f"{name.rpartition('/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return f"{type(exception).__name__}: {exception}"[:300].splitlines()[0] + f" at {where}"


if __name__ == "__main__":
    sys.exit(main(measure))
