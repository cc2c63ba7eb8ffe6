"""The command line: `flask worker`, `flask staff`, `flask webhooks`, and what the parts of the app add."""

from __future__ import annotations

import dataclasses
import json
import threading
from datetime import UTC, datetime, timedelta

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select

import database
from accounts import staff
from billing import cli, compare, credit_codes, doctor, errors, inbox, operations_cli, sync, sync_queue
from billing.differences import Difference
from billing.models import StripeEvent, SyncTask
from extensions import db
from jobs import worker

credit_commands = AppGroup("credits", help="Give credits without money.")
codes = AppGroup("code", help="Codes that give credits, at /billing/redeem.")
credit_commands.add_command(codes)
staff_commands = AppGroup("staff", help="Say who may use the back office at /admin.")
webhooks = AppGroup("webhooks", help="Look at Stripe's events and have them worked on again.")


def init_app(app: Flask) -> None:
    """Add every command of the app to `flask`."""
    app.cli.add_command(cli.catalog_commands)
    app.cli.add_command(operations_cli.stripe_commands)
    app.cli.add_command(credit_commands)
    app.cli.add_command(staff_commands)
    app.cli.add_command(webhooks)
    app.cli.add_command(run_worker)
    app.cli.add_command(examine)
    app.cli.add_command(compare_with_stripe)


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
    """Look for what is wrong with the books and the settings, and say what to do; change nothing.

    Exits with 0 when nothing is wrong, with 1 when anything is, with 2 when Stripe could not be asked about all of it.
    """
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
        raise SystemExit(1 if any(finding.is_answered for finding in findings) else 2)


@click.command("compare")
@with_appcontext
def compare_with_stripe() -> None:
    """Compare all that Stripe has with our books, as the worker does every night; the worker mends what differs.

    Run it after a backup was restored. Exits with 1 when anything differs.
    """

    def tell(difference: Difference) -> None:
        click.echo(f"{difference.kind:18} {difference.object_id:32} {difference.words}")

    with cli.plainly():
        count = compare.run_whole(tell)
    click.echo(f"{count} differences: the worker mends what it can." if count else "Everything is what Stripe says.")
    if count:
        raise SystemExit(1)


@webhooks.command("list")
@click.option("--limit", default=20, show_default=True, help="How many of the newest.")
@click.option("--dead", is_flag=True, help="Show the objects that were given up, since when, and the reason.")
def list_webhooks(limit: int, dead: bool) -> None:
    """List the newest events and what became of them."""
    if dead:
        _list_dead(limit)
        return
    events = db.session.scalars(select(StripeEvent).order_by(StripeEvent.received_at.desc()).limit(limit)).all()
    for event in events:
        click.echo(
            f"{event.received_at:%Y-%m-%d %H:%M:%S}  {event.stripe_id:32} {event.type:40} "
            f"{_state_of(event):8} x{event.deliveries} by {event.source}"
        )
    click.echo(f"{sync_queue.waiting(db.session())} objects wait to be brought in line with Stripe.")


@webhooks.command("replay")
@click.argument("names", nargs=-1, metavar="[evt_...|sub_...|in_...|ch_...|cs_...]...")
@click.option("--dead", is_flag=True, help="Everything that was given up.")
def replay_webhooks(names: tuple[str, ...], dead: bool) -> None:
    """Work again on stored events, or on objects by their id; safe at any time, because effects happen once."""
    if not names and not dead:
        raise click.UsageError("Name events or objects, or say --dead.")
    for name in names:
        if not database.write(inbox.replay, name):
            raise click.ClickException(
                f"{name} is no event with an effect and no object that was ever worked on: see `flask webhooks list`"
            )
    if dead:
        database.write(sync_queue.revive_all)
    sync.drain()
    db.session.rollback()
    left = sync_queue.waiting(db.session()) + sync_queue.given_up(db.session())
    click.echo("Everything is in line with Stripe." if not left else f"{left} objects are not in line yet.")


def _list_dead(limit: int) -> None:
    dead = select(SyncTask).where(SyncTask.state == "dead").order_by(SyncTask.first_dirty_at)
    for task in db.session.scalars(dead.limit(limit)):
        since = f"{task.first_dirty_at:%Y-%m-%d %H:%M:%S}" if task.first_dirty_at else "-"
        click.echo(f"{task.kind:18} {task.object_id:32} {task.attempts:2} attempts  since {since}  {task.last_error}")
    count = sync_queue.given_up(db.session())
    click.echo(f"{count} objects were given up: `flask webhooks replay --dead`." if count else "Nothing was given up.")


def _state_of(event: StripeEvent) -> str:
    if event.object_kind is None:
        return "ignored"
    task = db.session.get(SyncTask, (event.object_kind, event.object_id))
    if task is None:
        return "unknown"
    if task.state == "dead":
        return "dead"
    return "done" if task.clean == task.dirty else "waiting"


@codes.command("create")
@click.argument("code", required=False)
@click.option("--credits", type=click.IntRange(1), required=True, help="How many credits it gives.")
@click.option("--max-uses", type=click.IntRange(1), required=True, help="How often it may be used in all.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day, in UTC, on which it can be used.")
@click.option("--note", default="", help="What it is for; only you see it.")
@with_appcontext
def create_code(code: str | None, credits: int, max_uses: int, expires: datetime | None, note: str) -> None:
    """Make a CODE, or one that nobody guesses when none is given, and print it."""
    until = expires.replace(tzinfo=UTC) + timedelta(days=1) if expires else None
    try:
        made = database.write(
            credit_codes.create,
            code or credit_codes.new_code(),
            credits=credits,
            max_uses=max_uses,
            expires_at=until,
            note=note,
        )
    except (ValueError, errors.BillingError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(made.code)


@codes.command("list")
@with_appcontext
def list_codes() -> None:
    """Show the codes and how often each was used."""
    for row in credit_codes.everything(db.session()):
        until = f"until {row.expires_at - timedelta(days=1):%Y-%m-%d}" if row.expires_at else "for ever"
        click.echo(f"{row.code:20} {row.credits:>6} credits  {row.uses:>6} of {row.max_uses:<6} {until:16} {row.note}")


@staff_commands.command("add")
@click.argument("email")
@with_appcontext
def add_staff(email: str) -> None:
    """Let the person with this address use the back office; they sign up like everybody before."""
    try:
        is_new = database.write(staff.add, email := email.strip())
    except staff.NoSuchPerson as error:
        raise click.ClickException(f"Nobody has signed up as {email}: do that first, then come back.") from error
    except staff.NotConfirmed as error:
        raise click.ClickException(f"{error} is not confirmed: follow the link in the mail first.") from error
    click.echo(f"{email} may use the back office{'' if is_new else ' already'}.")


@staff_commands.command("remove")
@click.argument("email")
@with_appcontext
def remove_staff(email: str) -> None:
    """Close the back office to the person with this address, and log them out everywhere."""
    try:
        was_staff = database.write(staff.remove, email := email.strip())
    except staff.NoSuchPerson as error:
        raise click.ClickException(f"Nobody has signed up as {email}.") from error
    click.echo(f"{email} may not use the back office{' any more' if was_staff else ''}.")


@staff_commands.command("list")
@with_appcontext
def list_staff() -> None:
    """Show who may use the back office."""
    found = staff.everybody(db.session())
    for user in found:
        click.echo(user.email)
    if not found:
        click.echo("Nobody may use the back office: `flask staff add EMAIL`.")
