"""How the doctor speaks: a check asks one question, a finding is one thing that is wrong, with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

# What is wrong - with the rows that it is about -, and what to do.
Told = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and its remedy; `is_answered` is False when the question could not be asked."""

    check: str
    problem: str
    remedy: str
    invariants: tuple[str, ...] = ()
    is_answered: bool = True


@dataclass(frozen=True)
class Check:
    """One question.

    `invariants` are the numbers of docs/billing.md that it holds, `asks_stripe` tells whether it needs the network.
    """

    name: str
    find: Callable[[Session], Iterable[Told]]
    invariants: tuple[str, ...] = ()
    asks_stripe: bool = False
