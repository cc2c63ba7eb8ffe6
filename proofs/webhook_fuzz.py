"""S1: strangers knock at the webhook's door with whatever comes to their mind, and Stripe itself with odd contents.

    python -m proofs.webhook_fuzz --requests 100000 --database sqlite

Raw bytes over sockets to gunicorn: signatures that are absent, cut, old, forged or not even text; bodies that are no
UTF-8, no JSON, too deep, too long or of another length than they say; other methods, chunks, odd headers. A part is
signed with the right secret and has contents that Stripe never sends. Passes with no answer of 500 or above, no row of
anything that was not signed, one row at most for each id that was, and a process that has not grown by 20 MB.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from billing import inbox
from billing.models import StripeEvent
from extensions import db
from proofs import busy_site
from proofs.busy_site import BusySite
from proofs.registry import Outcome, main, proof
from proofs.throwaway import WEBHOOK_SECRET

PATH = "/webhooks/stripe"
SENDERS = 8
MOST_GROWTH_MB = 20
WARM_UP = 400
# Ids of what is never signed with the right secret: none of them may be stored.
FORGED = "evt_forged"
TAKEN, SERVER_ERROR = 200, 500
ODD_TEXTS = ("", " ", "\x00", "\ud800", "é" * 300, "in_" + "x" * 5_000, "in_1\n", "../in_1", "in_1;DROP TABLE", "💳")
ODD_NUMBERS = (0, -1, 2**31, 2**63, 10**400, 1.5, -1e308)
MEMBERS = ("id", "object", "metadata", "customer", "charge", "subscription", "released_subscription", "latest_charge")
TYPES = [*inbox.HANDLED, "something.new"]
NO_EVENTS = (
    *(b"", b"null", b"[]", b"7", b'"evt_1"', b"{", b"{}", b"\xff\xfe", b"NaN", b'{"id":}', b'{"id":"evt_1","id":2}'),
    *(b"[" * 50_000, b'{"a":' * 20_000, '{"id":"évt"}'.encode("utf-16")),
)
# After this header the sender says that nothing more will come, so that nobody waits for it.
HANG_UP = b"Connection: close"


@dataclass(frozen=True)
class Knock:
    """A request as bytes; `words` names its kind."""

    words: str
    raw: bytes


@proof(
    "S1",
    "malformed webhooks that break or enter",
    passes="0 answers of 500 or above, 0 rows of what is not signed, grown by less than 20 MB",
    quick={"requests": 2_000},
    whole={"requests": {"sqlite": 100_000, "postgresql": 20_000}},
)
def measure(engine: str, *, seed: int, requests: int) -> Outcome:
    """Knock so many times."""
    with busy_site.open_site(engine) as site:
        _knock(site, seed, WARM_UP)
        before = _resident_mb(site)
        answers = _knock(site, seed + 1, requests)
        grown = _resident_mb(site) - before
        problems = _judge(answers) + site.trouble()[:5]
    if grown > MOST_GROWTH_MB:
        problems.append(f"the process has grown by {grown:.0f} MB")
    statuses = Counter(status for _, status in answers.elements())
    told = ", ".join(f"{count:,} x {status or 'hung up'}" for status, count in sorted(statuses.items()))
    return Outcome(requests, problems, f"requests of {len(KINDS)} kinds: {told}; grown by {grown:.1f} MB")


def _knock(site: BusySite, seed: int, count: int) -> Counter[tuple[str, int]]:
    """Send so many requests and count the answers by kind and status."""

    def one(number: int) -> Counter[tuple[str, int]]:
        chance = random.Random(f"{seed}:{number}")  # noqa: S311 - which nonsense to send
        found: Counter[tuple[str, int]] = Counter()
        with _Line(site.port) as line:
            for _ in range(number, count, SENDERS):
                knock = chance.choice(KINDS)(chance)
                found[knock.words, line.send(knock.raw)] += 1
        return found

    with ThreadPoolExecutor(SENDERS) as pool:
        return sum(pool.map(one, range(SENDERS)), Counter())


class _Line:
    """A connection that is opened anew when the other side has hung up."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def send(self, raw: bytes) -> int:
        """Send bytes and return the status of the answer, 0 when the server closed without one."""
        for _ in range(2):  # a kept connection may have been closed in the meantime
            is_fresh = self._socket is None
            line = self._socket = self._socket or socket.create_connection(("127.0.0.1", self._port), timeout=60)
            try:
                line.sendall(raw)
                if HANG_UP in raw:
                    line.shutdown(socket.SHUT_WR)
                response = http.client.HTTPResponse(line, method="POST")
                response.begin()
                response.read()
            except (OSError, http.client.HTTPException):
                self._close()
                if is_fresh:
                    return 0
                continue
            if response.will_close:
                self._close()
            return response.status
        return 0

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _judge(answers: Counter[tuple[str, int]]) -> list[str]:
    problems = []
    for (words, status), count in answers.items():
        is_taken = status == TAKEN and not words.startswith("signed")
        if status >= SERVER_ERROR or is_taken:
            problems.append(f"{words}: answered with {status}, {count} times")
    stored = db.session.scalars(select(StripeEvent.stripe_id)).all()
    return problems + [f"{name[:60]} was stored" for name in stored if name.startswith(FORGED)]


def _resident_mb(site: BusySite) -> float:
    """Return what the workers hold in memory."""
    children = Path(f"/proc/{site.pid}/task/{site.pid}/children").read_text().split()
    sizes = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in sizes if line.startswith("VmRSS")) / 1024


def _request(body: bytes, *headers: bytes, method: bytes = b"POST", length: bytes | None = None) -> bytes:
    lines = [method + b" " + PATH.encode() + b" HTTP/1.1", b"Host: 127.0.0.1", *headers]
    lines.append(b"Content-Length: " + (length if length is not None else str(len(body)).encode()))
    return b"\r\n".join([*lines, b"", body])


def _sign(body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> bytes:
    at = int(time.time()) - age
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"Stripe-Signature: t={at},v1={mac}".encode()


def _event(name: str) -> dict[str, Any]:
    thing = {"id": "in_1", "object": "invoice"}
    event = {"id": name, "object": "event", "type": "invoice.paid", "livemode": False, "created": int(time.time())}
    return {**event, "api_version": "2026-10-28.endive", "account": None, "data": {"object": thing}}


def _forged(chance: random.Random) -> bytes:
    return json.dumps(_event(f"{FORGED}_{chance.getrandbits(40):x}")).encode()


def _junk(chance: random.Random, most: int = 200) -> bytes:
    """Return random bytes that do not end a header."""
    return chance.randbytes(chance.randint(1, most)).replace(b"\r", b"").replace(b"\n", b"").replace(b"\x00", b"\x01")


KINDS: list[Callable[[random.Random], Knock]] = []


def kind(words: str) -> Callable[[Callable[[random.Random], bytes]], Callable[[random.Random], bytes]]:
    """Name a kind of request."""

    def keep(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
        KINDS.append(lambda chance: Knock(words, make(chance)))
        return make

    return keep


@kind("no signature")
def _unsigned(chance: random.Random) -> bytes:
    return _request(_forged(chance))


@kind("a signature of random bytes")
def _random_signature(chance: random.Random) -> bytes:
    return _request(_forged(chance), b"Stripe-Signature: " + _junk(chance))


@kind("a signature with parts missing or odd")
def _cut_signature(chance: random.Random) -> bytes:
    body = _forged(chance)
    at, mac = _sign(body).decode().removeprefix("Stripe-Signature: ").split(",")
    code = mac.removeprefix("v1=")
    odd_times = [f"{odd},{mac}" for odd in ("t=", "t=now", "t=-1", "t=1e9", f"t={'9' * 400}")]
    odd_codes = [f"{at},{odd}" for odd in ("", "v1=", f"v0={code}", f"v1={code[:-1]}", f"v1={'é' * 64}")]
    odd = chance.choice([*odd_times, *odd_codes, at, mac, f"{at};{mac}", "=" * 500, "," * 5_000])
    return _request(body, f"Stripe-Signature: {odd}".encode())


@kind("another secret")
def _other_secret(chance: random.Random) -> bytes:
    body = _forged(chance)
    return _request(body, _sign(body, secret=f"whsec_{chance.getrandbits(64):x}"))


@kind("a signature that is too old")
def _old_signature(chance: random.Random) -> bytes:
    body = _forged(chance)
    return _request(body, _sign(body, age=chance.choice([400, 3_600, 10**9])))


@kind("a body changed after signing")
def _changed_body(chance: random.Random) -> bytes:
    body = bytearray(_forged(chance))
    signature = _sign(bytes(body))
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(7)
    return _request(bytes(body), signature)


@kind("another method")
def _other_method(chance: random.Random) -> bytes:
    body = _forged(chance)
    method = chance.choice([b"GET", b"PUT", b"PATCH", b"DELETE", b"TRACE", b"BREW"])
    return _request(body, _sign(body), method=method)


@kind("a length that is not the body's")
def _wrong_length(chance: random.Random) -> bytes:
    body = _forged(chance)
    length = chance.choice([b"-1", b"many", b"1e3", b"10", b"99999", b"99999999999999"])
    return _request(body, HANG_UP, _sign(body[:10]), length=length)


@kind("chunks")
def _chunked(chance: random.Random) -> bytes:
    body, size = _forged(chance), chance.choice([b"5", b"0", b"zz", b"-1", b"FFFFFFFFF"])
    head = [b"POST " + PATH.encode() + b" HTTP/1.1", b"Host: 127.0.0.1", b"Transfer-Encoding: chunked", HANG_UP]
    return b"\r\n".join([*head, _sign(body), b"", size, body, b"0", b"", b""])


@kind("odd headers")
def _odd_headers(chance: random.Random) -> bytes:
    names = [
        b"X-" + _junk(chance),
        b"Content-Type",
        b"Content-Encoding",
        b"Cookie",
        b"Host",
        b"Expect",
        b"Authorization",
    ]
    values = [
        _junk(chance),
        b"gzip",
        b"session=" + _junk(chance),
        b"evil.example",
        b"multipart/form-data; boundary=",
        b"",
    ]
    return _request(_forged(chance), chance.choice(names) + b": " + chance.choice(values), HANG_UP)


@kind("a megabyte")
def _large(chance: random.Random) -> bytes:
    body = b"x" * chance.choice([100_000, 1_100_000])
    return _request(body, HANG_UP, _sign(body))


@kind("signed, not JSON")
def _signed_bytes(chance: random.Random) -> bytes:
    body = chance.choice([*NO_EVENTS, _junk(chance, 2_000)])
    return _request(body, _sign(body))


@kind("signed, with a member that Stripe never sends")
def _signed_odd_member(chance: random.Random) -> bytes:
    event = _event(f"evt_odd_{chance.getrandbits(40):x}") | {"type": chance.choice(TYPES)}
    member = chance.choice(sorted(event))
    event[member] = _odd(chance)
    if chance.random() < 0.2:
        del event[member]
    body = json.dumps(event).encode()
    return _request(body, _sign(body))


@kind("signed, about something that Stripe never sends")
def _signed_odd_object(chance: random.Random) -> bytes:
    thing = {name: _odd(chance) for name in chance.sample(MEMBERS, 4)}
    data = {"object": chance.choice([thing, thing, thing, _odd(chance)]), "previous_attributes": _odd(chance)}
    event = _event(f"evt_odd_{chance.getrandbits(40):x}") | {"type": chance.choice(TYPES), "data": data}
    body = json.dumps(event).encode()
    return _request(body, _sign(body))


def _odd(chance: random.Random) -> Any:
    return chance.choice([*ODD_TEXTS, *ODD_NUMBERS, None, True, [], {}, [[]], {"id": 7}, {"id": {}}, {"top_up": []}])


if __name__ == "__main__":
    sys.exit(main(measure))
