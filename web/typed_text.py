"""Text as people type it, made fit for lists, subject lines and pages that others read."""

from __future__ import annotations

# Signs that turn the reading direction of what follows, in whatever list or mail it lands.
TURNS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def one_line(text: str | None) -> str:
    """Return a text as one line without needless spaces; empty for nothing."""
    return " ".join((text or "").translate(TURNS).split())


def as_written(text: str | None) -> str:
    """Return a text with its lines and spaces, without those around it; empty for nothing."""
    return (text or "").translate(TURNS).replace("\r\n", "\n").strip()
