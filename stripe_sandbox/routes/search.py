"""Search: Stripe's query language over the resources that have it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stripe_sandbox import errors
from stripe_sandbox.pagination import check_limit
from stripe_sandbox.routes import route
from stripe_sandbox.world import World

Document = dict[str, Any]
CLAUSE = re.compile(
    r"""\s*(?P<negated>-)?(?P<field>[a-z_.0-9]+)(?:\[(?P<quote>["'])(?P<key>.*?)(?P=quote)\])?"""
    r"""\s*(?P<operator>:|~|>=|<=|>|<)\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s'"]+))\s*"""
)
JOINT = re.compile(r"(AND|OR)(?=\s)")
FIELDS = {
    "charge": "amount billing_details.address.postal_code created currency customer disputed metadata "
    "payment_method_details.card.brand payment_method_details.card.last4 payment_method_details.card.exp_month "
    "payment_method_details.card.exp_year payment_method_details.card.fingerprint refunded status",
    "customer": "created email metadata name phone",
    "invoice": "created currency customer last_finalization_error_code last_finalization_error_type metadata number "
    "receipt_number subscription total status",
    "payment_intent": "amount created currency customer metadata status",
    "price": "active currency lookup_key metadata product type",
    "product": "active description metadata name shippable url",
    "subscription": "canceled_at created metadata status",
}
SUBSTRINGS = ("email", "name", "description", "phone")


@dataclass
class Clause:
    field: str
    key: str | None
    operator: str
    value: str
    negated: bool

    def matches(self, document: Document) -> bool:
        return self._found(document) is not self.negated

    def _found(self, document: Document) -> bool:
        has = _value(document, self.field)
        if self.key is not None:
            has = (has or {}).get(self.key)
        if self.value == "null":
            return has is None
        if has is None:
            return False
        if isinstance(has, bool):
            return self.value == ("true" if has else "false")
        if isinstance(has, int):
            return _compare(has, self.operator, self.value)
        return self._holds(str(has).lower(), self.value.lower())

    def _holds(self, has: str, wanted: str) -> bool:
        if self.operator == "~":
            return wanted in has
        # On words, ":" finds whole words within the text; everywhere else it wants the exact value.
        return has == wanted or (self.field in ("name", "description") and wanted in re.split(r"\W+", has))


def _value(document: Document, field: str) -> Any:
    if field == "subscription":
        field = "parent.subscription_details.subscription"
    value: Any = document
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _compare(has: int, operator: str, wanted: str) -> bool:
    if not re.fullmatch(r"-?[0-9]{1,15}", wanted):
        raise errors.invalid(f"We were unable to parse your search query: `{wanted}` is not a number.", "query")
    number = int(wanted)
    return {":": has == number, ">": has > number, ">=": has >= number, "<": has < number, "<=": has <= number}.get(
        operator, False
    )


def parse(query: str, kind: str) -> Callable[[Document], bool]:
    """Return the predicate that a query means; raises Stripe's error when it cannot be read."""
    clauses, joints, rest = [], set(), query
    while True:
        match = CLAUSE.match(rest)
        if match is None:
            raise errors.invalid(
                'We were unable to parse your search query. Try using the format `metadata["key"]:"value"` to query '
                'for metadata or key:"value" to query for other fields.',
                "query",
            )
        clauses.append(_clause(match, kind))
        rest = rest[match.end() :]
        if not rest:
            break
        joint = JOINT.match(rest)
        if joint is None:
            raise errors.invalid("Queries are joined by AND or by OR.", "query")
        joints.add(joint.group(1))
        rest = rest[joint.end() :]
    if len(joints) > 1:
        raise errors.invalid("You cannot combine AND and OR in the same query.", "query")
    if len(clauses) > 10:
        raise errors.invalid("A query can have at most 10 clauses.", "query")
    combine = any if joints == {"OR"} else all
    return lambda document: combine(clause.matches(document) for clause in clauses)


def _clause(match: re.Match[str], kind: str) -> Clause:
    name, operator = match["field"], match["operator"]
    if name not in FIELDS[kind].split():
        raise errors.invalid(f"Field `{name}` is an unsupported search field for resource `{kind}s`.", "query")
    if operator == "~" and name not in SUBSTRINGS and name != "metadata":
        raise errors.invalid(f"Field `{name}` does not support substring matching.", "query")
    quoted = match["double"] if match["double"] is not None else match["single"]
    value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["bare"]
    return Clause(name, match["key"], operator, value, bool(match["negated"]))


def _search(world: World, kind: str, params: Document) -> Document:
    limit = check_limit(params)
    matches = parse(params["query"], kind)
    start = _start(params.get("page"))
    found = [document for document in world.select(kind) if matches(world.render(document))]
    shown = found[start : start + limit]
    has_more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": shown,
        "has_more": has_more,
        "next_page": str(start + limit) if has_more else None,
        "url": f"/v1/{kind}s/search",
    }


def _start(given: str | None) -> int:
    if given is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", given):
        raise errors.invalid("Invalid `page`: use the `next_page` of the page before.", "page")
    return int(given)


def _register(kind: str) -> None:
    @route("GET", f"/v1/{kind}s/search")
    def search(world: World, params: Document) -> Document:
        return _search(world, kind, params)


for _kind in FIELDS:
    _register(_kind)
