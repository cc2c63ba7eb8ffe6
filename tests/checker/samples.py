"""CVs and adverts as people write them; every person and employer in them is invented."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

HERE = Path(__file__).parent


def cv(name: str) -> str:
    """Return a sample CV."""
    return (HERE / "cvs" / f"{name}.txt").read_text(encoding="utf-8")


def advert(name: str) -> str:
    """Return a sample advert."""
    return (HERE / "adverts" / f"{name}.txt").read_text(encoding="utf-8")


def words(count: int) -> str:
    """Return a text of this many words."""
    return " ".join(islice(cycle(["Repaired", "bicycles", "for", "a", "shop"]), count))
