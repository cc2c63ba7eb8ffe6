"""The sandbox's own time: wall time plus an offset that people and tests move."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Clock:
    """Seconds since the epoch as the sandbox sees them.

    `path` names a file that always holds the offset as a plain number of seconds, so that another program can follow
    the sandbox's time travel by adding it to its own clock. A frozen clock stands still until it is moved.
    """

    def __init__(self, offset: float = 0.0, path: str | os.PathLike[str] | None = None) -> None:
        self.offset = offset
        self.path = Path(path) if path else None
        self._frozen_at: float | None = None
        self._write()

    def now(self) -> float:
        return (time.time() if self._frozen_at is None else self._frozen_at) + self.offset

    def freeze(self, at: float | None = None) -> None:
        """Stand still, at a given time or now; time then moves only by `move_to` and `advance`."""
        self._frozen_at = time.time()
        if at is not None:
            self.move_to(at)

    def unfreeze(self) -> None:
        self._frozen_at = None
        self._write()

    def move_to(self, at: float) -> None:
        self.set_offset(self.offset + (at - self.now()))

    def set_offset(self, seconds: float) -> None:
        self.offset = seconds
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text(f"{self.offset:.3f}\n", encoding="ascii")
        beside.replace(self.path)
