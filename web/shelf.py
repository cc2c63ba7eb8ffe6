"""A bounded store in the process: when there is no room, what nobody has asked for the longest makes way."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """Keeps the `room` things that were asked for last."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._things: dict[Hashable, Thing] = {}
        self._one_at_a_time = threading.Lock()

    def __len__(self) -> int:
        return len(self._things)

    def find(self, key: Hashable) -> Thing | None:
        """Return what was kept under a key that equals this one."""
        with self._one_at_a_time:
            thing = self._things.pop(key, None)
            if thing is not None:
                self._things[key] = thing  # the last to be asked for
        return thing

    def keep(self, key: Hashable, thing: Thing) -> None:
        """Keep a thing; others go if they must."""
        with self._one_at_a_time:
            self._things[key] = thing
            while len(self._things) > self.room:
                del self._things[next(iter(self._things))]

    def clear(self) -> None:
        """Forget everything."""
        with self._one_at_a_time:
            self._things.clear()
