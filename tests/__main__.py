"""Run the suite on SQLite, then what touches the database again on PostgreSQL; say in one line what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import IO

from tests import databases

# Nothing in these touches the app's database, so a second run could not find anything new.
DATABASE_FREE = ("tests/sandbox", "tests/checker")
PYTEST = [sys.executable, "-m", "pytest"]


def main(arguments: list[str]) -> int:
    """Return 0 when every run passed; with CI set, a missing PostgreSQL is a failure.

    The two runs go on side by side, each on a core; the second one's output follows the first one's.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TEST_DATABASE_URL"}
    server = databases.find_postgresql()
    with tempfile.TemporaryFile() as kept:
        again = _start_on(server, arguments, environment, kept) if server else None
        print("\nThe suite on SQLite", flush=True)  # noqa: T201
        status = subprocess.run([*PYTEST, *arguments], env=environment, check=False).returncode
        if again is None:
            print("\nLeft out: the suite on PostgreSQL (no TEST_DATABASE_URL, no local server).")  # noqa: T201
            return 1 if os.environ.get("CI") else status
        second = again.wait()
        kept.seek(0)
        print("\nThe suite on PostgreSQL", flush=True)  # noqa: T201
        sys.stdout.write(kept.read().decode())
    return status or second


def _start_on(
    server: str, arguments: list[str], environment: dict[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    ignored = [f"--ignore={path}" for path in DATABASE_FREE]
    return subprocess.Popen(
        [*PYTEST, *arguments, *ignored, "-m", "not browser", "-p", "no:cacheprovider"],
        env={**environment, "TEST_DATABASE_URL": server},
        stdout=output,
        stderr=subprocess.STDOUT,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
