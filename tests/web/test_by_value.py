"""What a page is kept by tells apart whatever would look different, and refuses what it cannot see through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import combinations
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from markupsafe import Markup

from accounts.models import Account, User
from billing.models import Subscription
from ledger.statement import DayUsage
from web import by_value
from web.shelf import Shelf

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Colour(StrEnum):
    """Something that equals its text."""

    RED = "red"


@dataclass
class Point:
    """Something with fields."""

    x: object
    y: object = None


@dataclass
class Spot(Point):
    """The same fields, another class."""


@dataclass
class Dot:
    """Something with one field."""

    x: object


ALIKE = [
    *(1, 1.0, True, Decimal("1.0"), Decimal("1.00"), "1", None, 0, ""),
    *("<b>", Markup("<b>"), "red", Colour.RED),
    *([1, 2], (1, 2), [[1], 2], DayUsage(date(2026, 1, 1), 1), (date(2026, 1, 1), 1)),
    *({"a": 1}, {"a": True}, {"b": 1}, {1}, {2}),
    *(Point(1), Point(2), Spot(1), Dot(1), Dot("1"), Point([1]), Point(1, [1])),
    *(NOON, NOON.date(), Colour, Point),
]


def test_what_looks_different_is_told_apart() -> None:
    for one, other in combinations(ALIKE, 2):
        assert by_value.of(one) != by_value.of(other), (one, other)


def test_what_is_equal_is_the_same_key() -> None:
    for make in (
        lambda: Point([1, {"a": Colour.RED}], NOON),
        lambda: Dot({"b": [Dot(None)]}),
        lambda: [DayUsage(NOON, 1)],
    ):
        assert hash(by_value.of(make())) == hash(by_value.of(make()))
        assert by_value.of(make()) == by_value.of(make())


def test_a_row_is_all_of_its_columns() -> None:
    def row(**facts: object) -> Subscription:
        return Subscription(stripe_id="sub_1", **facts)

    columns = [column.key for column in sa.inspect(Subscription).column_attrs if column.key != "stripe_id"]
    keys = [by_value.of(row()), *(by_value.of(row(**{name: "changed"})) for name in columns)]
    assert len(set(keys)) == len(columns) + 1
    assert by_value.of(row()) == by_value.of(row())


@pytest.mark.parametrize("thing", [User(), SimpleNamespace(a=1), object(), [object()], Point(object()), lambda: 1])
def test_what_may_lead_on_to_other_things_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="cannot be told by its value"):
        by_value.of(thing)


def test_a_row_without_relationships_is_taken() -> None:
    assert by_value.of(Account(name="Ann")) != by_value.of(Account(name="Bob"))


def test_what_nobody_asked_for_the_longest_makes_way() -> None:
    shelf = Shelf[str](2)
    shelf.keep("a", "A")
    shelf.keep("b", "B")
    assert shelf.find("a") == "A"
    shelf.keep("c", "C")
    assert [shelf.find(key) for key in ("a", "b", "c")] == ["A", None, "C"]
    assert len(shelf) == 2
    shelf.clear()
    assert len(shelf) == 0
