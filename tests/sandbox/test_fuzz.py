"""Bad input of every kind gets Stripe's error, never a 500, and changes nothing that it should not."""

from __future__ import annotations

import json
import random
import urllib.parse
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stripe_sandbox import api, forms, routes
from stripe_sandbox.testing import Sandbox
from tests.sandbox import shop
from tests.sandbox.walks import WALKS

KEY = {"authorization": "Bearer sk_test_sandbox"}
STRANGE = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "100",
    "99999999999999999999",
    "1.5",
    "true",
    "false",
    "null",
    "é\u2028",
    "x" * 6000,
    "now",
]
STRANGE += ["usd", "USD", "xx", "a@b.c", "https://x.example/", "javascript:alert(1)", "\x00", "[]", "{}", "inf", "NaN"]


# The walks that can be taken in one world, one after the other.
PAST = ["subscriptions", "customers", "checkout_sessions", "invoices", "portal", "payment_intents", "setup_intents"]
PAST += ["entitlements", "charges_and_refunds", "meters", "payment_methods", "tax_ids"]
# Requests that were good, by route: paths and forms from the walks.
RECORDED: dict[str, list[tuple[str, dict[str, Any]]]] = {}


class Guesser:
    """Makes up requests from the contract: mostly of the right shape, with ids that exist and senseless values."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox, self.chance = sandbox, random.Random(seed)  # noqa: S311
        self.ids = [row["id"] for row in sandbox.store.rows("SELECT id FROM objects")]
        self.by_kind: dict[str, list[str]] = {}
        for row in sandbox.store.rows("SELECT id, kind FROM objects"):
            self.by_kind.setdefault(row["kind"], []).append(row["id"])

    def request(self, route: str) -> tuple[str, dict[str, Any]]:
        """Return a path and a form: made up, or one that was good once and is spoilt a little."""
        schema = self.sandbox.contract.routes.get(route, {"params": {"type": "object", "properties": {}}})["params"]
        pattern = route.split(" ", 1)[1]
        made_up = self.form(schema)
        form = made_up if isinstance(made_up, dict) else {}
        known = RECORDED.get(route)
        if not known or self.chance.random() < 0.4:
            return self.path(pattern), form
        path, good = self.chance.choice(known)
        spoilt = self._spoil(good)
        extra = {name: value for name, value in form.items() if self.chance.random() < 0.15}
        return path if self.chance.random() < 0.8 else self.path(pattern), {**spoilt, **extra}

    def _spoil(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._spoil(item) for name, item in value.items() if self.chance.random() > 0.06}
        if self.chance.random() > 0.07:
            return value
        return self.chance.choice([*STRANGE, *self.ids, {"x": "y"}])

    def path(self, route: str) -> str:
        words = route.split("/")
        for position, word in enumerate(words):
            if word == "{}":
                words[position] = urllib.parse.quote(self.some_id(words[position - 1]), safe="")
        return "/".join(words)

    def some_id(self, hint: str) -> str:
        fitting = [one for kind, found in self.by_kind.items() if hint.rstrip("s") in kind for one in found]
        if fitting and self.chance.random() < 0.85:
            return self.chance.choice(fitting)
        return self.chance.choice([*self.ids, "nobody", "é"])

    def form(self, schema: dict[str, Any], depth: int = 0) -> Any:
        schema = self.sandbox.contract._deref(schema)
        if self.chance.random() < 0.04:
            return self.chance.choice([*STRANGE, {"x": "y"}])
        if "anyOf" in schema:
            return self.form(self.chance.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return str(self.chance.choice(schema["enum"])).replace("True", "true")
        kind = schema.get("type")
        if kind == "object" and "properties" in schema:
            return self._object(schema, depth)
        if kind == "object":
            return {self.chance.choice(["a", "b", "k" * 41]): self.chance.choice(STRANGE)}
        if kind == "array":
            return {str(n): self.form(schema["items"], depth + 1) for n in range(self.chance.randint(0, 2))}
        return self._scalar(kind)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        result = {}
        for name, part in schema["properties"].items():
            likely = 0.95 if name in schema["required"] else (0.25 if depth == 0 else 0.15)
            if depth < 5 and self.chance.random() < likely:
                known = self.chance.random() < 0.7 and self._known(name)
                result[name] = known or self.form(part, depth + 1)
        return result

    def _known(self, name: str) -> str | None:
        fitting = [
            one for kind, found in self.by_kind.items() if kind == name.removeprefix("default_") for one in found
        ]
        return self.chance.choice(fitting) if fitting else None

    def _scalar(self, kind: str | None) -> str:
        if kind == "boolean":
            return self.chance.choice(["true", "false"])
        if kind == "integer":
            now = int(self.sandbox.clock.now())
            return str(self.chance.choice([0, 1, 2, 3, 50, 100, 1000, -1, now, now + 86400, now + 40 * 86400, 10**12]))
        if kind in ("number", "decimal"):
            return self.chance.choice(["0", "1", "12.5", "100", "-3", "0.0001"])
        return self.chance.choice([*STRANGE, *self.ids])


def encode(form: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(form, dict):
        return [(prefix, str(form))]
    return [pair for key, item in form.items() for pair in encode(item, f"{prefix}[{key}]" if prefix else key)]


@pytest.fixture(scope="module")
def lived_in() -> Sandbox:
    """A sandbox with a past, so that there is something of each kind to be wrong about."""
    sandbox = Sandbox()
    sandbox.clock.freeze()
    client = sandbox.client()
    for name in PAST:
        WALKS[name](sandbox, client)
    _record(sandbox)
    goods = shop.open_shop(client)
    for _ in range(3):
        shop.subscribe(client, goods)
    client.v1.webhook_endpoints.create({"url": "https://shop.example/", "enabled_events": ["invoice.paid"]})
    client.v1.coupons.create({"id": "HALF", "percent_off": 50, "duration": "forever"})
    client.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": "HALF"}, "code": "HALF"})
    sandbox.violations.clear()
    return sandbox


def _record(sandbox: Sandbox) -> None:
    for row in sandbox.store.rows("SELECT method, path, params FROM requests WHERE status = 200"):
        found = routes.find(row["method"], row["path"])
        if found:
            RECORDED.setdefault(found[0].key, []).append((row["path"], json.loads(row["params"])))


@pytest.mark.parametrize("route", sorted(routes.ROUTES))
def test_no_request_is_answered_with_a_500(lived_in: Sandbox, route: str) -> None:
    method = route.split(" ", 1)[0]
    for seed in range(30):
        path, form = Guesser(lived_in, seed).request(route)
        text = urllib.parse.urlencode(encode(form)).encode()
        sent = api.Request(method, path, b"" if method == "POST" else text, text if method == "POST" else b"", KEY)
        with lived_in.store.rehearsal():
            answer = api.handle(lived_in, sent)
        told = f"{method} {path} {text.decode()[:1000]}"
        assert answer.status in (200, 400, 402, 404, 409), f"{answer.status}: {told}"
        if answer.status != 200:
            error = json.loads(answer.body)["error"]
            assert error["type"] in ("invalid_request_error", "card_error", "idempotency_error"), told
            assert error["message"], told
    departures = [one for one in lived_in.violations if one.startswith(("answer", "event"))]
    lived_in.violations.clear()
    assert departures == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(st.binary(max_size=200), st.text(alphabet="ab[]=&%0\x00é", max_size=60).map(str.encode)))
def test_any_bytes_are_a_form_or_a_400(lived_in: Sandbox, body: bytes) -> None:
    answer = api.handle(lived_in, api.Request("POST", "/v1/customers", body=body, headers=KEY))
    assert answer.status in (200, 400)
    lived_in.violations.clear()


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.text(alphabet="abcxyz 0é", min_size=1, max_size=8),
        lambda inner: st.dictionaries(st.text(alphabet="abc_0", min_size=1, max_size=5), inner, min_size=1, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict))
)
def test_forms_are_read_as_they_were_written(form: Any) -> None:
    assert forms.parse(urllib.parse.urlencode(encode(form))) == form
