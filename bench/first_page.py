"""What a first visit downloads: the front page with every style, script and picture that it names, uncompressed."""

from __future__ import annotations

import re
import tempfile
from typing import Any

from bench import servers

GOAL_BYTES = 60_000


def run(*, quick: bool) -> list[dict[str, Any]]:
    """Count the bytes of the front page and of the pricing page, all told."""
    with tempfile.TemporaryDirectory() as folder:
        client = servers.migrated_app(f"sqlite:///{folder}/bench.db").test_client()
        return [_count(client, path) for path in ("/", "/pricing")]


def _count(client: Any, path: str) -> dict[str, Any]:
    page = client.get(path, base_url="http://127.0.0.1").get_data()
    named = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', page))
    total = len(page) + sum(len(client.get(p.decode(), base_url="http://127.0.0.1").get_data()) for p in named)
    return {
        "name": f"first visit to {path}",
        "ours": total,
        "bare": GOAL_BYTES,
        "ratio": total / GOAL_BYTES,
        "unit": "bytes",
        "note": f"HTML and {len(named)} files; beside it the goal, so less than 1 is good",
    }
