"""What `make run` does: settings, database, demo data, then the local Stripe, the app and the worker side by side."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click
from dotenv import dotenv_values
from honcho.manager import Manager

ROOT = Path(__file__).resolve().parent
ENV_FILE = ROOT / ".env"
PLACEHOLDER = "generated-by-make-run"
SANDBOX_KEY = "sk_test_sandbox"
PATIENCE_SECONDS = 30.0


def main() -> int:
    """Bring everything up and stay until Ctrl-C; return the exit status."""
    started = time.monotonic()
    write_env_file()
    settings = {k: v or "" for k, v in dotenv_values(ENV_FILE).items()}
    taken = [a for a in addresses(settings) if _answers(a)]
    if taken:
        say(f"Something already listens on {', '.join(map(_text, taken))}: stop it, or change the port in .env.")
        return 1
    manager = Manager()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "WEB_BIND": _text(address(settings["APP_BASE_URL"]))}
    for name, command in processes(settings).items():
        # exec: the shell that honcho starts makes way, so that signals and exit statuses are the process's own
        manager.add_process(name, f"exec {command}", env=environment, cwd=str(ROOT))
    try:
        prepare_database()
    except click.ClickException as error:
        say(error.message)
        return 1
    threading.Thread(target=finish, args=(settings, started), daemon=True).start()
    manager.loop()
    return 0 if manager.returncode in {0, 130, 143} else int(manager.returncode or 1)


def write_env_file() -> None:
    """Make .env from .env.example unless there is one; put secrets where one still has the example's placeholders."""
    before = ENV_FILE.read_text() if ENV_FILE.exists() else ""
    lines = (before or (ROOT / ".env.example").read_text()).splitlines()
    after = "\n".join(_with_secret(line) for line in lines) + "\n"
    if before and PLACEHOLDER not in before:
        return
    ENV_FILE.touch()
    ENV_FILE.chmod(0o600)
    ENV_FILE.write_text(after)
    say("Put new secrets into .env." if before else "Wrote .env with new secrets.")


def _with_secret(line: str) -> str:
    name, _, value = line.partition("=")
    if value != PLACEHOLDER:
        return line
    prefix = "whsec_" if name == "STRIPE_WEBHOOK_SECRETS" else ""
    return f"{name}={prefix}{secrets.token_hex(32)}"


def uses_sandbox(settings: Mapping[str, str]) -> bool:
    """Tell whether the settings speak to the local Stripe rather than to Stripe itself."""
    return settings["STRIPE_SECRET_KEY"].startswith(SANDBOX_KEY)


def processes(settings: Mapping[str, str], folder: str = "var") -> dict[str, str]:
    """Return the commands to run side by side, by name; the local Stripe keeps its state in a folder."""
    python = sys.executable
    commands = {
        "web": f"{python} -m gunicorn --config gunicorn.conf.py",
        "worker": f"{python} -m flask worker",
    }
    if not uses_sandbox(settings):
        return commands
    secret = settings["STRIPE_WEBHOOK_SECRETS"].split(",")[0]
    host, port = address(settings["STRIPE_API_BASE"])
    commands["stripe"] = (
        f"{python} -m stripe_sandbox serve --host {host} --port {port} --database {folder}/stripe-sandbox.db "
        f"--clock-file {settings.get('CLOCK_FILE') or f'{folder}/clock-offset'} "
        f"--webhook {settings['APP_BASE_URL']}/webhooks/stripe={secret}"
    )
    return commands


def addresses(settings: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the addresses that must be free."""
    urls = [settings["APP_BASE_URL"]] + ([settings["STRIPE_API_BASE"]] if uses_sandbox(settings) else [])
    return [address(url) for url in urls]


def address(url: str) -> tuple[str, int]:
    """Return the host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)


def prepare_database() -> None:
    """Bring the schema up to date and make sure that the demo people exist."""
    import flask_migrate

    import demo
    from app import create_app

    app = create_app()
    with app.app_context():
        flask_migrate.upgrade(directory=str(ROOT / "migrations"))
        demo.seed()


def finish(settings: Mapping[str, str], started: float) -> None:
    """Push the catalogue once Stripe answers, and say where everything is once the app does."""
    import demo
    from app import create_app
    from billing import errors, stripe_catalog

    if uses_sandbox(settings) and not _wait_for(address(settings["STRIPE_API_BASE"])):
        say("The local Stripe did not come up: see its lines above.")
        return
    try:
        with create_app().app_context():
            stripe_catalog.push()
    except errors.BillingError as error:
        say(f"The catalogue could not be pushed to Stripe, so nothing can be bought: {error}")
        return
    if not _wait_for(address(settings["APP_BASE_URL"])):
        say("The app did not come up: see its lines above.")
        return
    say(
        f"Ready in {time.monotonic() - started:.1f} s.\n\n"
        f"  The app          {settings['APP_BASE_URL']}\n"
        + (f"  The local Stripe {settings['STRIPE_API_BASE']}\n" if uses_sandbox(settings) else "")
        + f"  Mail it sent     {settings['APP_BASE_URL']}/dev/mail\n"
        + f"  The back office  {settings['APP_BASE_URL']}/admin (as admin)\n\n"
        + "".join(f"  Log in as {person.email:28} password {person.password}\n" for person in demo.PEOPLE)
        + "\n  Pay with 4242 4242 4242 4242, any future date, any CVC. Ctrl-C stops everything.\n"
    )


def say(text: str) -> None:
    """Print at once, between the lines of the processes."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _text(where: tuple[str, int]) -> str:
    return f"{where[0]}:{where[1]}"


def _answers(where: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(where) == 0


def _wait_for(where: tuple[str, int]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if _answers(where):
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    sys.exit(main())
