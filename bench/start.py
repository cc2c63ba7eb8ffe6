"""What a process costs: the time to build the app and the memory of a worker, beside its libraries alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from bench import servers

LIBRARIES = (
    "import flask, flask_login, flask_migrate, flask_security, flask_sqlalchemy, flask_wtf, flask_limiter, "
    "stripe, structlog"
)
APP = "import app; app.create_app()"
# What the process holds at the end; ru_maxrss would begin with the parent's.
MEASURE = (
    "import time, re; t = time.perf_counter(); {}; seconds = time.perf_counter() - t; "
    "print(seconds, re.search('VmRSS: *([0-9]+)', open('/proc/self/status').read().replace(chr(9), ' ')).group(1))"
)


def run(*, quick: bool) -> list[dict[str, Any]]:
    """Start both in turn, in fresh processes, and compare medians."""
    rounds = 3 if quick else 9
    with tempfile.TemporaryDirectory() as folder:
        servers.migrated_app(f"sqlite:///{folder}/bench.db")
        environment = {**os.environ, **servers.settings(f"sqlite:///{folder}/bench.db")}
        samples = [[_start(code, environment) for code in (APP, LIBRARIES)] for _ in range(rounds)]
    seconds, kilobytes = ([statistics.median(s[side][i] for s in samples) for side in (0, 1)] for i in (0, 1))
    note = "beside the libraries it is built on, imported alone"
    return [
        {
            "name": "start",
            "ours": seconds[0],
            "bare": seconds[1],
            "ratio": seconds[0] / seconds[1],
            "unit": "s",
            "note": note,
        },
        {
            "name": "memory of a worker",
            "ours": kilobytes[0] / 1024,
            "bare": kilobytes[1] / 1024,
            "ratio": kilobytes[0] / kilobytes[1],
            "unit": "MiB",
            "note": note,
        },
    ]


def _start(code: str, environment: dict[str, str]) -> tuple[float, float]:
    command = [sys.executable, "-c", MEASURE.format(code)]
    done = subprocess.run(command, env=environment, cwd=servers.ROOT, capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stdout.split()[-2:]
    return float(seconds), float(kilobytes)
