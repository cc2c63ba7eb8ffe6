"""The command line: `python -m stripe_sandbox serve | trigger | listen | advance | reset`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from stripe_sandbox import app as application
from stripe_sandbox import contract, coverage, remote
from stripe_sandbox.clock import Clock
from stripe_sandbox.deliveries import Courier
from stripe_sandbox.sandbox import Sandbox
from stripe_sandbox.store import OutdatedDatabase

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with one process and threads: everything is in one place, connections are kept alive."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self.arguments.host}]" if ":" in self.arguments.host else self.arguments.host
        settings: dict[str, Any] = {
            "bind": f"{host}:{self.arguments.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": 8,
            "keepalive": 75,
            "timeout": 120,
            "graceful_timeout": 3,
            "loglevel": "warning",
            "proc_name": "stripe-sandbox",
            "control_socket_disable": True,
            "worker_tmp_dir": None,
            "worker_exit": stop_courier,
            "post_worker_init": lambda _: say(f"Stripe sandbox on http://{host}:{self.arguments.port}"),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        sandbox = open_sandbox(self.arguments)
        for pair in self.arguments.webhook:
            url, _, secret = pair.rpartition("=")
            sandbox.ensure_webhook(url, secret)
        self.arguments.courier = Courier(sandbox)
        self.arguments.courier.start()
        COURIERS.append(self.arguments.courier)
        return application.create_app(sandbox)


COURIERS: list[Courier] = []


def stop_courier(server: Any, worker: Any) -> None:
    for courier in COURIERS:
        courier.stop()
        courier.sandbox.close()


def open_sandbox(arguments: argparse.Namespace) -> Sandbox:
    """Open the sandbox that the arguments describe."""
    for path in (arguments.database, arguments.clock_file):
        if path and path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    base_url = arguments.base_url or f"http://{arguments.host}:{arguments.port}"
    return Sandbox(
        arguments.database, base_url=base_url, clock=Clock(path=arguments.clock_file), strict=arguments.strict
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stripe_sandbox", description="A faithful local Stripe.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the API and the pages until interrupted")
    serve.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    serve.add_argument("--port", type=int, default=12111)
    serve.add_argument("--database", default="stripe-sandbox.sqlite3", help="file that holds everything, or :memory:")
    serve.add_argument("--clock-file", help="file that always holds the clock's offset in seconds")
    serve.add_argument("--base-url", help="where people's browsers reach the pages, if not at host and port")
    serve.add_argument("--webhook", action="append", default=[], metavar="URL=SECRET", help="endpoint for all events")
    serve.add_argument("--strict", action="store_true", help="check every answer and event against the contract")
    reset = commands.add_parser("reset", help="forget everything; the server must not be running")
    reset.add_argument("--database", default="stripe-sandbox.sqlite3")
    reset.add_argument("--clock-file")
    commands.add_parser("coverage", help="write the table of implemented routes into the README")
    _add_remote_commands(commands)
    given = parser.parse_args(arguments)
    run = {
        "serve": run_server,
        "reset": run_reset,
        "coverage": run_coverage,
        "trigger": remote.run_trigger,
        "listen": remote.run_listen,
        "advance": remote.run_advance,
    }[given.command]
    try:
        return run(given)
    except remote.Unreachable as problem:
        say(f"Error: {problem}", error=True)
        return 1


def _add_remote_commands(commands: Any) -> None:
    trigger = commands.add_parser("trigger", help="bring about an event on a running sandbox")
    trigger.add_argument("event", help="such as checkout.session.completed")
    listen = commands.add_parser("listen", help="forward a running sandbox's events to a URL")
    listen.add_argument("--forward-to", required=True, metavar="URL", type=_http_url)
    listen.add_argument("--events", help="comma-separated types; all by default")
    listen.add_argument("--secret", help="signing secret to use; made up by default")
    listen.add_argument("--print-secret", action="store_true", help="print a signing secret and leave")
    advance = commands.add_parser("advance", help="move a running sandbox's time forward")
    for unit in ("seconds", "hours", "days"):
        advance.add_argument(f"--{unit}", type=float, default=0)
    for command in (trigger, listen, advance):
        command.add_argument("--api", default="http://127.0.0.1:12111", metavar="URL", type=_http_url)


def _http_url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    if not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must be an http or https address")
    return url


def say(words: str, *, error: bool = False) -> None:
    (sys.stderr if error else sys.stdout).write(words + "\n")
    sys.stdout.flush()


def run_server(arguments: argparse.Namespace) -> int:
    if arguments.host not in LOOPBACK:
        say("The sandbox listens on this machine only: use 127.0.0.1, ::1 or localhost.", error=True)
        return 2
    for pair in arguments.webhook:
        if "=" not in pair or not pair.startswith(("http://", "https://")):
            say(f"--webhook takes URL=SECRET, not {pair!r}.", error=True)
            return 2
    try:
        open_sandbox(arguments).close()
    except OutdatedDatabase as problem:
        say(f"{problem}.", error=True)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s stripe-sandbox %(levelname)s %(message)s")
    Server(arguments).run()
    return 0


def run_coverage(arguments: argparse.Namespace) -> int:
    coverage.write(contract.load())
    return 0


def run_reset(arguments: argparse.Namespace) -> int:
    for suffix in ("", "-wal", "-shm"):
        Path(arguments.database + suffix).unlink(missing_ok=True)
    if arguments.clock_file:
        Clock(path=arguments.clock_file)
    say("The sandbox is empty.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
