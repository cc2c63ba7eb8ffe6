"""The dashboard: what exists, what happened, what was sent, and when it is."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from stripe_sandbox import errors
from stripe_sandbox.engine import disputes, refunds
from stripe_sandbox.faults import API_MODES, DELIVERY_MODES
from stripe_sandbox.objects import rendering
from stripe_sandbox.pages import access, records, words
from stripe_sandbox.world import World

blueprint = Blueprint("dashboard", __name__)
Document = dict[str, Any]
DONE = {
    "advanced": "Time has moved on.",
    "refunded": "The money is on its way back to the card.",
    "disputed": "The dispute is open.",
    "warned": "The bank has warned of fraud.",
    "decided": "The dispute is decided.",
    "expired": "The card has expired: every further charge is declined.",
    "session_expired": "The checkout session has expired.",
    "rolled": "The endpoint has a new signing secret.",
    "resent": "It was sent again.",
    "saved": "Saved.",
    "removed": "Removed.",
    "paid": "The invoice is paid.",
    "cancelled": "The subscription has ended.",
    "broken": "From now on things go wrong as you asked.",
    "healed": "All faults are off.",
    "reset": "Everything is forgotten; the sandbox is as new.",
}


def show(template: str, *, error: errors.StripeError | None = None, **facts: Any) -> Any:
    """Render a page of the dashboard inside its frame; a refusal is shown on top, with its status."""
    sandbox = access.sandbox()
    page = render_template(
        f"dashboard/{template}.html",
        now=sandbox.clock.now(),
        moved=round(sandbox.clock.offset),
        troubled=bool(sandbox.faults.api or sandbox.faults.deliveries or sandbox.faults.requests_per_second),
        done=DONE.get(request.args.get("done", "")),
        error=error,
        **facts,
    )
    return (page, 422) if error else page


@blueprint.get("/")
def home() -> Response:
    return redirect("/dashboard", 302)


@blueprint.get("/dashboard")
def overview() -> Any:
    """Show what there is, whether the app hears of it, and what happened last."""
    with access.world() as world:
        return show(
            "overview",
            kinds=records.kinds(world.store),
            endpoints=records.health(world),
            events=records.events(world, type="", limit=8),
            refused=records.requests(world.store, failed=True, limit=5),
            renewal=records.next_renewal(world.store),
        )


@blueprint.get("/dashboard/objects")
def objects() -> Any:
    """List objects, of a kind or all; an id typed into the search leads straight to its page."""
    kind, text = request.args.get("kind", "")[:60], request.args.get("q", "").strip()[:200]
    before = request.args.get("before", type=int)
    with access.world() as world:
        if text.startswith("req_") and records.request(world.store, text):
            return redirect(f"/dashboard/requests/{text}", 302)
        if text and "/" not in text and world.find_any(text) is not None:
            return redirect(f"/dashboard/objects/{text}", 302)
        if before is not None and not 0 <= before < 2**62:
            before = None
        found, more = records.find(world, kind=kind, text=text, before=before)
        return show("objects", kinds=records.kinds(world.store), kind=kind, q=text, found=found, more=more)


@blueprint.get("/dashboard/objects/<path:object_id>")
def one(object_id: str) -> Any:
    with access.world() as world:
        return object_page(world, object_id)


def object_page(world: World, object_id: str, error: errors.StripeError | None = None) -> Any:
    """Show an object: what can be done with it, its JSON, and its history."""
    document = world.find_any(object_id)
    if document is None:
        abort(404)
    world.follow_clock_of(world.find("customer", document.get("customer")))
    charge = _charge_of(world, document)
    dispute = _dispute_of(world, document, charge)
    return show(
        "object",
        error=error,
        document=document,
        row=records.row_of(world, document),
        json=records.linked(world.store, rendering.render(world, document)),
        events=records.events_of(world, object_id),
        deliveries=records.deliveries_of(world.store, object_id) if document["object"] == "event" else None,
        charge=charge,
        left=refunds.refundable(charge) if charge and charge["status"] == "succeeded" else 0,
        dispute=dispute,
        dispute_open=dispute is not None and dispute["status"] in (*disputes.OPEN, "under_review"),
        secrets=document.get("_secrets"),
        hosted=_pages_of(world, document),
    )


def _charge_of(world: World, document: Document) -> Document | None:
    if document["object"] == "charge":
        return document
    return world.find("charge", document.get("latest_charge") or document.get("charge"))


def _dispute_of(world: World, document: Document, charge: Document | None) -> Document | None:
    if document["object"] == "dispute":
        return document
    return world.first("dispute", {"charge": charge["id"]}) if charge else None


def _pages_of(world: World, document: Document) -> list[tuple[str, str]]:
    """Return the pages that people see of an object."""
    kind, found = document["object"], []
    if kind in ("checkout.session", "billing_portal.session", "payment_link") and document.get("url"):
        found.append((document["url"], "Open its page"))
    if kind == "invoice" and document.get("hosted_invoice_url"):
        found.append((document["hosted_invoice_url"], "Open the hosted invoice"))
    if kind == "charge" and document.get("receipt_url"):
        found.append((document["receipt_url"], "Open the receipt"))
    action = document.get("next_action") or {}
    if kind in ("payment_intent", "setup_intent") and action:
        found.append((f"/challenge/{document['id']}", "Answer for the bank"))
    base = world.sandbox.base_url
    return [(url.removeprefix(base) or "/", label) for url, label in found]


@blueprint.get("/dashboard/events")
def events() -> Any:
    wanted = request.args.get("type", "")[:100]
    with access.world() as world:
        found = records.events(world, type=wanted)
        return show("events", found=found, types=records.event_types(world.store), wanted=wanted)


@blueprint.get("/dashboard/deliveries")
def deliveries() -> Any:
    state = request.args.get("state", "")[:20]
    endpoint = request.args.get("endpoint", "")[:60]
    with access.world() as world:
        found = records.deliveries(world.store, state=state, endpoint=endpoint)
        return show("deliveries", found=found, state=state, endpoint=endpoint)


@blueprint.get("/dashboard/deliveries/<delivery_id>")
def one_delivery(delivery_id: str) -> Any:
    """Show what was sent, each time, and what came back."""
    store = access.sandbox().store
    found = records.delivery(store, delivery_id)
    if found is None:
        abort(404)
    for attempt in found["tries"]:
        attempt["shown"] = records.linked(store, attempt["body"])
    return show("delivery", delivery=found)


@blueprint.get("/dashboard/requests")
def requests() -> Any:
    text, failed = request.args.get("q", "").strip()[:200], request.args.get("failed") == "1"
    found = records.requests(access.sandbox().store, text=text, failed=failed)
    return show("requests", found=found, q=text, failed=failed)


@blueprint.get("/dashboard/requests/<request_id>")
def one_request(request_id: str) -> Any:
    """Show what was asked and what was answered."""
    store = access.sandbox().store
    found = records.request(store, request_id)
    if found is None:
        abort(404)
    with access.world() as world:
        caused = [event for event in records.events(world, type="", limit=400) if event["request"]["id"] == request_id]
    asked, answered = records.linked(store, found["params"]), records.linked(store, found["response"])
    return show("request", found=found, asked=asked, answered=answered, events=caused)


@blueprint.get("/dashboard/time")
def time() -> Any:
    with access.world() as world:
        return time_page(world)


def time_page(world: World, error: errors.StripeError | None = None) -> Any:
    """Show when it is, what happens next, and the test clocks."""
    clocks = list(world.select("test_helpers.test_clock"))
    store = world.store
    return show(
        "time",
        error=error,
        renewal=records.next_renewal(store),
        clocks=clocks,
        appointments=records.appointments(store),
        words=APPOINTMENTS,
    )


APPOINTMENTS = {
    "subscription.cycle": "renews",
    "subscription.upcoming": "announces its renewal",
    "subscription.trial_notice": "says that its trial ends soon",
    "subscription.cancel": "ends",
    "subscription.expire": "expires unpaid",
    "invoice.finalize": "is finalised and charged",
    "invoice.retry": "is charged again",
    "invoice.collect": "is charged",
    "checkout.expire": "expires",
    "dispute.decide": "is decided",
    "dispute.overdue": "is lost unless answered",
    "refund.succeed": "succeeds",
    "refund.fail": "fails",
}


@blueprint.get("/dashboard/faults")
def faults() -> Any:
    return faults_page()


def faults_page(error: errors.StripeError | None = None) -> Any:
    """Show what goes wrong on purpose, and what could."""
    return show(
        "faults",
        error=error,
        faults=access.sandbox().faults,
        api_modes=API_MODES,
        delivery_modes=DELIVERY_MODES,
        types=records.event_types(access.sandbox().store),
        names=words.FAULTS,
    )
