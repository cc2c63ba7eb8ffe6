"""The sandbox as a server of its own: started, troubled, killed, and started again with nothing lost."""

from __future__ import annotations

import http.server
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from stripe_sandbox import remote

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A `stripe_sandbox serve` process on a free port, with its files in a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "stripe_sandbox", "serve", "--port", str(self.port)]
        files = ["--database", str(self.folder / "s.sqlite3"), "--clock-file", str(self.folder / "clock")]
        self.process = subprocess.Popen(
            [*command, *files, *self.options], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        assert "Stripe sandbox on" in self.process.stdout.readline()

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop the process and its workers, and wait for them."""
        assert self.process is not None
        if how == signal.SIGTERM:
            self.process.send_signal(how)
        else:
            os.killpg(self.process.pid, how)
        self.process.wait(timeout=15)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient("sk_test_sandbox", base_addresses={"api": self.url})

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stripe_sandbox", *arguments, "--api", self.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    stripe.enable_telemetry = False
    running = Server(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


class Receiver(threading.Thread):
    """An application's endpoint on a real socket; keeps the events it got in a queue."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.received: queue.Queue[tuple[str, bytes]] = queue.Queue()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.put((self.headers["Stripe-Signature"], body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/webhooks"

    def run(self) -> None:
        self.http.serve_forever()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    running.start()
    yield running
    running.close()


def test_events_reach_a_real_endpoint_signed(server: Server, receiver: Receiver) -> None:
    client = server.client()
    endpoint = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]})
    customer = client.v1.customers.create({"email": "a@b.c"})
    signature, body = receiver.received.get(timeout=10)
    event = client.construct_event(body, signature, endpoint.secret or "")
    assert event.data.object.id == customer.id


def test_nothing_acknowledged_is_lost_by_kill_9(server: Server) -> None:
    client = server.client()
    acknowledged: list[str] = []
    stopped = threading.Event()

    def create() -> None:
        while not stopped.is_set():
            try:
                acknowledged.append(client.v1.customers.create({"name": "kept"}).id)
            except stripe.StripeError:
                return

    writers = [threading.Thread(target=create) for _ in range(4)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < 200 and time.monotonic() < deadline:
        writers[0].join(timeout=0.01)
    server.stop(signal.SIGKILL)
    stopped.set()
    for writer in writers:
        writer.join()
    server.start()
    kept = {one.id for one in server.client().v1.customers.list({"limit": 100}).auto_paging_iter()}
    events = {
        event.data.object.id
        for event in server.client().v1.events.list({"limit": 100, "type": "customer.created"}).auto_paging_iter()
    }
    assert len(acknowledged) >= 200
    assert set(acknowledged) <= kept
    assert kept == events


def test_the_clock_survives_and_its_file_tells_the_offset(server: Server) -> None:
    assert float((server.folder / "clock").read_text()) == 0
    moved = server.run("advance", "--days", "3")
    assert moved.returncode == 0, moved.stderr
    assert float((server.folder / "clock").read_text()) == pytest.approx(3 * 86400, abs=1)
    server.stop()
    server.start()
    assert server.client().v1.customers.create({}).created == pytest.approx(time.time() + 3 * 86400, abs=60)


def test_an_unreachable_api_drops_the_connection(server: Server) -> None:
    faults = remote.Remote(server.url).call("faults", api=[{"mode": "unreachable", "times": 1}])
    assert [fault["mode"] for fault in faults["api"]] == ["unreachable"]
    with pytest.raises(stripe.APIConnectionError):
        server.client().v1.customers.create({})
    assert server.client().v1.customers.list().data == []


def test_trigger_and_listen_work_from_the_command_line(server: Server, receiver: Receiver) -> None:
    command = [sys.executable, "-m", "stripe_sandbox", "listen", "--api", server.url, "--forward-to", receiver.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        ready = listening.stdout.readline()
        secret = ready.split(" is ")[1].split(" ")[0]
        done = server.run("trigger", "checkout.session.completed")
        assert done.returncode == 0, done.stderr
        types = []
        while "checkout.session.completed" not in types:
            signature, body = receiver.received.get(timeout=10)
            types.append(server.client().construct_event(body, signature, secret).type)
        listening.send_signal(signal.SIGINT)
        assert listening.wait(timeout=10) == 0
        assert "-->" in listening.stdout.read()
    assert server.client().v1.webhook_endpoints.list().data == []
    unknown = server.run("trigger", "no.such.event")
    assert unknown.returncode == 2
    assert "checkout.session.completed" in unknown.stdout


def test_a_command_without_a_server_says_so(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "stripe_sandbox",
        "advance",
        "--days",
        "1",
        "--api",
        f"http://127.0.0.1:{free_port()}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no sandbox answers" in done.stderr


def test_a_database_of_another_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.sqlite3") as old:
        old.execute("PRAGMA user_version = 99")
    old.close()
    command = [sys.executable, "-m", "stripe_sandbox", "serve", "--database", str(tmp_path / "old.sqlite3")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "empty it with `reset`" in done.stderr
