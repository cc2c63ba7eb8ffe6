"""The command line of what is sold: `flask catalog diff`, `push`, `payment-link` and `move-subscribers`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
from flask import current_app
from flask.cli import AppGroup

from billing import catalog, errors, money, old_prices, pacing, payment_links, price_moves, stripe_catalog
from billing.plan_changes import When
from billing.price_moves import Candidate, Stays
from billing.stripe_changes import Action, Change, Kind
from config import Config
from extensions import db

COLORS = {Action.CREATE: "green", Action.UPDATE: "cyan", Action.REPLACE: "yellow", Action.ARCHIVE: "red"}

catalog_commands = AppGroup("catalog", help="Compare what is sold with what Stripe sells, and make them equal.")


@catalog_commands.command("diff")
@click.option("--check", is_flag=True, help="Exit with status 1 when there is a difference; for deployments.")
def diff_catalog(check: bool) -> None:
    """Show what a push would change at Stripe; change nothing."""
    with plainly():
        changes = stripe_catalog.plan_changes()
    for change in changes:
        _show(change)
        _say_who_stays(change)
    _say_old_prices()
    if not changes:
        _say_equal()
        return
    click.echo(f"\n{_count(changes)} to make. `flask catalog push` makes them.")
    if check:
        raise SystemExit(1)


@catalog_commands.command("push")
def push_catalog() -> None:
    """Make Stripe sell the catalogue; safe to repeat and to interrupt."""
    with plainly():
        changes = stripe_catalog.push(on_change=_show)
    if changes:
        click.echo(f"\n{_count(changes)} made.")
    _say_equal()


@catalog_commands.command("payment-link")
@click.argument("pack")
def make_payment_link(pack: str) -> None:
    """Print the address at which anybody can buy a PACK, made if need be; safe to repeat."""
    config: Config = current_app.config["TOLLGATE"]
    with plainly():
        click.echo(payment_links.ensure(pack, base_url=config.app_base_url))


@catalog_commands.command("move-subscribers")
@click.argument("plan")
@click.option(
    "--at",
    "at",
    type=click.Choice(["period-end", "now"]),
    default="period-end",
    show_default=True,
    help="When the present price begins; now is for lower prices only.",
)
@click.option(
    "--notice-days",
    type=click.IntRange(0, 365),
    default=30,
    show_default=True,
    help="How long before that they are told, at the least.",
)
@click.option("--dry-run", is_flag=True, help="Show who would pay what from when; tell and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def move_subscribers(plan: str, at: str, notice_days: int, dry_run: bool, yes: bool) -> None:
    """Move subscribers of an old price of PLAN to what it costs today, and mail them before; safe to repeat."""
    when = When.NOW if at == "now" else When.AT_PERIOD_END
    notice = timedelta(days=notice_days)
    with plainly():
        found = price_moves.candidates(plan, when)
    if not found:
        click.echo(f"Everybody on {plan} pays what it costs today.")
        return
    if not dry_run and not yes:
        question = "1 subscriber pays" if len(found) == 1 else f"{len(found)} subscribers pay"
        click.confirm(f"{question} an old price. Mail and move them?", abort=True)
    done = [_move(candidate, when, notice, dry_run=dry_run) for candidate in found]
    verb = "would move" if dry_run else "moved"
    click.echo(f"\n{done.count('moves')} {verb}, {done.count('stays')} stay, {done.count('failed')} failed.")
    if "failed" in done:
        raise SystemExit(1)


def _move(candidate: Candidate, when: When, notice: timedelta, *, dry_run: bool) -> str:
    """Move one subscriber, or only look; say in a line what became of it and return its first word."""
    try:
        previewed = _pace().patiently(lambda: price_moves.preview(candidate, when, notice=notice))
        if not dry_run:
            _pace().patiently(lambda: price_moves.carry_out(previewed))
    except Stays as reason:
        if price_moves.is_made(reason) and not dry_run:
            price_moves.settle(candidate)
        return _tell("stays", candidate, str(reason))
    except errors.StripeError as error:
        return _tell("failed", candidate, f"{error}; run this again")
    now = money.in_words(candidate.from_cents, candidate.price.currency)
    then = money.in_words(candidate.to_cents, candidate.price.currency)
    charged = money.in_words(previewed.next_cents, candidate.price.currency)
    day = "at once" if when is When.NOW else f"from {previewed.takes_effect_at:%d %B %Y}"
    words = f"{now} becomes {then} a {candidate.price.interval} {day}; with discounts {charged}"
    return _tell("moves", candidate, words)


def _pace() -> pacing.Pace:
    pace: pacing.Pace = current_app.extensions["stripe.pace"]
    return pace


def _tell(outcome: str, candidate: Candidate, words: str) -> str:
    color = {"moves": "green", "stays": "cyan", "failed": "red"}[outcome]
    click.echo(f"{click.style(f'{outcome:6}', fg=color)} {candidate.email}: {words}")
    return outcome


@contextmanager
def plainly() -> Iterator[None]:
    """Say Stripe's refusals in a line instead of a traceback, and keep its client's log out of the lines."""
    logging.getLogger("stripe").setLevel(logging.WARNING)
    try:
        yield
    except errors.StripeUnreachable as error:
        raise click.ClickException(_away()) from error
    except errors.BillingError as error:
        raise click.ClickException(str(error)) from error


def _away() -> str:
    base = current_app.config["TOLLGATE"].stripe_api_base
    if base:
        return f"The local Stripe does not answer at {base}: `make run` starts it; leave that running meanwhile."
    return "Stripe does not answer: look at this machine's network, and at status.stripe.com."


def _show(change: Change) -> None:
    names = [p.lookup_key for p in catalog.current().prices]
    width = len("tollgate_") + max(map(len, names), default=0)
    action = click.style(f"{change.action:8}", fg=COLORS[change.action])
    click.echo(f"{action} {change.kind:8} {change.name:{width}}  {change.detail}")


def _say_who_stays(change: Change) -> None:
    if change.kind == Kind.PRICE and change.action in {Action.REPLACE, Action.ARCHIVE}:
        count = old_prices.subscribers_at(db.session(), change.stripe_id)
        click.echo(f"{'':18}{count} {'subscriber stays' if count == 1 else 'subscribers stay'} on it")


def _say_old_prices() -> None:
    for old in old_prices.still_paid(db.session()):
        amount = money.in_words(old.amount_cents, old.currency)
        today = (
            "is not sold any more"
            if old.asks_cents is None
            else f"costs {money.in_words(old.asks_cents, old.currency)}"
        )
        who = "1 subscriber pays" if old.subscribers == 1 else f"{old.subscribers} subscribers pay"
        click.echo(f"{who} {amount} for {old.price_key}, which {today} today.")


def _say_equal() -> None:
    click.echo(f"Stripe sells exactly the catalogue {catalog.current().name!r}.")


def _count(changes: list[Change]) -> str:
    return "1 change" if len(changes) == 1 else f"{len(changes)} changes"
