"""Everything that `make run` starts - app, worker, local Stripe - as processes of their own on free ports."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flask_migrate
import pytest

import demo
import development
from app import create_app
from billing import stripe_catalog
from config import Config
from tests.conftest import ROOT, SETTINGS, WEBHOOK_SECRET

PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Site:
    """A running Tollgate: where it is, the log of its processes, and the settings they were started with."""

    url: str
    stripe_url: str
    log: Path
    environment: dict[str, str]

    def flask(self, *arguments: str) -> str:
        """Call one of its commands; return what it printed last."""
        command = [sys.executable, "-m", "flask", "--app", "app", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Start all processes, sell the catalogue, make the demo people; end everything afterwards."""
    folder = tmp_path_factory.mktemp("site")
    web, stripe = free_port(), free_port()
    settings = {
        **SETTINGS,
        "APP_BASE_URL": f"http://127.0.0.1:{web}",
        "STRIPE_API_BASE": f"http://127.0.0.1:{stripe}",
        "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "DATABASE_URL": f"sqlite:///{folder}/app.db",
        "CLOCK_FILE": f"{folder}/clock-offset",
        "MAIL_URL": "",
        "CATALOG": getattr(request, "param", "cv"),
    }
    app = create_app(Config.from_env(settings))
    with app.app_context():
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
        demo.seed()
    environment = {**os.environ, **settings, "WEB_BIND": f"127.0.0.1:{web}", "PYTHONUNBUFFERED": "1"}
    log = folder / "log"
    with log.open("wb") as sink:
        processes = [
            subprocess.Popen(shlex.split(command), cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
            for command in development.processes(settings, str(folder)).values()
        ]
        try:
            wait_for(stripe, log)
            with app.app_context():
                stripe_catalog.push()
            wait_for(web, log)
            yield Site(settings["APP_BASE_URL"], settings["STRIPE_API_BASE"], log, environment)
        finally:
            for process in processes:
                process.terminate()
            statuses = [process.wait(20) for process in processes]
    assert statuses == [0, 0, 0], log.read_text()


def wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing came up on port {port}:\n{log.read_text()}")
