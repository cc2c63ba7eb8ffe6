"""R16, the outbox: senders are killed with -9, the mail server goes away, some addresses are poison; no mail is lost.

    python -m proofs.outbox --mails 3000 --kills 75 --database sqlite

Mails are promised in transactions while three senders, forked processes, hand them to a real mail server
(proofs/mail_server.py) and are killed again and again. One address in forty is refused for good, one in forty for the
present, each time again. Half-way the mail server is away for ten minutes of the app's time. Oracle: what the server
wrote down before it said yes. Passes when

- every mail to a good address arrived, and the outbox says so; every other one is dead, with the server's words;
- no more mails arrived again than senders were killed, each with the Message-ID of the first time;
- of the mails that no killed sender had in its hands, none waited more than two seconds while the server was there,
  whatever stood before it in the queue.
"""

from __future__ import annotations

import mmap
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
import database
from extensions import db
from mail import outbox
from mail.models import DEAD, PENDING, SENT, Email
from proofs.mail_server import REFUSALS, Letter, MailServer
from proofs.registry import Outcome, main, proof
from proofs.shop import quiet
from proofs.squad import Squad
from proofs.throwaway import laboratory

SENDERS = 3
BATCH = 4
MOST_WAITING = 6
OUTAGE = timedelta(minutes=10)
LONGEST_WAIT_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
POISON_EVERY = 40


@dataclass
class Tally:
    """What was tried, and what went wrong with it."""

    mails: int = 0
    kills: int = 0
    again: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Time:
    """The app's time: the wall's, and what the proof adds to it, in a file that the senders read.

    It jumps only while no sender is sending: a jump in the middle would be a sender that slept through its lease.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._ahead = path, 0.0
        self._resting = mmap.mmap(-1, 1 + SENDERS)  # shared with the senders: shall they rest, and who does

    def advance(self, by: timedelta) -> None:
        self._resting[0] = 1
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while 0 in self._resting[1:] and time.monotonic() < give_up_at:
            time.sleep(0.002)
        self._ahead += by.total_seconds()
        written = self._path.with_suffix(".new")
        written.write_text(str(self._ahead))
        written.rename(self._path)
        self._resting[0] = 0
        while 1 in self._resting[1:] and time.monotonic() < give_up_at:
            time.sleep(0.002)

    def rest(self, sender: int) -> bool:
        """Called by a sender between two rounds: tell whether it shall rest just now."""
        self._resting[1 + sender] = self._resting[0]
        return bool(self._resting[0])


def prove(engine: str, *, mails: int, kills: int, seed: int) -> Tally:
    """Promise so many mails, kill at least so many senders, and compare."""
    chance = random.Random(seed)  # noqa: S311 - when to kill, not a secret
    tally = Tally(mails=mails)
    with tempfile.TemporaryDirectory(prefix="tollgate-") as folder:
        server = MailServer(Path(folder))
        server.start()
        settings = {"MAIL_URL": server.url}
        try:
            with laboratory(engine, settings) as place, quiet(), _own_time(Path(folder)) as time_of_app:
                _warm_up()
                works = {f"sender {n}": (lambda n=n: _send_for_ever(time_of_app, n)) for n in range(SENDERS)}
                squad = Squad(place.app, works)
                squad.start()
                try:
                    promised = _promise_all(squad, server, time_of_app, chance, mails=mails, kills=kills)
                    _send_the_rest(time_of_app, tally)
                finally:
                    squad.stop()
                tally.kills = squad.kills
                tally.problems += squad.failed
                _judge(tally, server.letters(), promised)
        finally:
            server.stop()
    return tally


def _warm_up() -> None:
    """Send one mail from this process, so that a sender that is started again has its templates already."""
    database.write(_queue, ["warm@up.example"])
    outbox.send_due(1)


def _promise_all(
    squad: Squad, server: MailServer, time_of_app: _Time, chance: random.Random, *, mails: int, kills: int
) -> dict[str, float]:
    """Promise the mails; return when each was promised whose sending nothing but the queue could delay."""
    promised: dict[str, float] = {}
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    number = 0
    while (number < mails or squad.kills < kills) and time.monotonic() < give_up_at:
        if number < mails and _count_due() < MOST_WAITING:
            addresses = [_address(each) for each in range(number, min(mails, number + BATCH))]
            database.write(_queue, addresses)
            promised |= dict.fromkeys(addresses, time.time())
            number += len(addresses)
            if chance.random() < 1.2 * kills * BATCH / mails:
                time.sleep(0.05 * chance.random())
                squad.kill_one(chance)
            if number - BATCH < mails // 2 <= number:
                _outage(server, time_of_app)
                # What was promised before waits for its next try, as it must.
                promised.clear()
        elif number >= mails:
            squad.kill_one(chance)
        time.sleep(0.01)
    return promised


def _address(number: int) -> str:
    if number % POISON_EVERY == 7:
        return f"m{number}@poison.example"
    return f"m{number}@{'full' if number % POISON_EVERY == 27 else 'good'}.example"


def _queue(session: Session, addresses: list[str]) -> None:
    for address in addresses:
        facts = {"at": clock.now().isoformat(timespec="minutes")}
        outbox.queue(session, "password_changed", to=address, context=facts, dedupe_key=f"told:{address}")


def _outage(server: MailServer, time_of_app: _Time) -> None:
    """Let the server be away for ten minutes of the app's time, and wait for what waits longer because of it."""
    server.stop()
    for _ in range(20):
        time_of_app.advance(OUTAGE / 20)
        time.sleep(0.05)
    server.start()
    time_of_app.advance(timedelta(hours=1))
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while _count_due() and time.monotonic() < give_up_at:
        time.sleep(0.02)


def _send_the_rest(time_of_app: _Time, tally: Tally) -> None:
    """Go on until nothing is pending: the leases of the dead run out, and full mailboxes are given up."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        with Session(db.engine) as session:
            left = session.scalar(select(func.count()).select_from(Email).where(Email.status == PENDING))
        if not left:
            return
        if time.monotonic() > give_up_at:
            tally.problems.append(f"{left} mails never left")
            return
        if not _count_due():
            time_of_app.advance(timedelta(hours=1))
        time.sleep(0.02)


def _count_due() -> int:
    """Count the mails that could leave now."""
    with Session(db.engine) as session:
        due = select(func.count()).select_from(Email).where(Email.status == PENDING, Email.next_at <= clock.now())
        return session.scalar(due.where(Email.leased_until.is_(None) | (Email.leased_until <= clock.now()))) or 0


def _send_for_ever(time_of_app: _Time, sender: int) -> None:
    while True:
        sent = 0 if time_of_app.rest(sender) else outbox.send_due(20)
        db.session.remove()
        if not sent:
            time.sleep(0.02)


def _judge(tally: Tally, letters: list[Letter], promised: dict[str, float]) -> None:
    with Session(db.engine) as session:
        rows = session.scalars(select(Email).where(Email.to_address != "warm@up.example")).all()
    arrived: dict[str, list[Letter]] = defaultdict(list)
    letters = letters[1:]  # the first one warmed up
    for letter in letters:
        arrived[letter.to].append(letter)
    tally.again = len(letters) - len(arrived)
    if tally.again > tally.kills:
        tally.problems.append(f"{tally.again} mails arrived again, and {tally.kills} senders were killed")
    if len(rows) != tally.mails:
        tally.problems.append(f"{tally.mails} mails were promised and {len(rows)} are known")
    for row in rows:
        tally.problems += _wrong_with(row, arrived.pop(row.to_address, []))
    tally.problems += [f"{address} got a mail that nobody promised" for address in arrived]
    untouched = {row.to_address for row in rows if row.attempts == 1 and row.status == SENT}
    first = {letter.to: letter.at for letter in reversed(letters)}
    waits = {address: first[address] - at for address, at in promised.items() if address in untouched & first.keys()}
    tally.slowest = max(waits.values(), default=0.0)
    late = [address for address, waited in waits.items() if waited > LONGEST_WAIT_SECONDS]
    if late:
        tally.problems.append(
            f"{len(late)} of {len(waits)} mails waited more than 2 s, one of them {tally.slowest:.1f} s"
        )


def _wrong_with(row: Email, letters: list[Letter]) -> Iterator[str]:
    refusal = REFUSALS.get(row.to_address.rpartition("@")[2])
    if refusal is not None:
        if row.status != DEAD or refusal[:3] not in (row.last_error or ""):
            yield f"{row.to_address} is {row.status} ({row.last_error}), though the server refuses it"
        return
    if not letters:
        yield f"the mail to {row.to_address} is lost: {row.status}, {row.last_error}"
    elif row.status != SENT:
        yield f"the mail to {row.to_address} arrived and is {row.status}"
    if any(not letter.message_id.startswith(f"<{row.uuid}@") for letter in letters):
        yield f"the mail to {row.to_address} came under other Message-IDs"


@contextmanager
def _own_time(folder: Path) -> Iterator[_Time]:
    path = folder / "clock-offset"
    clock.follow(path)
    try:
        yield _Time(path)
    finally:
        clock.follow(None)


@proof(
    "R16",
    "mails lost, doubled or held up",
    passes="none lost, at most one again per kill and under its Message-ID, no other mail held up for 2 s",
    quick={"mails": 200, "kills": 10},
    whole={"mails": 3_000, "kills": 75},
    alone=True,
)
def measure(engine: str, *, seed: int, mails: int, kills: int) -> Outcome:
    """Send mail under kill -9, an outage and poison."""
    tally = prove(engine, mails=mails, kills=kills, seed=seed)
    note = (
        f"mails, {tally.kills} kills, {tally.again} came again, {tally.mails // POISON_EVERY * 2} to poisoned "
        f"addresses, slowest of the others {tally.slowest:.2f} s"
    )
    return Outcome(tally.mails, tally.problems, note)


if __name__ == "__main__":
    sys.exit(main(measure))
