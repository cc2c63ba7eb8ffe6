"""What happens by itself when its time comes: a table of named tasks and the queue that orders them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stripe_sandbox.store import Store
    from stripe_sandbox.world import World

Document = dict[str, Any]
Task = Callable[["World", Document], None]
TASKS: dict[str, Task] = {}


def task(name: str) -> Callable[[Task], Task]:
    """Register a function to run when an appointment made with `world.schedule(name, document, at)` falls due."""

    def register(function: Task) -> Task:
        TASKS[name] = function
        return function

    return register


def next_due(store: Store, at: float, *, clock: str = "") -> Any:
    """Return the earliest appointment up to a time, on the sandbox's clock or a test clock's, or None."""
    return store.row("SELECT * FROM tasks WHERE clock = ? AND due_at <= ? ORDER BY due_at, seq LIMIT 1", clock, at)


def run(world: World, due: Any) -> None:
    """Cross an appointment off and do what it says, in one transaction."""
    crossed_off = world.store.execute("DELETE FROM tasks WHERE seq = ? AND due_at = ?", due["seq"], due["due_at"])
    if crossed_off.rowcount == 0:
        return  # Another thread was quicker, or the appointment has been moved.
    document = world.find_any(due["object_id"])
    if document is not None:
        TASKS[due["name"]](world, document)
