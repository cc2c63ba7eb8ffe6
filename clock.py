"""The only place time comes from, so that tests, demos and proofs can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_travel = timedelta(0)
_followed: Path | None = None


def now() -> datetime:
    """Return the present moment as an aware UTC datetime."""
    return datetime.fromtimestamp(time.time(), UTC) + _travel + _followed_offset()


def travel(by: timedelta) -> None:
    """Move the clock of this process by an offset; offsets add up."""
    global _travel  # noqa: PLW0603 - the offset belongs to the process, as time does
    _travel += by


def reset() -> None:
    """Bring the clock of this process back to the wall's time."""
    global _travel  # noqa: PLW0603
    _travel = timedelta(0)


def follow(path: Path | None) -> None:
    """Add the number of seconds written in a file, so that the app ages with a local Stripe that travels in time.

    The file may be missing; None stops following.
    """
    global _followed  # noqa: PLW0603
    _followed = path


def _followed_offset() -> timedelta:
    if _followed is None:
        return timedelta(0)
    try:
        return timedelta(seconds=float(_followed.read_text()))
    except (OSError, ValueError):
        return timedelta(0)
