"""A small load generator: a few connections that are kept alive, requests made beforehand, statuses counted."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.servers import Server

CONNECTIONS = 4


@dataclass(frozen=True)
class Rate:
    """What a round brought: answers a second, the server's processor time for each, and how many of each status."""

    per_second: float
    cpu_us: float
    statuses: Counter[int]


def request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def measure(server: Server, requests: Iterator[bytes], *, seconds: float) -> Rate:
    """Send requests over a few connections for some seconds."""
    lock, statuses, stop = threading.Lock(), Counter[int](), threading.Event()

    def work() -> None:
        mine: Counter[int] = Counter()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            stream = connection.makefile("rb")
            while not stop.is_set():
                with lock:
                    data = next(requests)
                connection.sendall(data)
                mine[_status(stream)] += 1
        with lock:
            statuses.update(mine)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    started, cpu_before = time.perf_counter(), server.cpu_seconds()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    count, passed = sum(statuses.values()), time.perf_counter() - started
    return Rate(count / passed, (server.cpu_seconds() - cpu_before) / max(count, 1) * 1e6, statuses)


@dataclass(frozen=True)
class Side:
    """One side of a comparison over all rounds: medians of its rates and of its processor time for each answer."""

    per_second: float
    cpu_us: float
    rounds: tuple[Rate, ...]


def interleaved(rounds: int, *sides: Callable[[], Rate]) -> list[Side]:
    """Run the sides in turn, round after round; raises on any status but 200.

    Each goes first as often as the others, for whoever comes after the first finds the machine warmer.
    """
    rates: list[list[Rate]] = [[] for _ in sides]
    for round_ in range(rounds):
        for number in range(len(sides)):
            which = (round_ + number) % len(sides)
            rate = sides[which]()
            if set(rate.statuses) != {200}:
                raise RuntimeError(f"answers other than 200: {dict(rate.statuses)}")
            rates[which].append(rate)
    return [_summary(mine) for mine in rates]


def row(name: str, ours: Side, bare: Side, *, unit: str, note: str) -> dict[str, Any]:
    """Return a line of the table.

    Its ratios are the medians of the rounds' own: what else the machine does meanwhile hits both sides of a round
    alike. That of processor time says the same of a machine that is busy, as far as it says anything.
    """
    turns = list(zip(ours.rounds, bare.rounds, strict=True))
    return {
        "name": name,
        "ours": ours.per_second,
        "bare": bare.per_second,
        "ratio": statistics.median(mine.per_second / its.per_second for mine, its in turns),
        "cpu_ratio": statistics.median(its.cpu_us / mine.cpu_us for mine, its in turns),
        "unit": unit,
        "note": f"{note}; processor time each: {ours.cpu_us:,.0f} us, bare {bare.cpu_us:,.0f} us",
    }


def _summary(rates: list[Rate]) -> Side:
    per_second, cpu_us = (statistics.median(getattr(rate, name) for rate in rates) for name in ("per_second", "cpu_us"))
    return Side(per_second, cpu_us, tuple(rates))


def _status(stream) -> int:  # type: ignore[no-untyped-def]
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    stream.read(length)
    return status
