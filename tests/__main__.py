"""Run the suite on SQLite, in a browser, and again on PostgreSQL; say in one line what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import databases

PYTEST = (sys.executable, "-m", "pytest")
NOTHING_COLLECTED = 5


@dataclass(frozen=True)
class Part:
    """A part of the suite: what it is called, which tests it takes, and on which server."""

    title: str
    options: Sequence[str]
    settings: dict[str, str] = field(default_factory=dict)


def main(arguments: list[str]) -> int:
    """Return 0 when every part passed; with CI set, a missing PostgreSQL is a failure.

    The parts go on beside each other, because most of the time each waits for a disk, a browser or a server. The first
    one is seen at work, the others' output follows.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TEST_DATABASE_URL"}
    server = databases.find_postgresql()
    parts = [
        Part("The suite on SQLite", ("-m", "not browser")),
        # On a busy machine a browser is late now and then. What fails is tried once more, and the summary names it.
        Part("The suite in a browser", ("-m", "browser", "-p", "no:cacheprovider", "--reruns", "1", "-raR")),
    ]
    if server:
        again = ("-m", "not browser", "-p", "no:cacheprovider")
        parts.append(Part("The suite on PostgreSQL", again, {"TEST_DATABASE_URL": server}))
    statuses = _run(parts, arguments, environment)
    if server is None:
        print("\nLeft out: the suite on PostgreSQL (no TEST_DATABASE_URL, no local server).")  # noqa: T201
        statuses.append(1 if os.environ.get("CI") else 0)
    if set(statuses) == {NOTHING_COLLECTED}:
        return NOTHING_COLLECTED
    # Of some tests by name, not every part has any.
    return max(0 if arguments and status == NOTHING_COLLECTED else status for status in statuses)


def _run(parts: Sequence[Part], arguments: list[str], environment: dict[str, str]) -> list[int]:
    """Run the parts beside each other and return their exit statuses."""
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        said = [Path(folder) / part.title for part in parts]
        running = [
            _start(part, arguments, environment, output if number else None)
            for number, (part, output) in enumerate(zip(parts, said, strict=True))
        ]
        statuses = []
        for part, process, output in zip(parts, running, said, strict=True):
            print(f"\n{part.title}", flush=True)  # noqa: T201
            statuses.append(process.wait())
            if output.exists():
                print(output.read_text(), flush=True)  # noqa: T201
        return statuses


def _start(
    part: Part, arguments: list[str], environment: dict[str, str], output: Path | None
) -> subprocess.Popen[bytes]:
    command, settings = [*PYTEST, *arguments, *part.options], {**environment, **part.settings}
    if output is None:
        return subprocess.Popen(command, env=settings)
    with output.open("wb") as kept:
        return subprocess.Popen(command, env=settings, stdout=kept, stderr=subprocess.STDOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
