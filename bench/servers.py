"""Scratch databases and gunicorn processes for measurements; everything is on loopback and ends with its block."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flask_migrate
from flask import Flask

from app import create_app
from config import Config
from tests.databases import PostgresqlDatabase, find_postgresql

ROOT = Path(__file__).resolve().parents[1]
WEBHOOK_SECRET = "whsec_of_the_measurements"  # noqa: S105 - nothing real is signed with it


def settings(database_url: str) -> dict[str, str]:
    """Return the settings of an app under measurement: the defaults, on a scratch database."""
    return {
        "ENV": "bench",
        "SECRET_KEY": "a secret of the measurements, long enough",
        "SECURITY_PASSWORD_SALT": "a salt of the measurements, long enough",
        "STRIPE_SECRET_KEY": "sk_test_sandbox",
        "STRIPE_API_BASE": "http://127.0.0.1:12111",
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "DATABASE_URL": database_url,
        "TRUSTED_HOSTS": "127.0.0.1",
    }


def migrated_app(database_url: str) -> Flask:
    """Return the app on a database, with the schema in place."""
    # A line for each of its requests would stand in the table.
    app = create_app(Config.from_env({**settings(database_url), "LOG_LEVEL": "WARNING"}))
    with app.app_context():
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
    return app


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Give the address of a scratch database for SQLite, and for PostgreSQL where a server answers."""
    server = find_postgresql()
    postgresql = PostgresqlDatabase(server) if server else None
    with tempfile.TemporaryDirectory() as folder:
        found = {"SQLite": f"sqlite:///{folder}/bench.db"}
        if postgresql:
            found["PostgreSQL"] = postgresql.url
        try:
            yield found
        finally:
            if postgresql:
                postgresql.drop()


@dataclass(frozen=True)
class Server:
    """A gunicorn that answers on a port."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time that its worker has used so far: what a busy machine does not blur."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ticks = 0
        for child in children:
            # After the name, which may hold spaces: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def gunicorn(target: str, environment: Mapping[str, str], *, threads: int = 8) -> Iterator[Server]:
    """Serve a WSGI application with one gthread worker, as gunicorn.conf.py does."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", target, "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread",
        "--workers", "1", "--threads", str(threads), "--keep-alive", "5", "--no-control-socket", "--log-level", "error",
        "--config", "/dev/null",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(20)


def resident_kilobytes(pid: int) -> int:
    """Return the memory that a process occupies."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(f"process {pid} has no resident memory")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def key() -> str:
    """Return a fresh random name."""
    return secrets.token_hex(8)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the server did not come up")
