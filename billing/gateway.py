"""The only module that talks to Stripe: it sends, verifies, translates errors, and hands out plain dicts.

Everything here may take seconds and must never be called inside a transaction. StripeObjects stop here: they are no
dicts (SDK 15 and later) and carry the secret key when pickled, so callers get JSON-ready dicts of Stripe's own shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import stripe
from flask import Flask, current_app

import database
from billing import errors
from config import Config

Json = dict[str, Any]

API_VERSION = stripe.api_version
SIGNATURE_TOLERANCE_SECONDS = 300
MAX_WEBHOOK_BYTES = 256 * 1024
# The SDK compares signatures with hmac.compare_digest, which raises TypeError on anything but ASCII.
SIGNATURE_HEADER = re.compile(r"[\x20-\x7e]{1,1024}")
STRIPE_ID = re.compile(r"[A-Za-z0-9_]{1,255}")
EVENT_TYPE = re.compile(r"[a-z0-9_.]{1,100}")
LAST_SECOND = 2**33  # in the year 2242; beyond it times cannot be told

# Connect and read time-outs in seconds. The SDK's default of 80 s outlives a web worker's own time-out of 30 s.
PATIENT = (3.05, 10)
QUICK = (1.5, 4)


def init_app(app: Flask, config: Config, http_client: stripe.HTTPClient | None = None) -> None:
    """Bind Stripe's clients to the app; `http_client` replaces the network in tests."""
    stripe.enable_telemetry = False  # it would write into the home directory and send the platform's name
    stripe.set_app_info("tollgate", version="0.1.0")
    app.extensions["stripe"] = _client(config, http_client or stripe.RequestsClient(timeout=PATIENT), retries=2)
    app.extensions["stripe.prices"] = {}
    app.extensions["stripe.quick"] = _client(config, http_client or stripe.RequestsClient(timeout=QUICK), retries=0)


def client() -> stripe.StripeClient:
    """Return Stripe's client for work that can wait; its calls raise the SDK's errors: use `call`."""
    return cast(stripe.StripeClient, current_app.extensions["stripe"])


def call(request: Callable[[stripe.StripeClient], Any], *, quick: bool = False) -> Json:
    """Make one request and return Stripe's answer as a plain dict.

    `quick` gives up within about 5 s and never retries: for a page that a person waits for. Raises children of
    errors.StripeError: StripeUnavailable when trying later may help, StripeRefused when it will not.
    """
    database.end_reads()
    with _translated():
        answer = request(current_app.extensions["stripe.quick"] if quick else client())
        return cast(Json, answer.to_dict(for_json=True))


def pages(request: Callable[[stripe.StripeClient], Any]) -> Iterator[Json]:
    """Yield every item of a list, page after page, as plain dicts; raises as `call` does."""
    database.end_reads()
    with _translated():
        for item in request(client()).auto_paging_iter():
            yield item.to_dict(for_json=True)


def verify_event(raw: bytes, signature: str) -> Json:
    """Return the event in a webhook's raw body, proved to come from Stripe.

    Every configured secret is tried, so that secrets can be rolled. Raises UnverifiedWebhook for anything else,
    whatever it is: this is the one door that strangers may knock at.
    """
    if not SIGNATURE_HEADER.fullmatch(signature) or len(raw) > MAX_WEBHOOK_BYTES:
        raise errors.UnverifiedWebhook("malformed signature header or oversized body")
    config: Config = current_app.config["TOLLGATE"]
    for secret in config.stripe_webhook_secrets:
        if _is_signed_with(secret, raw, signature):
            return _parsed_event(raw)
    raise errors.UnverifiedWebhook("no configured secret matches the signature")


def _is_signed_with(secret: str, raw: bytes, signature: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(raw, signature, secret, SIGNATURE_TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False
    return True


def _parsed_event(raw: bytes) -> Json:
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise errors.UnverifiedWebhook("the body is no JSON") from error
    if not _looks_like_an_event(event):
        raise errors.UnverifiedWebhook("the body is no snapshot event")
    return cast(Json, event)


def _looks_like_an_event(event: object) -> bool:
    if not isinstance(event, dict) or event.get("object") != "event":
        return False
    data, created, version = event.get("data"), event.get("created"), event.get("api_version")
    return (
        is_id(event.get("id"))
        and isinstance(event.get("type"), str)
        and EVENT_TYPE.fullmatch(event["type"]) is not None
        and isinstance(created, int)
        and 0 <= created <= LAST_SECOND
        and isinstance(event.get("livemode"), bool)
        and (version is None or (isinstance(version, str) and len(version) <= 40))
        and isinstance(data, dict)
        and isinstance(data.get("object"), dict)
    )


def is_id(value: object) -> bool:
    """Tell whether something can be the id of an object at Stripe: it becomes part of addresses."""
    return isinstance(value, str) and STRIPE_ID.fullmatch(value) is not None


# What the app asks Stripe ------------------------------------------------------------------------------------------


def create_customer(params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Create a customer, or get the one that the same key created within the last day."""
    return call(lambda c: c.v1.customers.create(cast(Any, params), {"idempotency_key": idempotency_key}))


def create_checkout_session(params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Create a hosted Checkout session, or get the one that the same key created within the last day."""
    return call(lambda c: c.v1.checkout.sessions.create(cast(Any, params), {"idempotency_key": idempotency_key}))


def expire_checkout_session(session_id: str) -> Json:
    """Close an open Checkout session, so that nobody can pay it any more."""
    return call(lambda c: c.v1.checkout.sessions.expire(_present(session_id)))


def retrieve_checkout_session(session_id: str, *, quick: bool = False) -> Json:
    """Fetch a Checkout session with its line items and its payment."""
    expand = {"expand": ["line_items", "payment_intent"]}
    return call(lambda c: c.v1.checkout.sessions.retrieve(_present(session_id), cast(Any, expand)), quick=quick)


def find_checkout_session(payment_intent_id: str) -> Json | None:
    """Find the Checkout session that a payment belongs to, with its line items and its payment, or None."""
    params = {"payment_intent": payment_intent_id, "expand": ["data.line_items", "data.payment_intent"], "limit": 1}
    found = call(lambda c: c.v1.checkout.sessions.list(cast(Any, params)))["data"]
    return found[0] if found else None


def retrieve_subscription(subscription_id: str, *, quick: bool = False) -> Json:
    """Fetch a subscription with its latest invoice, the card it charges, and its schedule with whole prices."""
    expand = {"expand": ["latest_invoice", "default_payment_method", "schedule"]}
    found = call(lambda c: c.v1.subscriptions.retrieve(_present(subscription_id), cast(Any, expand)), quick=quick)
    for phase in (found.get("schedule") or {}).get("phases", []):
        for item in phase["items"]:
            item["price"] = retrieve_price(item["price"], quick=quick)
    return found


def update_subscription(subscription_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Change a subscription, once per key."""
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscriptions.update(_present(subscription_id), cast(Any, params), options))


def preview_change(subscription_id: str, details: Mapping[str, Any], *, is_recurring: bool = False) -> Json:
    """Work out the invoice that a change of a subscription would bring, with the whole price of each line.

    `is_recurring` leaves out what happens only once: what a whole period costs after the change.
    """
    params: Json = {"subscription": _present(subscription_id), "subscription_details": details}
    if is_recurring:
        params["preview_mode"] = "recurring"
    preview = call(lambda c: c.v1.invoices.create_preview(cast(Any, params)))
    for line in preview["lines"]["data"]:
        _put_price_into(line, quick=False)
    return preview


def void_invoice(invoice_id: str, *, idempotency_key: str) -> Json:
    """Call an open invoice off, so that nobody pays it any more."""
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.invoices.void_invoice(_present(invoice_id), {}, options))


def schedule_of(subscription_id: str, *, idempotency_key: str) -> Json:
    """Put a subscription under a schedule whose one phase is the present period."""
    params: Json = {"from_subscription": _present(subscription_id)}
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscription_schedules.create(cast(Any, params), options))


def update_schedule(schedule_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Change what a schedule plans, once per key."""
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscription_schedules.update(_present(schedule_id), cast(Any, params), options))


def release_schedule(schedule_id: str, *, idempotency_key: str) -> Json:
    """Give up what a schedule planned and leave its subscription as it is."""
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscription_schedules.release(_present(schedule_id), {}, options))


def retrieve_invoice(invoice_id: str, *, quick: bool = False) -> Json:
    """Fetch an invoice with its payments, all of its lines, and the whole price of each line."""
    expand = {"expand": ["payments.data.payment.payment_intent"]}
    invoice = call(lambda c: c.v1.invoices.retrieve(_present(invoice_id), cast(Any, expand)), quick=quick)
    if invoice["lines"]["has_more"]:
        lines = pages(lambda c: c.v1.invoices.line_items.list(invoice_id, {"limit": 100}))
        invoice["lines"] = {**invoice["lines"], "data": list(lines), "has_more": False}
    for line in invoice["lines"]["data"]:
        _put_price_into(line, quick=quick)
    return invoice


def find_invoice_of_payment(payment_intent_id: str) -> str | None:
    """Find the id of the invoice that a payment paid; None if it paid none."""
    params = {"payment": {"type": "payment_intent", "payment_intent": payment_intent_id}, "limit": 1}
    found = call(lambda c: c.v1.invoice_payments.list(cast(Any, params)))["data"]
    return cast(str, found[0]["invoice"]) if found else None


def retrieve_charge(charge_id: str, *, quick: bool = False) -> Json:
    """Fetch a charge, with its disputes (newest first) under the key `disputes`."""
    charge = call(lambda c: c.v1.charges.retrieve(_present(charge_id)), quick=quick)
    charge["disputes"] = []
    if charge["disputed"]:
        charge["disputes"] = call(lambda c: c.v1.disputes.list({"charge": charge_id, "limit": 100}))["data"]
    return charge


def list_events(*, since: int, types: list[str]) -> Iterator[Json]:
    """Yield the events of some types created since an epoch second, newest first; Stripe keeps 30 days."""
    for some in (types[i : i + 20] for i in range(0, len(types), 20)):  # Stripe takes at most 20 types in one request
        params = {"types": some, "created": {"gte": since}, "limit": 100}
        yield from pages(lambda c, params=params: c.v1.events.list(cast(Any, params)))  # type: ignore[misc]


def find_prices(lookup_keys: list[str]) -> list[Json]:
    """Find the active prices with some lookup keys."""
    found: list[Json] = []
    for some in (lookup_keys[i : i + 10] for i in range(0, len(lookup_keys), 10)):  # Stripe takes at most 10 at once
        params = {"lookup_keys": some, "active": True, "limit": 100}
        found += call(lambda c, params=params: c.v1.prices.list(cast(Any, params)))["data"]  # type: ignore[misc]
    return found


def create_portal_session(customer_id: str, *, return_url: str, configuration: str | None = None) -> Json:
    """Open the Customer Portal for a customer; its address is short-lived and never stored."""
    params: Json = {"customer": customer_id, "return_url": return_url}
    if configuration:
        params["configuration"] = configuration
    return call(lambda c: c.v1.billing_portal.sessions.create(cast(Any, params)))


def retrieve_price(price_id: str, *, quick: bool = False) -> Json:
    """Fetch a price, once per process: its amount, currency, interval and product never change."""
    known: dict[str, Json] = current_app.extensions["stripe.prices"]
    if price_id not in known:
        known[price_id] = call(lambda c: c.v1.prices.retrieve(_present(price_id)), quick=quick)
    return known[price_id]


# How it is done ----------------------------------------------------------------------------------------------------


def _client(config: Config, http_client: stripe.HTTPClient, *, retries: int) -> stripe.StripeClient:
    # A StripeClient retries nothing unless told to; the module-wide setting is for the old style of calls.
    addresses: Any = {"base_addresses": {"api": config.stripe_api_base}} if config.stripe_api_base else {}
    return stripe.StripeClient(
        config.stripe_secret_key, max_network_retries=retries, http_client=http_client, **addresses
    )


def _put_price_into(line: Json, *, quick: bool) -> None:
    # A line names its price five levels deep and Stripe expands four, so it has to be asked for by itself.
    details = (line.get("pricing") or {}).get("price_details") or {}
    if isinstance(details.get("price"), str):
        details["price"] = retrieve_price(details["price"], quick=quick)


def _present(stripe_id: str) -> str:
    # The SDK sends `GET /v1/subscriptions/` for an empty id and returns a list where one object was meant.
    if not stripe_id:
        raise ValueError("an empty id was sent to Stripe")
    return stripe_id


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        raise _translate(error) from error


def _translate(error: stripe.StripeError) -> errors.StripeError:
    code = getattr(error.error, "code", None) or error.code
    facts = {"code": code, "request_id": error.request_id}
    if isinstance(error, stripe.CardError):
        return errors.CardDeclined(str(error), user_message=error.user_message or "", **facts)
    if code == "resource_missing":
        return errors.StripeObjectMissing(str(error), **facts)
    is_passing = (
        isinstance(error, (stripe.APIConnectionError, stripe.RateLimitError)) or (error.http_status or 0) >= 500
    )
    if is_passing or error.http_status in {409, 429}:
        return errors.StripeUnavailable(str(error), **facts)
    return errors.StripeRefused(str(error), **facts)
