"""Run the suite on SQLite, then what touches the database again on PostgreSQL; say in one line what was left out."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import databases

# Nothing in these touches the app's database, so a second run could not find anything new.
DATABASE_FREE = ("tests/sandbox", "tests/checker")


def main(arguments: list[str]) -> int:
    """Return 0 when every run passed; with CI set, a missing PostgreSQL is a failure."""
    environment = {k: v for k, v in os.environ.items() if k != "TEST_DATABASE_URL"}
    status = _pytest(arguments, environment, "SQLite")
    server = databases.find_postgresql()
    if server is None:
        print("\nLeft out: the suite on PostgreSQL (no TEST_DATABASE_URL, no local server).")  # noqa: T201
        return 1 if os.environ.get("CI") else status
    ignored = [f"--ignore={path}" for path in DATABASE_FREE]
    again = _pytest(
        [*arguments, *ignored, "-m", "not browser"], {**environment, "TEST_DATABASE_URL": server}, "PostgreSQL"
    )
    return status or again


def _pytest(arguments: list[str], environment: dict[str, str], name: str) -> int:
    print(f"\nThe suite on {name}", flush=True)  # noqa: T201
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
