"""The command line of what is sold: `flask catalog diff` and `flask catalog push`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import AppGroup

from billing import catalog, errors, stripe_catalog
from billing.stripe_changes import Action, Change

COLORS = {Action.CREATE: "green", Action.UPDATE: "cyan", Action.REPLACE: "yellow", Action.ARCHIVE: "red"}

catalog_commands = AppGroup("catalog", help="Compare what is sold with what Stripe sells, and make them equal.")


@catalog_commands.command("diff")
@click.option("--check", is_flag=True, help="Exit with status 1 when there is a difference; for deployments.")
def diff_catalog(check: bool) -> None:
    """Show what a push would change at Stripe; change nothing."""
    with _plainly():
        changes = stripe_catalog.plan_changes()
    for change in changes:
        _show(change)
    if not changes:
        _say_equal()
        return
    click.echo(f"\n{_count(changes)} to make. `flask catalog push` makes them.")
    if check:
        raise SystemExit(1)


@catalog_commands.command("push")
def push_catalog() -> None:
    """Make Stripe sell the catalogue; safe to repeat and to interrupt."""
    with _plainly():
        changes = stripe_catalog.push(on_change=_show)
    if changes:
        click.echo(f"\n{_count(changes)} made.")
    _say_equal()


@contextmanager
def _plainly() -> Iterator[None]:
    """Say Stripe's refusals in a line instead of a traceback, and keep its client's log out of the lines."""
    logging.getLogger("stripe").setLevel(logging.WARNING)
    try:
        yield
    except errors.BillingError as error:
        raise click.ClickException(str(error)) from error


def _show(change: Change) -> None:
    names = [p.lookup_key for p in catalog.current().prices]
    width = len("tollgate_") + max(map(len, names), default=0)
    action = click.style(f"{change.action:8}", fg=COLORS[change.action])
    click.echo(f"{action} {change.kind:8} {change.name:{width}}  {change.detail}")


def _say_equal() -> None:
    click.echo(f"Stripe sells exactly the catalogue {catalog.current().name!r}.")


def _count(changes: list[Change]) -> str:
    return "1 change" if len(changes) == 1 else f"{len(changes)} changes"
