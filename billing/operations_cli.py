"""`flask stripe ...`: Stripe's everyday operations, described and asked about before they happen."""

from __future__ import annotations

import functools
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from billing import errors, operations, refunding
from billing.operations import Json, Listing, Step
from config import Config

LEAST, MOST = 1, 100

stripe_commands = AppGroup("stripe", help="Look at objects at Stripe and make them: products, invoices, refunds ...")
GROUPS = {
    name: AppGroup(name, help=words)
    for name, words in {
        "coupons": "Create and list coupons.",
        "customers": "Create and list customers.",
        "disputes": "List disputes and give evidence.",
        "invoices": "Draft, fill, finalize and list invoices.",
        "payment-intents": "List payments.",
        "payment-links": "Create payment links.",
        "prices": "Create and list prices.",
        "products": "Create and list products.",
        "refunds": "Refund charges.",
        "subscriptions": "List, change and end subscriptions.",
    }.items()
}
for group in GROUPS.values():
    stripe_commands.add_command(group)

Command = Callable[..., Any]


def changes(group: str, name: str) -> Callable[[Callable[..., Step]], Command]:
    """Make a command of a function that returns a Step: it says what it will do, asks, and does it."""

    def register(describe: Callable[..., Step]) -> Command:
        @click.option("--yes", is_flag=True, help="Do not ask.")
        @click.option("--key", help="Idempotency key: the same one repeats nothing for a day. Default: a new one.")
        @_shared
        @functools.wraps(describe)
        def command(*, yes: bool, key: str | None, as_json: bool, live: bool, **given: Any) -> None:
            _check_mode(live=live)
            with _plainly():
                step = describe(**given)
                key = key or f"cli:{secrets.token_hex(8)}"
                click.echo(f"{step.words}.", err=True)
                if step.warning:
                    click.secho(f"Warning: {step.warning}.", fg="yellow", err=True)
                if not yes:
                    click.confirm(f"Do it{' with real money' if live else ''}?", abort=True, err=True)
                made = step.run(key)
            click.echo(json.dumps(made, indent=2) if as_json else _summary(made, key))

        return GROUPS[group].command(name)(command)

    return register


def lists(group: AppGroup, name: str) -> Callable[[Callable[..., Listing]], Command]:
    """Make a command of a function that returns a Listing: a table, or JSON."""

    def register(describe: Callable[..., Listing]) -> Command:
        @click.option("--limit", default=20, show_default=True, type=click.IntRange(LEAST, MOST))
        @_shared
        @functools.wraps(describe)
        def command(*, limit: int, as_json: bool, live: bool, **given: Any) -> None:
            _check_mode(live=live)
            with _plainly():
                listing = describe(**given)
                found = listing.run(limit)
            click.echo(json.dumps(found, indent=2) if as_json else _table(listing.columns, found))

        return group.command(name)(command)

    return register


def _shared(command: Command) -> Command:
    command = click.option("--live", is_flag=True, help="Allow a live key, and with it real money.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print Stripe's own words as JSON.")(command)


def _check_mode(*, live: bool) -> None:
    config: Config = current_app.config["TOLLGATE"]
    if config.is_live and not live:
        raise click.ClickException("STRIPE_SECRET_KEY is a live key: add --live if real money is meant")


@contextmanager
def _plainly() -> Iterator[None]:
    """Say refusals in a line instead of a traceback, and keep the client's log out of the lines."""
    logging.getLogger("stripe").setLevel(logging.WARNING)
    try:
        yield
    except errors.BillingError as error:
        raise click.ClickException(str(error)) from error


def _summary(made: Json, key: str) -> str:
    facts = [made[name] for name in ("status", "url", "hosted_invoice_url") if made.get(name)]
    return "  ".join(["done", made["id"], *facts, f"(key {key})"])


def _table(columns: Mapping[str, Callable[[Json], object]], found: list[Json]) -> str:
    if not found:
        return "Nothing there."
    rows = [list(columns), *([str(of(thing)) for of in columns.values()] for thing in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


CENTS = click.IntRange(1, 99_999_999)
currency = click.option("--currency", default="usd", show_default=True)


@lists(stripe_commands, "balance")
def show_balance() -> Listing:
    """Show the money at Stripe: available and on its way."""
    return operations.retrieve_balance()


@changes("customers", "create")
@click.argument("email")
@click.option("--name")
def create_customer(email: str, name: str | None) -> Step:
    """Create a customer."""
    return operations.create_customer(email, name)


@lists(GROUPS["customers"], "list")
@click.option("--email", help="Only with this address.")
def list_customers(email: str | None) -> Listing:
    """List customers, the newest first."""
    return operations.list_customers(email)


@changes("products", "create")
@click.argument("name")
@click.option("--description")
def create_product(name: str, description: str | None) -> Step:
    """Create a product; what the catalogue sells is made by `flask catalog push`."""
    return operations.create_product(name, description)


@lists(GROUPS["products"], "list")
def list_products() -> Listing:
    """List products, the newest first."""
    return operations.list_products()


@changes("prices", "create")
@click.argument("product")
@click.option("--amount-cents", type=CENTS, required=True)
@currency
@click.option("--interval", type=click.Choice(["month", "year"]), help="Default: once.")
@click.option("--lookup-key")
def create_price(product: str, amount_cents: int, currency: str, interval: str | None, lookup_key: str | None) -> Step:
    """Create a price of a product."""
    return operations.create_price(product, amount_cents, currency, interval, lookup_key)


@lists(GROUPS["prices"], "list")
@click.option("--product", help="Only of this product.")
def list_prices(product: str | None) -> Listing:
    """List prices, the newest first."""
    return operations.list_prices(product)


@changes("payment-links", "create")
@click.argument("price")
@click.option("--quantity", default=1, show_default=True, type=click.IntRange(1, 1000))
def create_payment_link(price: str, quantity: int) -> Step:
    """Create an address at which anybody can pay a price."""
    return operations.create_payment_link(price, quantity)


@lists(GROUPS["payment-intents"], "list")
@click.option("--customer", help="Only of this customer.")
def list_payment_intents(customer: str | None) -> Listing:
    """List payments, the newest first."""
    return operations.list_payment_intents(customer)


@changes("coupons", "create")
@click.option("--name")
@click.option("--percent-off", type=click.IntRange(1, 100))
@click.option("--amount-off-cents", type=CENTS)
@currency
@click.option("--duration", type=click.Choice(["once", "repeating", "forever"]), default="once", show_default=True)
@click.option("--months", type=click.IntRange(1, 120), help="For the duration 'repeating'.")
def create_coupon(**given: Any) -> Step:
    """Create a coupon."""
    return operations.create_coupon(**given)


@lists(GROUPS["coupons"], "list")
def list_coupons() -> Listing:
    """List coupons, the newest first."""
    return operations.list_coupons()


@changes("invoices", "create")
@click.argument("customer")
@click.option(
    "--days-until-due", type=click.IntRange(0, 365), help="Send it by mail. Default: charge the card on file."
)
@click.option("--description")
def create_invoice(customer: str, days_until_due: int | None, description: str | None) -> Step:
    """Create a draft invoice; fill it with `add-item`, then `finalize` it."""
    return operations.create_invoice(customer, days_until_due, description)


@changes("invoices", "add-item")
@click.argument("invoice")
@click.option("--customer", required=True)
@click.option("--amount-cents", type=CENTS, required=True)
@currency
@click.option("--description", required=True)
def add_item(invoice: str, customer: str, amount_cents: int, currency: str, description: str) -> Step:
    """Put a line into a draft invoice."""
    return operations.create_invoice_item(customer, invoice, amount_cents, currency, description)


@changes("invoices", "finalize")
@click.argument("invoice")
def finalize_invoice(invoice: str) -> Step:
    """Give a draft invoice its number."""
    return operations.finalize_invoice(invoice)


@lists(GROUPS["invoices"], "list")
@click.option("--customer", help="Only of this customer.")
def list_invoices(customer: str | None) -> Listing:
    """List invoices, the newest first."""
    return operations.list_invoices(customer)


@lists(GROUPS["subscriptions"], "list")
@click.option("--customer", help="Only of this customer.")
@click.option("--status", default="all", show_default=True)
def list_subscriptions(customer: str | None, status: str) -> Listing:
    """List subscriptions, the newest first."""
    return operations.list_subscriptions(customer, status)


@changes("subscriptions", "update")
@click.argument("subscription")
@click.option("--price")
@click.option("--quantity", type=click.IntRange(1, 10_000))
@click.option("--ends-at-period-end/--goes-on", default=None)
@click.option(
    "--proration",
    type=click.Choice(["always_invoice", "create_prorations", "none"]),
    default="always_invoice",
    show_default=True,
    help="What the change costs: invoiced at once, with the next invoice, or nothing.",
)
def update_subscription(**given: Any) -> Step:
    """Change the price or quantity of a subscription, or whether it ends with its period."""
    return operations.update_subscription(given.pop("subscription"), **given)


@changes("subscriptions", "cancel")
@click.argument("subscription")
@click.option("--invoice-now", "invoices_now", is_flag=True, help="Bill what is still open.")
@click.option("--prorate", "prorates", is_flag=True, help="Credit the rest of the period.")
def cancel_subscription(subscription: str, invoices_now: bool, prorates: bool) -> Step:
    """End a subscription now; to end it with its period use `update --ends-at-period-end`."""
    return operations.cancel_subscription(subscription, invoices_now=invoices_now, prorates=prorates)


@changes("refunds", "create")
@click.argument("charge")
@click.option("--amount-cents", type=CENTS, help="Default: all that is left.")
@click.option(
    "--reason", type=click.Choice(list(refunding.REASONS)), default="requested_by_customer", show_default=True
)
def create_refund(charge: str, amount_cents: int | None, reason: str) -> Step:
    """Refund a charge; the back office shows beforehand what that does to the credits."""
    return operations.create_refund(charge, amount_cents, reason)


@lists(GROUPS["disputes"], "list")
@click.option("--charge", help="Only of this charge.")
def list_disputes(charge: str | None) -> Listing:
    """List disputes, the newest first."""
    return operations.list_disputes(charge)


@changes("disputes", "update")
@click.argument("dispute")
@click.option("--evidence", "fields", multiple=True, required=True, help="field=text, as often as needed.")
@click.option("--submit", is_flag=True, help="Send it to the bank, once and for all. Default: keep a draft.")
def update_dispute(dispute: str, fields: tuple[str, ...], submit: bool) -> Step:
    """Keep evidence with a dispute, or send it."""
    given = dict(field.partition("=")[::2] for field in fields)
    return operations.update_dispute(dispute, given, submit=submit)
