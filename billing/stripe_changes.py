"""What can differ between the catalogue and Stripe, as facts to show and to act on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Action(StrEnum):
    """What has to be done to an object at Stripe."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    ARCHIVE = "archive"


class Kind(StrEnum):
    """The objects that a catalogue becomes at Stripe, in the order in which they need each other.

    An include is a feature's place in a product.
    """

    METER = "meter"
    PRODUCT = "product"
    FEATURE = "feature"
    INCLUDE = "include"
    PRICE = "price"
    PORTAL = "portal"
    PROMOTION = "promotion"


@dataclass(frozen=True)
class Change:
    """One difference between the catalogue and Stripe: `detail` says it in words, `params` is what would be sent."""

    action: Action
    kind: Kind
    name: str
    detail: str
    stripe_id: str = ""
    params: Json = field(default_factory=dict, repr=False)
