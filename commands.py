"""The command line: `flask worker`, `flask webhooks`, `flask catalog`, and what the parts of the app add."""

from __future__ import annotations

import dataclasses
import json
import threading

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

import database
from billing import cli, doctor, inbox, sync, sync_queue
from billing.models import StripeEvent, SyncTask
from extensions import db
from jobs import worker

webhooks = AppGroup("webhooks", help="Look at Stripe's events and have them worked on again.")


def init_app(app: Flask) -> None:
    """Add every command of the app to `flask`."""
    app.cli.add_command(cli.catalog_commands)
    app.cli.add_command(webhooks)
    app.cli.add_command(run_worker)
    app.cli.add_command(examine)


@click.command("worker")
@click.option("--once", is_flag=True, help="Do what is due and stop.")
@with_appcontext
def run_worker(once: bool) -> None:
    """Keep in line with Stripe, send mail, let credits expire; until SIGTERM or Ctrl-C."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    if once:
        with app.app_context():
            click.echo(f"{worker.run_once()} done")
        return
    stop = threading.Event()
    worker.stop_on_signals(stop)
    worker.run_forever(app, stop)


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Ask only the database.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@with_appcontext
def examine(offline: bool, as_json: bool) -> None:
    """Look for what is wrong with the books and the settings, and say what to do; exit 1 when there is anything."""
    results = list(doctor.examine(db.session(), offline=offline))
    findings = [finding for _, found in results for finding in found]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for check, found in results:
            click.echo(f"{'wrong' if found else 'ok':6}{check.name}")
            for finding in found:
                click.echo(f"      {finding.problem}\n      -> {finding.remedy}")
    if findings:
        raise SystemExit(1)


@webhooks.command("list")
@click.option("--limit", default=20, show_default=True, help="How many of the newest events.")
@click.option("--dead", is_flag=True, help="Show the objects that were given up, with the reason.")
def list_webhooks(limit: int, dead: bool) -> None:
    """List the newest events and what became of them."""
    if dead:
        tasks = db.session.scalars(select(SyncTask).where(SyncTask.state == "dead").limit(limit))
        for task in tasks:
            click.echo(f"{task.kind:18} {task.object_id:32} {task.attempts} attempts  {task.last_error}")
        return
    events = db.session.scalars(select(StripeEvent).order_by(StripeEvent.received_at.desc()).limit(limit)).all()
    for event in events:
        click.echo(
            f"{event.received_at:%Y-%m-%d %H:%M:%S}  {event.stripe_id:32} {event.type:40} "
            f"{_state_of(event):8} x{event.deliveries} by {event.source}"
        )
    click.echo(f"{sync_queue.waiting(db.session())} objects wait to be brought in line with Stripe.")


@webhooks.command("replay")
@click.argument("event_ids", nargs=-1, required=True)
def replay_webhooks(event_ids: tuple[str, ...]) -> None:
    """Work on stored events again; safe at any time, because effects happen once."""
    for event_id in event_ids:
        if not database.write(inbox.replay, event_id):
            raise click.ClickException(f"{event_id} is not in the inbox, or has no effect: see `flask webhooks list`")
    click.echo(f"{sync.drain()} objects brought in line with Stripe.")


def _state_of(event: StripeEvent) -> str:
    if event.object_kind is None:
        return "ignored"
    task = db.session.get(SyncTask, (event.object_kind, event.object_id))
    if task is None:
        return "unknown"
    if task.state == "dead":
        return "dead"
    return "done" if task.clean == task.dirty else "waiting"
