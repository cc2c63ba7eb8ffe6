"""What the doctor asks Stripe: does it accept us, deliver to us, sell what we sell, and know whom we know?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import Session

import database
from accounts.models import Account
from billing import access, differences, errors, gateway, inbox, stripe_catalog
from billing.doctor_words import Check, Told
from billing.models import Subscription
from billing.stripe_changes import Kind
from config import Config

Json = dict[str, Any]

PATH = "/webhooks/stripe"


def _key(_session: Session) -> Iterator[Told]:
    try:
        gateway.call(lambda c: c.v1.accounts.retrieve_current())
    except errors.StripeUnavailable as error:
        yield f"Stripe cannot be reached: {error}", "Check STRIPE_API_BASE, the network, and status.stripe.com."
    except errors.StripeError as error:
        yield f"Stripe refuses the key: {error}", "Copy STRIPE_SECRET_KEY anew from Stripe's Dashboard."


def _endpoint(_session: Session) -> Iterator[Told]:
    config: Config = current_app.config["TOLLGATE"]
    url = f"{config.app_base_url}{PATH}"
    every = list(gateway.pages(lambda c: c.v1.webhook_endpoints.list({"limit": 100})))
    ours = [endpoint for endpoint in every if endpoint["url"] == url]
    for endpoint in ours:
        yield from _endpoint_problems(endpoint)
    if ours:
        return
    elsewhere = [e["url"] for e in every if urlsplit(e["url"]).path.rstrip("/") == PATH]
    if elsewhere:
        yield (
            f"Stripe delivers to {', '.join(elsewhere)}, and APP_BASE_URL makes it {url}",
            "Set APP_BASE_URL to the address that people use, or make an endpoint for it.",
        )
    else:
        yield f"Stripe has no webhook endpoint at {url}", "Make one; until then the poller bridges the gap."


def _endpoint_problems(endpoint: Json) -> Iterator[Told]:
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


def _prices(_session: Session) -> Iterator[Told]:
    for change in stripe_catalog.plan_changes():
        what = "the Customer Portal" if change.kind is Kind.PORTAL else f"{change.kind} {change.name}"
        yield f"{what}: {change.detail}", "Look at `flask catalog diff`, then `flask catalog push`."


def _mode(session: Session) -> Iterator[Told]:
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


def _subscriptions_elsewhere(session: Session) -> Iterator[Told]:
    """Compare the live subscriptions at Stripe with ours, in both directions."""
    there: set[str] = set()
    page: list[Json] = []
    for theirs in gateway.pages(lambda c: c.v1.subscriptions.list({"limit": 100})):
        there.add(theirs["id"])
        page.append(theirs)
        if len(page) == 100:
            yield from _differing(session, page)
            page = []
    yield from _differing(session, page)
    live = select(Subscription.stripe_id, Subscription.stripe_status).where(Subscription.stripe_status.in_(access.LIVE))
    for stripe_id, status in session.execute(live).all():
        if stripe_id not in there:
            yield f"{stripe_id} is {status} here and not live at Stripe", f"flask webhooks replay {stripe_id}"


def _differing(session: Session, page: list[Json]) -> Iterator[Told]:
    found = list(differences.in_subscriptions(session, page))
    database.end_reads()  # the next page is asked for
    for difference in found:
        remedy = "Find its account" if not difference.is_mendable else f"flask webhooks replay {difference.object_id}"
        yield f"{difference.object_id} {difference.words}", f"{remedy}; flask compare looks at everything else, too."


CHECKS = (
    Check("Stripe accepts the key", _key, asks_stripe=True),
    Check("Stripe's webhook endpoint", _endpoint, asks_stripe=True),
    Check("Stripe sells the catalogue", _prices, asks_stripe=True),
    Check("the database belongs to this Stripe account", _mode, ("I16",), asks_stripe=True),
    Check("subscriptions agree with Stripe's", _subscriptions_elsewhere, ("I12",), asks_stripe=True),
)
