"""Look at the patient: is the ledger sound, is everything paid also granted, does Stripe know us as we know it?

Each check returns findings: one sentence on what is wrong and one on what to do. No finding means healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import clock
from accounts.models import Account
from billing import access, errors, gateway, inbox, stripe_catalog, sync_queue
from billing.models import CheckoutIntent, Payment, PlanGrant, StripeEvent, Subscription, SyncTask
from config import Config
from ledger import invariants
from ledger.models import Bucket
from mail.models import Email

Json = dict[str, Any]

LATE = timedelta(seconds=60)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and its remedy."""

    check: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One question; `asks_stripe` tells whether answering it needs the network."""

    name: str
    find: Callable[[Session], Iterable[tuple[str, str]]]
    asks_stripe: bool = False


def examine(session: Session, *, offline: bool = False) -> Iterator[tuple[Check, list[Finding]]]:
    """Run every check, those of the database first, and yield what each found; changes nothing."""
    for check in CHECKS:
        if offline and check.asks_stripe:
            continue
        try:
            found = [Finding(check.name, problem, remedy) for problem, remedy in check.find(session)]
        except errors.StripeError as error:
            found = [Finding(check.name, f"Stripe did not answer: {error}", "See the check of the key; try again.")]
        yield check, found


# Our own books -----------------------------------------------------------------------------------------------------


def _ledger(session: Session) -> Iterator[tuple[str, str]]:
    for violation in invariants.violations(session):
        yield violation, "Stop spending, keep the database as it is, and compare with the last good backup."


def _paid_but_not_granted(session: Session) -> Iterator[tuple[str, str]]:
    query = (
        select(Payment.stripe_charge_id)
        .outerjoin(Bucket, (Bucket.account_id == Payment.account_id) & (Bucket.source == Payment.grant_source))
        .where(Payment.grant_source.is_not(None), Bucket.id.is_(None))
    )
    for charge_id in session.scalars(query):
        yield f"{charge_id} was paid and its credits were never granted", "Replay an event of it: flask webhooks replay"


def _grants_of_plans(session: Session) -> Iterator[tuple[str, str]]:
    query = (
        select(PlanGrant.source)
        .outerjoin(Bucket, (Bucket.account_id == PlanGrant.account_id) & (Bucket.source == PlanGrant.source))
        .where(Bucket.id.is_(None))
    )
    for source in session.scalars(query):
        yield f"{source} counts as granted and is not in the ledger", "Restore the ledger from the backup that has it."


def _second_subscriptions(session: Session) -> Iterator[tuple[str, str]]:
    query = (
        select(Subscription.account_id, func.count())
        .where(Subscription.stripe_status.in_(access.LIVE))
        .group_by(Subscription.account_id)
        .having(func.count() > 1)
    )
    for account_id, count in session.execute(query):
        yield f"account {account_id} has {count} live subscriptions", "Cancel and refund the newer one at Stripe."


def _unknown_plans(session: Session) -> Iterator[tuple[str, str]]:
    query = select(Subscription).where(Subscription.stripe_status.in_(access.LIVE), Subscription.plan_key.is_(None))
    for row in session.scalars(query):
        yield (
            f"{row.stripe_id} is {row.stripe_status} at price {row.stripe_price_id}, which the catalogue does not list",
            "List the plan again, or move the subscriber to one that is sold: until then it opens nothing.",
        )


def _late_work(session: Session) -> Iterator[tuple[str, str]]:
    waited = sync_queue.oldest_wait(session)
    if waited > LATE:
        yield f"an object has waited {waited.total_seconds():.0f} s for the worker", "Is `flask worker` running?"


def _dead_work(session: Session) -> Iterator[tuple[str, str]]:
    for task in session.scalars(select(SyncTask).where(SyncTask.state == "dead")):
        yield (
            f"{task.kind} {task.object_id} was given up after {task.attempts} attempts: {task.last_error}",
            "Mend the cause, then have it worked on again: flask webhooks replay",
        )


def _dead_mail(session: Session) -> Iterator[tuple[str, str]]:
    count = session.scalar(select(func.count()).select_from(Email).where(Email.status == "dead")) or 0
    if count:
        yield f"{count} mails could not be delivered", "Look at their last_error in the table emails."


def _stuck_checkouts(session: Session) -> Iterator[tuple[str, str]]:
    query = select(CheckoutIntent).where(
        CheckoutIntent.status == "open", CheckoutIntent.expires_at < clock.now() - timedelta(days=1)
    )
    for intent in session.scalars(query):
        yield (
            f"the checkout {intent.stripe_session_id} is open here, although it ran out on {intent.expires_at:%d %B}",
            "Are webhooks or the poller reaching the app? Replay its events.",
        )


# Stripe's view of us ------------------------------------------------------------------------------------------------


def _key(_session: Session) -> Iterator[tuple[str, str]]:
    try:
        gateway.call(lambda c: c.v1.accounts.retrieve_current())
    except errors.StripeUnavailable as error:
        yield f"Stripe cannot be reached: {error}", "Check STRIPE_API_BASE, the network, and status.stripe.com."
    except errors.StripeError as error:
        yield f"Stripe refuses the key: {error}", "Copy STRIPE_SECRET_KEY anew from Stripe's Dashboard."


def _endpoint(_session: Session) -> Iterator[tuple[str, str]]:
    config = _config()
    url = f"{config.app_base_url}/webhooks/stripe"
    endpoints = [e for e in gateway.pages(lambda c: c.v1.webhook_endpoints.list({"limit": 100})) if e["url"] == url]
    if not endpoints:
        yield (
            f"Stripe has no webhook endpoint at {url}",
            "Make one; until then the poller bridges the gap.",
        )
    for endpoint in endpoints:
        yield from _endpoint_problems(endpoint)
    if endpoints and not config.stripe_webhook_secrets:
        yield "no signing secret is set, so every webhook is refused", "Set STRIPE_WEBHOOK_SECRETS to the endpoint's."


def _endpoint_problems(endpoint: Json) -> Iterator[tuple[str, str]]:
    if endpoint["status"] != "enabled":
        yield f"the endpoint {endpoint['id']} is {endpoint['status']}", "Enable it in Stripe's Dashboard."
    if endpoint.get("api_version") not in {None, gateway.API_VERSION}:
        yield (
            f"the endpoint speaks {endpoint['api_version']}, the app {gateway.API_VERSION}",
            "Payloads are only hints, so it works; make a new endpoint with the app's version when you can.",
        )
    missing = set(inbox.HANDLED) - set(endpoint["enabled_events"])
    if missing and "*" not in endpoint["enabled_events"]:
        yield f"the endpoint does not send {', '.join(sorted(missing))}", "Add these event types to the endpoint."


def _signing_secret(session: Session) -> Iterator[tuple[str, str]]:
    """Nothing tells a wrong secret from a quiet day, except events that only the poller brought."""
    since = clock.now() - timedelta(days=1)
    query = select(StripeEvent.source, func.count()).where(StripeEvent.received_at > since).group_by(StripeEvent.source)
    count = dict(session.execute(query).all())
    if count.get("poll", 0) > 0 and not count.get("webhook", 0):
        yield (
            f"{count['poll']} events of the last day were found by the poller and none came by webhook",
            "Does STRIPE_WEBHOOK_SECRETS hold the endpoint's signing secret, and can Stripe reach APP_BASE_URL?",
        )


def _prices(_session: Session) -> Iterator[tuple[str, str]]:
    for change in stripe_catalog.plan_changes():
        yield (
            f"{change.kind} {change.name}: {change.detail}",
            "Look at `flask catalog diff`, then `flask catalog push`.",
        )


def _mode(session: Session) -> Iterator[tuple[str, str]]:
    row = session.scalar(select(Account.stripe_customer_id).where(Account.stripe_customer_id.is_not(None)).limit(1))
    if row is None:
        return
    try:
        gateway.call(lambda c: c.v1.customers.retrieve(row))
    except errors.StripeObjectMissing:
        yield (
            f"Stripe does not know the customer {row}",
            "The database belongs to another Stripe account or mode: test and live must not share one.",
        )


def _subscriptions_elsewhere(session: Session) -> Iterator[tuple[str, str]]:
    """Compare the live subscriptions at Stripe with ours, in both directions."""
    known = {row.stripe_id: row for row in session.scalars(select(Subscription))}
    customers = set(session.scalars(select(Account.stripe_customer_id).where(Account.stripe_customer_id.is_not(None))))
    there = {s["id"]: s for s in gateway.pages(lambda c: c.v1.subscriptions.list({"limit": 100}))}
    for stripe_id, theirs in there.items():
        if theirs["customer"] not in customers:
            continue
        ours = known.get(stripe_id)
        if ours is None or ours.stripe_status != theirs["status"]:
            here = ours.stripe_status if ours else "unknown"
            yield (
                f"{stripe_id} is {theirs['status']} at Stripe and {here} here",
                "Replay its events, or wait for the poller.",
            )
    for stripe_id, ours in known.items():
        if ours.stripe_status in access.LIVE and stripe_id not in there:
            yield f"{stripe_id} is {ours.stripe_status} here and not live at Stripe", "Replay its events."


CHECKS = (
    Check("ledger", _ledger),
    Check("every payment has its credits", _paid_but_not_granted),
    Check("every plan's grant is in the ledger", _grants_of_plans),
    Check("one live subscription per account", _second_subscriptions),
    Check("subscriptions are of the catalogue", _unknown_plans),
    Check("the worker keeps up", _late_work),
    Check("nothing was given up", _dead_work),
    Check("mail leaves", _dead_mail),
    Check("checkouts end", _stuck_checkouts),
    Check("webhooks arrive", _signing_secret),
    Check("Stripe accepts the key", _key, asks_stripe=True),
    Check("Stripe's webhook endpoint", _endpoint, asks_stripe=True),
    Check("Stripe sells the catalogue", _prices, asks_stripe=True),
    Check("the database belongs to this Stripe account", _mode, asks_stripe=True),
    Check("subscriptions agree with Stripe's", _subscriptions_elsewhere, asks_stripe=True),
)


def _config() -> Config:
    config: Config = current_app.config["TOLLGATE"]
    return config
