"""The only module that talks to Stripe: it sends, verifies, translates errors, and hands out plain dicts.

Everything here may take seconds and must never be called inside a transaction. StripeObjects stop here: they are no
dicts (SDK 15 and later) and carry the secret key when pickled, so callers get JSON-ready dicts of Stripe's own shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import stripe
from flask import Flask, current_app

import database
import failpoints
from billing import errors, pacing
from config import Config

Json = dict[str, Any]

API_VERSION = stripe.api_version
# Stripe.js is versioned by the API's release train: https://docs.stripe.com/sdks/stripejs-versioning
SCRIPT_PATH = f"/{API_VERSION.partition('.')[2]}/stripe.js"
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
# For how many seconds a request may wait for its turn (billing/pacing.py) before it is put off.
PATIENT_TURN = 2.0
QUICK_TURN = 0.5


def init_app(app: Flask, config: Config, http_client: stripe.HTTPClient | None = None) -> None:
    """Bind Stripe's clients to the app; `http_client` replaces the network in tests."""
    stripe.enable_telemetry = False  # it would write into the home directory and send the platform's name
    stripe.set_app_info("tollgate", version="0.1.0")
    app.extensions["stripe.pace"] = pacing.Pace(config.stripe_requests_per_second)
    app.extensions["stripe.prices"] = {}
    patient = _Paced(app, http_client or stripe.RequestsClient(timeout=PATIENT), patience=PATIENT_TURN)
    quick = _Paced(app, http_client or stripe.RequestsClient(timeout=QUICK), patience=QUICK_TURN)
    app.extensions["stripe"] = _client(config, patient, retries=2)
    app.extensions["stripe.quick"] = _client(config, quick, retries=0)


def client() -> stripe.StripeClient:
    """Return Stripe's client for work that can wait; its calls raise the SDK's errors: use `call`."""
    return cast(stripe.StripeClient, current_app.extensions["stripe"])


def call(request: Callable[[stripe.StripeClient], Any], *, quick: bool = False) -> Json:
    """Make one request and return Stripe's answer as a plain dict.

    `quick` gives up within about 5 s and never retries: for a page that a person waits for. Raises children of
    errors.StripeError: StripeUnavailable when trying later may help, StripeRefused when it will not, StripeKeyRefused
    when the settings are wrong.
    """
    database.end_reads()
    with _translated():
        failpoints.hit("stripe.asking")
        answer = request(current_app.extensions["stripe.quick"] if quick else client())
        failpoints.hit("stripe.answered")
        return cast(Json, answer.to_dict(for_json=True))


def pages(request: Callable[[stripe.StripeClient], Any]) -> Iterator[Json]:
    """Yield every item of a list, page after page, as plain dicts; raises as `call` does."""
    database.end_reads()
    with _translated():
        for item in request(client()).auto_paging_iter():
            yield item.to_dict(for_json=True)


def verify_event(raw: bytes, signature: str) -> tuple[Json, str]:
    """Return the event in a webhook's raw body, proved to come from Stripe, and the body as text.

    Every configured secret is tried, so that secrets can be rolled. Raises UnverifiedWebhook for anything else,
    whatever it is: this is the one door that strangers may knock at.
    """
    if not SIGNATURE_HEADER.fullmatch(signature) or len(raw) > MAX_WEBHOOK_BYTES:
        raise errors.UnverifiedWebhook("malformed signature header or oversized body")
    config: Config = current_app.config["TOLLGATE"]
    for secret in config.stripe_webhook_secrets:
        if _is_signed_with(secret, raw, signature):
            return _parsed_event(raw)
    raise errors.ForeignSignature("no configured secret matches the signature")


def _is_signed_with(secret: str, raw: bytes, signature: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(raw, signature, secret, SIGNATURE_TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False
    return True


def _parsed_event(raw: bytes) -> tuple[Json, str]:
    try:
        text = raw.decode()
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.UnverifiedWebhook("the body is no JSON") from error
    if not _looks_like_an_event(event):
        raise errors.UnverifiedWebhook("the body is no snapshot event")
    return cast(Json, event), text


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
        and (version is None or (isinstance(version, str) and len(version) <= 40 and version.isprintable()))
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


def retrieve_payment_intent(payment_intent_id: str, *, quick: bool = False) -> Json:
    """Fetch a payment."""
    return call(lambda c: c.v1.payment_intents.retrieve(_present(payment_intent_id)), quick=quick)


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
    """Fetch a subscription with its latest invoice, its schedule with whole prices, and under `charged_to` what pays.

    That is the subscription's own payment method or else its customer's (`customers_method`). Of the customer only the
    id is handed on, and a discount (`customers_discount`).
    """
    customers_own = "customer.invoice_settings.default_payment_method"
    expand = {"expand": ["latest_invoice", "default_payment_method", "schedule", customers_own]}
    found = call(lambda c: c.v1.subscriptions.retrieve(_present(subscription_id), cast(Any, expand)), quick=quick)
    customer = found["customer"]
    if isinstance(customer, str):
        customer = {"id": customer}  # one that was deleted is not expanded, or says nothing but that
    found["customers_method"] = (customer.get("invoice_settings") or {}).get("default_payment_method")
    found["charged_to"] = found["default_payment_method"] or found["customers_method"]
    found["customer"], found["customers_discount"] = customer["id"], customer.get("discount")
    for phase in (found.get("schedule") or {}).get("phases", []):
        for item in phase["items"]:
            item["price"] = retrieve_price(item["price"], quick=quick)
    return found


def update_subscription(subscription_id: str, params: Mapping[str, Any], *, idempotency_key: str) -> Json:
    """Change a subscription, once per key."""
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscriptions.update(_present(subscription_id), cast(Any, params), options))


def cancel_subscription(subscription_id: str, *, comment: str, idempotency_key: str) -> Json:
    """End a subscription at once, without charging anything more; `comment` is kept with it."""
    params: Any = {"cancellation_details": {"comment": comment}}
    options: Any = {"idempotency_key": idempotency_key}
    return call(lambda c: c.v1.subscriptions.cancel(_present(subscription_id), params, options))


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


def list_paid_invoices(subscription_id: str, *, since: datetime, quick: bool = False) -> list[Json]:
    """List the paid invoices of a subscription that were created since an instant, newest first, as Stripe lists them.

    Their prices are ids and their payments are left out: fetch the ones of interest.
    """
    found: list[Json] = []
    params: Json = {"subscription": _present(subscription_id), "status": "paid", "limit": 100}
    params["created"] = {"gte": int(since.timestamp())}
    while True:
        page = call(lambda c: c.v1.invoices.list(cast(Any, params)), quick=quick)
        found += page["data"]
        if not page["has_more"]:
            return found
        params["starting_after"] = page["data"][-1]["id"]


def find_invoice_of_payment(payment_intent_id: str) -> str | None:
    """Find the id of the invoice that a payment paid; None if it paid none."""
    params = {"payment": {"type": "payment_intent", "payment_intent": payment_intent_id}, "limit": 1}
    found = call(lambda c: c.v1.invoice_payments.list(cast(Any, params)))["data"]
    return cast(str, found[0]["invoice"]) if found else None


def retrieve_charge(charge_id: str, *, quick: bool = False) -> Json:
    """Fetch a charge with all of its refunds, and its disputes (newest first) under the key `disputes`."""
    expand: Any = {"expand": ["refunds"]}
    charge = call(lambda c: c.v1.charges.retrieve(_present(charge_id), expand), quick=quick)
    if charge["refunds"]["has_more"]:
        charge["refunds"]["data"] = list(pages(lambda c: c.v1.refunds.list({"charge": charge_id, "limit": 100})))
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


def retrieve_price(price_id: str, *, quick: bool = False) -> Json:
    """Fetch a price, once per process: its amount, currency, interval and product never change."""
    known: dict[str, Json] = current_app.extensions["stripe.prices"]
    if price_id not in known:
        known[price_id] = call(lambda c: c.v1.prices.retrieve(_present(price_id), {"expand": ["tiers"]}), quick=quick)
    return known[price_id]


# How it is done ----------------------------------------------------------------------------------------------------


def _client(config: Config, http_client: stripe.HTTPClient, *, retries: int) -> stripe.StripeClient:
    # A StripeClient retries nothing unless told to; the module-wide setting is for the old style of calls.
    # Files have a host of their own at Stripe; a local Stripe takes them where it takes everything.
    local = dict.fromkeys(("api", "files"), config.stripe_api_base)
    addresses: Any = {"base_addresses": local} if config.stripe_api_base else {}
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
        made = getattr(error.error, "payment_intent", None)
        return errors.CardDeclined(
            str(error), user_message=error.user_message or "", payment_intent_id=getattr(made, "id", None), **facts
        )
    if code == "resource_missing":
        return errors.StripeObjectMissing(str(error), **facts)
    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        return errors.StripeKeyRefused(str(error), **facts)
    if isinstance(error, stripe.APIConnectionError):
        return errors.StripeUnreachable(str(error), **facts)
    if error.http_status == 429:
        return errors.StripeBusy(str(error), retry_after=_seconds_named(error.headers) or 0.0, **facts)
    if error.http_status == 409 or (error.http_status or 0) >= 500:
        return errors.StripeUnavailable(str(error), **facts)
    return errors.StripeRefused(str(error), **facts)


def _seconds_named(headers: Mapping[str, str] | None) -> float | None:
    """Return for how long Stripe asks to be left alone, if it says so."""
    named = (headers or {}).get("Retry-After", "")
    return float(named) if named.isdecimal() else None


class _Paced(stripe.HTTPClient):
    """Hands each request on when its turn has come, retries included; without a turn nothing leaves.

    After a 429 nothing is sent to that endpoint for a while. A 429 for one object that somebody else is changing
    (`lock_timeout`) says nothing about the endpoint.
    """

    name = "paced"

    def __init__(self, app: Flask, inner: stripe.HTTPClient, *, patience: float) -> None:
        super().__init__()
        self._extensions, self._inner, self._patience = app.extensions, inner, patience
        self._sleep_time_seconds = inner._sleep_time_seconds  # type: ignore[method-assign]

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **options: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        pace: pacing.Pace = self._extensions["stripe.pace"]
        endpoint = pacing.endpoint_of(method, url)
        wait = pace.take_turn(endpoint, patience=self._patience)
        if wait:
            raise errors.StripeBusy(f"{endpoint} is not asked for another {wait:.1f} s", retry_after=wait)
        answer = self._inner.request(method, url, headers, post_data, **options)
        body, status, answered = answer
        if status != 429:
            pace.went_through(endpoint)
        elif "lock_timeout" not in str(body):
            pace.slow_down(endpoint, _seconds_named(answered))
        return answer

    def close(self) -> None:
        self._inner.close()  # type: ignore[no-untyped-call]
