"""A small load generator: a few connections that are kept alive, requests made beforehand, statuses counted."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CONNECTIONS = 4


@dataclass(frozen=True)
class Rate:
    """What a round brought: answers a second, and how many of each status."""

    per_second: float
    statuses: Counter[int]


def request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def measure(port: int, requests: Iterator[bytes], *, seconds: float) -> Rate:
    """Send requests over a few connections for some seconds."""
    lock, statuses, stop = threading.Lock(), Counter[int](), threading.Event()

    def work() -> None:
        mine: Counter[int] = Counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            stream = connection.makefile("rb")
            while not stop.is_set():
                with lock:
                    data = next(requests)
                connection.sendall(data)
                mine[_status(stream)] += 1
        with lock:
            statuses.update(mine)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return Rate(sum(statuses.values()) / (time.perf_counter() - started), statuses)


def interleaved(rounds: int, *sides: Callable[[], Rate]) -> list[float]:
    """Run the sides in turn, round after round, and return each side's median rate; raises on any status but 200."""
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for mine, side in zip(rates, sides, strict=True):
            rate = side()
            if set(rate.statuses) != {200}:
                raise RuntimeError(f"answers other than 200: {dict(rate.statuses)}")
            mine.append(rate.per_second)
    return [statistics.median(mine) for mine in rates]


def _status(stream) -> int:  # type: ignore[no-untyped-def]
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    stream.read(length)
    return status
