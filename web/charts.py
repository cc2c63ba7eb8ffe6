"""The geometry of the charts: shapes in a 0-100 by 0-100 box that an SVG stretches; no text, which must not stretch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP_SHARE = 0.28
LEAST_HEIGHT = 1.5


class Bar(NamedTuple):
    """One bar of a chart, in percent of its box."""

    x: float
    y: float
    width: float
    height: float


class Segment(NamedTuple):
    """One piece of a meter, in percent of its length."""

    x: float
    width: float


def bars(values: Sequence[int], top: int | None = None) -> list[Bar]:
    """Return one bar per value, the highest (or `top`) filling the box; a small value stays visible, zero is flat."""
    if not values:
        return []
    highest = max(*values, top or 0, 1)
    slot = 100 / len(values)
    width = slot * (1 - GAP_SHARE)
    heights = [max(LEAST_HEIGHT, 100 * v / highest) if v > 0 else 0.0 for v in values]
    return [
        Bar(round(i * slot + (slot - width) / 2, 3), round(100 - h, 3), round(width, 3), round(h, 3))
        for i, h in enumerate(heights)
    ]


def area(values: Sequence[int], top: int | None = None) -> tuple[str, str]:
    """Return the line through the values and the closed area under it, as SVG path data."""
    if not values:
        return "", ""
    highest = max(*values, top or 0, 1)
    step = 100 / max(len(values) - 1, 1)
    points = [(round(i * step, 3), round(100 - 100 * v / highest, 3)) for i, v in enumerate(values)]
    line = "M" + " L".join(f"{x} {y}" for x, y in points)
    return line, f"{line} L{points[-1][0]} 100 L0 100 Z"


def segments(parts: Sequence[int], whole: int | None = None) -> list[Segment]:
    """Return the parts laid end to end along a meter whose full length is `whole`, or their sum."""
    total = max(whole or 0, sum(parts), 1)
    laid: list[Segment] = []
    start = 0.0
    for part in parts:
        width = 100 * part / total
        laid.append(Segment(round(start, 3), round(width, 3)))
        start += width
    return laid
