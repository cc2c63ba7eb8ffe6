"""A mail server as a process of its own: what it accepts it writes down before it says yes.

    python -m proofs.mail_server PORT FILE

Mail to poison.example is refused for good (550), mail to full.example for the present (452).
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

HOST = "127.0.0.1"
PATIENCE_SECONDS = 30.0
REFUSALS = {"poison.example": "550 no such mailbox", "full.example": "452 the mailbox is full"}


@dataclass(frozen=True)
class Letter:
    """A mail that was accepted, and when, by the wall's clock."""

    message_id: str
    to: str
    subject: str
    text: str
    at: float


@dataclass
class MailServer:
    """The server and what it has accepted; it may be stopped and started again."""

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _read: int = 0
    _letters: list[Letter] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens, as MAIL_URL."""
        return f"smtp://{HOST}:{self.port}"

    @property
    def _path(self) -> Path:
        return self.folder / "letters.jsonl"

    def start(self) -> None:
        """Begin to listen, on the port of before; returns when it does."""
        self.port = self.port or _free_port()
        self._path.touch()
        command = [sys.executable, "-m", "proofs.mail_server", str(self.port), str(self._path)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[1])
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up_at:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the mail server does not come up")

    def stop(self) -> None:
        """Be gone, as if the plug were pulled."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def letters(self) -> list[Letter]:
        """Return everything that was accepted so far, in its order."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._read += len(line)
                self._letters.append(Letter(**json.loads(line)))
        return self._letters


class _Sink:
    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        refusal = REFUSALS.get(address.rpartition("@")[2])
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default)
        body = message.get_body(("plain",))
        letter = {
            "message_id": str(message["Message-ID"]),
            "to": envelope.rcpt_tos[0],
            "subject": str(message["Subject"]),
            "text": body.get_content() if body else "",
            "at": time.time(),
        }
        self._file.write(json.dumps(letter).encode() + b"\n")
        return "250 OK"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _serve(port: int, path: Path) -> None:
    Controller(_Sink(path), hostname=HOST, port=port).start()
    threading.Event().wait()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
