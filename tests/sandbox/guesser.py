"""Making up bad requests: from the contract, or from good ones that are spoilt a little."""

from __future__ import annotations

import json
import random
import urllib.parse
import zlib
from collections.abc import Mapping
from typing import Any

from stripe_sandbox import api, forms, routes, testing

KEY = {"authorization": "Bearer sk_test_sandbox"}
STRANGE = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "100",
    "9" * 20,
    "1.5",
    "true",
    "false",
    "null",
    "é\u2028",
    "x" * 6000,
    "now",
    "NaN",
]
STRANGE += ["usd", "USD", "xx", "a@b.c", "https://x.example/", "javascript:alert(1)", "\x00", "[]", "{}", "inf"]
SALT = 0  # Another number makes up other requests.
FINE = (200, 400, 402, 404, 409)
ERRORS = ("invalid_request_error", "card_error", "idempotency_error")


class Guesser:
    """Makes up requests for the sandbox as it is now: mostly of the right shape, with ids that exist."""

    def __init__(self, sandbox: testing.Sandbox, seed: int) -> None:
        self.sandbox, self.chance = sandbox, random.Random(seed)  # noqa: S311
        self.by_kind: dict[str, list[str]] = {}
        for row in sandbox.store.rows("SELECT id, kind FROM objects ORDER BY seq DESC LIMIT 300"):
            self.by_kind.setdefault(row["kind"], []).append(row["id"])
        self.ids = [one for found in self.by_kind.values() for one in found] or ["nobody"]

    def path(self, pattern: str) -> str:
        """Return a path with some id in each gap."""
        words = pattern.split("/")
        for position, word in enumerate(words):
            if word == "{}":
                words[position] = urllib.parse.quote(self._some_id(words[position - 1]), safe="")
        return "/".join(words)

    def _some_id(self, hint: str) -> str:
        fitting = [one for kind, found in self.by_kind.items() if hint.rstrip("s") in kind for one in found]
        return self.chance.choice(fitting if fitting and self.chance.random() < 0.85 else [*self.ids, "nobody", "é"])

    def made_up(self, route: str) -> dict[str, Any]:
        """Return a form made up from the contract of a route."""
        form = self._value(self.sandbox.contract.routes.get(route, {"params": {}})["params"], 0)
        return form if isinstance(form, dict) else {}

    def spoilt(self, form: Any) -> Any:
        """Return a good form with parts left out and parts made strange."""
        if isinstance(form, dict):
            return {name: self.spoilt(item) for name, item in form.items() if self.chance.random() > 0.06}
        return form if self.chance.random() > 0.07 else self.chance.choice([*STRANGE, *self.ids, {"x": "y"}])

    def _value(self, schema: dict[str, Any], depth: int) -> Any:
        while "$ref" in schema:
            schema = self.sandbox.contract.defs[schema["$ref"]]
        if self.chance.random() < 0.04:
            return self.chance.choice([*STRANGE, {"x": "y"}])
        if "anyOf" in schema:
            return self._value(self.chance.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return str(self.chance.choice(schema["enum"])).replace("True", "true")
        kind = schema.get("type")
        if kind == "object" and "properties" in schema:
            return self._object(schema, depth)
        if kind == "object":
            return {self.chance.choice(["a", "b", "k" * 41]): self.chance.choice(STRANGE)}
        if kind == "array":
            return {str(n): self._value(schema["items"], depth + 1) for n in range(self.chance.randint(0, 2))}
        return self._scalar(kind)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        result = {}
        for name, part in schema["properties"].items():
            likely = 0.95 if name in schema["required"] else (0.25 if depth == 0 else 0.15)
            if depth < 5 and self.chance.random() < likely:
                known = self.by_kind.get(name.removeprefix("default_"))
                result[name] = self.chance.choice(known) if known else self._value(part, depth + 1)
        return result

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
    """Return a form's pairs as Stripe's encoding names them."""
    if not isinstance(form, dict):
        return [(prefix, str(form))]
    return [pair for key, item in form.items() for pair in encode(item, f"{prefix}[{key}]" if prefix else key)]


def send_and_undo(sandbox: testing.Sandbox, method: str, path: str, form: dict[str, Any]) -> int:
    """Send a request, hold its answer to Stripe's manners, and undo whatever it did; returns the status."""
    text = urllib.parse.urlencode(encode(form)).encode()
    sent = api.Request(method, path, b"" if method == "POST" else text, text if method == "POST" else b"", KEY)
    with sandbox.store.rehearsal():
        answer = api.handle(sandbox, sent)
    told = f"{method} {path} {text.decode()[:1500]}"
    assert answer.status in FINE, f"{answer.status}: {told}"
    if answer.status != 200:
        error = json.loads(answer.body)["error"]
        assert error["type"] in ERRORS, told
        assert error["message"], told
    departures = [one for one in sandbox.violations if one.startswith(("answer", "event"))]
    sandbox.violations.clear()
    assert departures == [], told
    return answer.status


class SpoilingClient(testing.HTTPClient):
    """Sends spoilt and made-up variants before each request of the SDK and undoes them; then the request itself."""

    def __init__(self, sandbox: testing.Sandbox, variants: int, statuses: dict[str, set[int]]) -> None:
        super().__init__(sandbox)
        self.sandbox, self.variants, self.statuses = sandbox, variants, statuses

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **more: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        parts = urllib.parse.urlsplit(url)
        found = routes.find(method.upper(), parts.path)
        good = forms.parse(post_data or parts.query or "")
        for seed in range(self.variants if found else 0):
            route = found[0].key if found else ""
            guesser = Guesser(self.sandbox, zlib.crc32(f"{route} {seed} {SALT}".encode()))
            made_up = guesser.made_up(route)
            extra = {name: value for name, value in made_up.items() if guesser.chance.random() < 0.15}
            form = made_up if seed % 4 == 3 else {**guesser.spoilt(good), **extra}
            path = guesser.path(route.split(" ", 1)[1]) if seed % 5 == 4 else parts.path
            status = send_and_undo(self.sandbox, method.upper(), path, form)
            self.statuses.setdefault(route, set()).add(status)
        return super().request(method, url, headers, post_data, **more)
