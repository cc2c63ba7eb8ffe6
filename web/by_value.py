"""What a page shows as plain values that can be compared: two are equal only if the page would be the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from billing.catalog import Pack, Plan
from extensions import Base

# Equal means the same words on the page; not so for 1, 1.0 and True, which stand beside their types.
PLAIN = frozenset({str, int, type(None), date, datetime})
# What is sold is known by its key, for the catalogue itself is in the key of every piece (web/fragments.py).
SOLD = (Plan, Pack)

Reader = Callable[[Any], Hashable]


def of(thing: Any) -> Hashable:
    """Return everything that a page could say of a thing: rows by their columns, objects by their fields.

    Raises TypeError for what may lead on to other things, which would not be told apart: a row with relationships, an
    object that is no dataclass. Give the page what it shows of it instead.
    """
    kind = type(thing)
    if kind in PLAIN:
        return thing  # type: ignore[no-any-return]
    if kind not in _readers:
        _readers[kind] = _reader(kind)
    return _readers[kind](thing)


# How to read each class that a page has shown.
_readers: dict[type, Reader] = {}


def _reader(kind: type) -> Reader:
    if issubclass(kind, type):
        return _itself
    if issubclass(kind, (bool, float, Decimal, Enum, str)):
        return lambda one: (kind, str(one))
    if issubclass(kind, (list, tuple)):
        return lambda many: (kind, *[one if type(one) in PLAIN else of(one) for one in many])
    if issubclass(kind, (set, frozenset)):
        return lambda many: frozenset([of(one) for one in many])
    if issubclass(kind, Mapping):
        return lambda by_name: (kind, *[(of(name), of(one)) for name, one in by_name.items()])
    if issubclass(kind, SOLD):
        return lambda sold: (kind, sold.key)
    return _of_attributes(kind, _attributes(kind))


def _itself(a_class: Hashable) -> Hashable:
    return a_class


def _of_attributes(kind: type, names: tuple[str, ...]) -> Reader:
    if len(names) < 2:  # attrgetter returns no tuple then
        return lambda thing: (kind, *[of(getattr(thing, name)) for name in names])
    read = attrgetter(*names)
    return lambda thing: (kind, *[one if type(one) in PLAIN else of(one) for one in read(thing)])


def _attributes(kind: type) -> tuple[str, ...]:
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if issubclass(kind, Base):
        mapper = sa.inspect(kind)
        if not mapper.relationships:
            return tuple(column.key for column in mapper.column_attrs)
    raise TypeError(f"{kind.__name__} cannot be told by its value: give the page what it shows of it")
